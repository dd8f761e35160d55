/** A Millstream plugin of world `aggregate`: rows reduced to one, by key or as a whole. */

import { aggregate, float64, integer, row } from "millstream-sdk";

/** A row that the plugin reads: the column `price` of the stage's input. */
const Sale = row({ price: float64 });

/** What rows are reduced to on the way. It must not matter in which groups they are combined. */
const Sum = row({ sum: float64, count: integer });

/** The row that comes out, after the key columns. */
const Mean = row({ mean: float64 });

/** The mean price. */
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
