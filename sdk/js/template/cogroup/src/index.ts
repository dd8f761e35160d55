/** A Millstream plugin of world `cogroup`: called for each key with its rows of several inputs. */

import { cogroup, float64, integer, keyed, row } from "millstream-sdk";

/** A row of the first input: its column `amount`. */
const Order = row({ amount: float64 });

/** A row of the second input. */
const Payment = row({ paid: float64 });

/** A row that it returns; the key columns come before it. */
const Open = row({ orders: integer, open: float64 });

/** Tells what each key still has to pay. Keys that have paid all give no row. */
export default cogroup({ inputs: [Order, Payment], output: keyed(Open) }, ([orders, payments]) => {
  const ordered = orders.reduce((sum, order) => sum + order.amount, 0);
  const paid = payments.reduce((sum, payment) => sum + payment.paid, 0);
  return ordered > paid ? { orders: orders.length, open: ordered - paid } : null;
});
