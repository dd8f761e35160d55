/** A Millstream plugin of world `transform`: rows in, rows out. */

import { config, float64, Rejection, row, text, transform } from "millstream-sdk";

/** A row that the plugin reads: the columns `name` and `amount` of the stage's input. */
const Order = row({ name: text, amount: float64 });

/** A row that it returns. */
const Bill = row({ name: text, total: float64 });

/** The stage's `config`. */
const Config = {
  /** What is added to each amount, in per cent. */
  tax: config.number({ default: 0 }),
};

/** Adds a tax to the amount of each order, and refuses those below zero. */
export default transform({ input: Order, output: Bill, config: Config }, (order, { config }) => {
  if (order.amount < 0) {
    throw new Rejection(`the amount ${order.amount} is below zero`);
  }
  return { name: order.name, total: order.amount * (1 + config.tax / 100) };
});
