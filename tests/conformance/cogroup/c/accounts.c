/* Two inputs, grouped by a key of a required type. */
#include <millstream.h>

#define USER(COLUMN) COLUMN(ms_text, user)
MS_ROW(user, USER);

#define ORDER(COLUMN)                                                                                                  \
    COLUMN(int64_t, amount)                                                                                            \
    COLUMN(ms_opt_text, item)
MS_ROW(order, ORDER);

#define PAYMENT(COLUMN) COLUMN(int64_t, paid)
MS_ROW(payment, PAYMENT);

#define ACCOUNT(COLUMN)                                                                                                \
    COLUMN(ms_text, user)                                                                                              \
    COLUMN(int64_t, orders)                                                                                            \
    COLUMN(int64_t, payments)                                                                                          \
    COLUMN(ms_opt_text, items)                                                                                         \
    COLUMN(int64_t, balance)
MS_ROW(account, ACCOUNT);

static ms_status accounts(ms_rows *inputs, ms_out *out, ms_call *call)
{
    const user *key = call->key;
    account account = {.user = key->user};
    order order;
    payment payment;
    if (ms_text_is(key->user, "nobody"))
        return ms_reject(call, "%u orders of nobody", (unsigned)ms_rows_count(&inputs[0]));
    while (order_next(&inputs[0], &order)) {
        account.orders += 1;
        account.balance -= order.amount;
        if (account.items.is_set && order.item.is_set)
            account.items.value = ms_format("%.*s+%.*s", MS_PRINT(account.items.value), MS_PRINT(order.item.value));
        else if (order.item.is_set)
            account.items = order.item;
    }
    while (payment_next(&inputs[1], &payment)) {
        account.payments += 1;
        account.balance += payment.paid;
    }
    if (account.balance)
        account_push(out, account);
    return MS_OK;
}

MS_COGROUP(MS_INPUTS(&order_row, &payment_row), account, accounts, MS_KEY(user));
