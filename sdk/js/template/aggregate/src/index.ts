/** A Millstream plugin of world `aggregate`: reduces rows to one row per key, or to one in total. */

import { aggregate, float64, integer, row } from "millstream-sdk";

/** An input row: the column `price` of the stage's input. */
const Sale = row({ price: float64 });

/** The accumulator. `combine` must be associative. */
const Sum = row({ sum: float64, count: integer });

/** The output row. The key columns come before its columns. */
const Mean = row({ mean: float64 });

/** Computes the mean price. */
export default aggregate(
  { input: Sale, accumulator: Sum, output: Mean },
  {
    lift: (sale) => ({ sum: sale.price, count: 1 }),
    combine: (left, right) => ({ sum: left.sum + right.sum, count: left.count + right.count }),
    lower: (sum) => ({ mean: sum.sum / sum.count }),
    // Optional: makes sliding windows cheaper. `inverse(combine(a, b), a)` is b.
    inverse: (whole, part) => ({ sum: whole.sum - part.sum, count: whole.count - part.count }),
  },
);
