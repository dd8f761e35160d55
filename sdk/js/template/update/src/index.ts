/** A Millstream plugin of world `update`: called for each key with its new rows and its state. */

import { bool, float64, integer, keyed, row, update } from "millstream-sdk";

/** An input row: the column `amount` of the stage's input. */
const Payment = row({ amount: float64 });

/** The state of each key, kept between batches. */
const Account = row({ balance: float64, payments: integer });

/** An output row. The key columns come before its columns. */
const Statement = row({
  balance: float64,
  /** True if the key was idle for the stage's `timeout` and is removed. */
  closed: bool,
});

/** Keeps the balance of each key. */
export default update(
  { input: Payment, state: Account, output: keyed(Statement) },
  (payments, account, { context, out }) => {
    account ??= { balance: 0, payments: 0 };
    for (const payment of payments) {
      account.balance += payment.amount;
      account.payments += 1;
    }
    out.push({ balance: account.balance, closed: context.timedOut });
    return account;
  },
);
