/** An aggregate with an inverse, which receives its key. */

import { aggregate, float64, int64, nullable, row, text } from "millstream-sdk";

const Shop = row({ shop: text });
const Sale = row({ amount: int64 });
const Sum = row({ sum: int64, count: int64 });
const Mean = row({ title: text, mean: nullable(float64), count: int64 });

/** The mean amount of each shop. */
export default aggregate(
  { key: Shop, input: Sale, accumulator: Sum, output: Mean },
  {
    lift: ({ amount }) => ({ sum: amount, count: 1n }),
    combine: (left, right) => ({ sum: left.sum + right.sum, count: left.count + right.count }),
    lower: ({ sum, count }, { key }) => ({
      title: `mean of ${key.shop}`,
      mean: count === 0n ? null : Number(sum) / Number(count),
      count,
    }),
    inverse: (whole, part) => ({ sum: whole.sum - part.sum, count: whole.count - part.count }),
  },
);
