/** An aggregate without an inverse, whose combination is not commutative, and which may reject rows. */

import { aggregate, config, float64, integer, Rejection, row, text } from "millstream-sdk";

const Sale = row({ price: float64, item: text });
const Prices = row({ low: float64, high: float64, first: text, last: text, count: integer });
const Spread = row({ low: float64, high: float64, spread: float64, first: text, last: text, count: integer });

const Config = { factor: config.number({ default: 1 }) };

/** The lowest and the highest price, the first and the last item. */
export default aggregate(
  { input: Sale, accumulator: Prices, output: Spread, config: Config },
  {
    lift(sale, { config }) {
      if (sale.price < 0) throw new Rejection("a price below zero");
      const price = sale.price * config.factor;
      return { low: price, high: price, first: sale.item, last: sale.item, count: 1 };
    },
    combine: (left, right) => ({
      low: Math.min(left.low, right.low),
      high: Math.max(left.high, right.high),
      first: left.first,
      last: right.last,
      count: left.count + right.count,
    }),
    lower: (prices) => ({ ...prices, spread: prices.high - prices.low }),
  },
);
