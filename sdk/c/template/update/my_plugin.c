/* A Millstream plugin of world `update`: called for each key with its new rows and its state. */
#include <millstream.h>

/* An input row: the column `amount` of the stage's input. */
#define PAYMENT(COLUMN) COLUMN(double, amount)
MS_ROW(payment, PAYMENT);

/* The state of each key, kept between batches. */
#define ACCOUNT(COLUMN)                                                                                                \
    COLUMN(double, balance)                                                                                            \
    COLUMN(int64_t, payments)
MS_ROW(account, ACCOUNT);

/* An output row. The key columns come before its columns. `closed` is true if the key was idle for the stage's `timeout` and
 * is removed. */
#define STATEMENT(COLUMN)                                                                                              \
    COLUMN(double, balance)                                                                                            \
    COLUMN(bool, closed)
MS_ROW(statement, STATEMENT);

/* Keeps the balance of each key. The state of a new key is all zeros. */
static ms_status my_plugin(ms_rows *payments, account *account, ms_out *out, ms_call *call)
{
    payment payment;
    while (payment_next(payments, &payment)) {
        account->balance += payment.amount;
        account->payments += 1;
    }
    statement_push(out, (statement){.balance = account->balance, .closed = call->timed_out});
    return MS_OK;
}

MS_UPDATE(payment, account, statement, my_plugin, MS_KEYED);
