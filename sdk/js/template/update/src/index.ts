/** A Millstream plugin of world `update`: called for each key with its new rows and its state. */

import { bool, float64, integer, keyed, row, update } from "millstream-sdk";

/** A row that the plugin reads: the column `amount` of the stage's input. */
const Payment = row({ amount: float64 });

/** What is kept of each key from batch to batch. */
const Account = row({ balance: float64, payments: integer });

/** A row that it returns; the key columns come before it. */
const Statement = row({
  balance: float64,
  /** Whether the key was idle for the stage's `timeout` and is removed. */
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
