/** A Millstream plugin of world `cogroup`: called for each key with its rows from several inputs. */

import { cogroup, float64, integer, keyed, row } from "millstream-sdk";

/** A row of the first input: the column `amount`. */
const Order = row({ amount: float64 });

/** A row of the second input. */
const Payment = row({ paid: float64 });

/** An output row. The key columns come before its columns. */
const Open = row({ orders: integer, open: float64 });

/** Returns the open amount of each key. Keys that have paid everything return no row. */
export default cogroup({ inputs: [Order, Payment], output: keyed(Open) }, ([orders, payments]) => {
  const ordered = orders.reduce((sum, order) => sum + order.amount, 0);
  const paid = payments.reduce((sum, payment) => sum + payment.paid, 0);
  return ordered > paid ? { orders: orders.length, open: ordered - paid } : null;
});
