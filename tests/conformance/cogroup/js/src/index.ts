/** Two inputs, grouped by a key of a required type. */

import { cogroup, int64, integer, nullable, Rejection, row, text } from "millstream-sdk";

const User = row({ user: text });
const Order = row({ amount: int64, item: nullable(text) });
const Payment = row({ paid: int64 });
const Account = row({ user: text, orders: integer, payments: integer, items: nullable(text), balance: int64 });

/** Returns the orders and payments of each user. */
export default cogroup(
  { key: User, inputs: [Order, Payment], output: Account },
  ([orders, payments], { key: { user } }) => {
    if (user === "nobody") throw new Rejection(`${orders.length} orders of nobody`);
    const items = orders.map(({ item }) => item).filter((item) => item !== null);
    const ordered = orders.reduce((sum, { amount }) => sum + amount, 0n);
    const balance = payments.reduce((sum, { paid }) => sum + paid, -ordered);
    if (balance === 0n) return null;
    return {
      user,
      orders: orders.length,
      payments: payments.length,
      items: items.length === 0 ? null : items.join("+"),
      balance,
    };
  },
);
