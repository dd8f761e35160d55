/** A Millstream plugin of world `transform`: rows in, rows out. */

import { config, float64, Rejection, row, text, transform } from "millstream-sdk";

/** An input row: the columns `name` and `amount` of the stage's input. */
const Order = row({ name: text, amount: float64 });

/** An output row. */
const Bill = row({ name: text, total: float64 });

/** The stage's `config`. */
const Config = {
  /** Percentage that is added to each amount. */
  tax: config.number({ default: 0 }),
};

/** Adds a tax to the amount of each order. Rejects orders with an amount below zero. */
export default transform({ input: Order, output: Bill, config: Config }, (order, { config }) => {
  if (order.amount < 0) {
    throw new Rejection(`the amount ${order.amount} is below zero`);
  }
  return { name: order.name, total: order.amount * (1 + config.tax / 100) };
});
