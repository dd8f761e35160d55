/** Adds up the amounts of each key. */

import { int64, keyed, row, update } from "millstream-sdk";

const Payment = row({ amount: int64 });
const Total = row({ total: int64 });

export default update({ input: Payment, state: Total, output: keyed(Total) }, (payments, old, { out }) => {
  let total = old?.total ?? 0n;
  for (const payment of payments) total += payment.amount;
  out.push({ total });
  return { total };
});
