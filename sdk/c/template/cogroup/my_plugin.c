/* A Millstream plugin of world `cogroup`: called for each key with its rows from several inputs. */
#include <millstream.h>

/* A row of the first input: the column `amount`. */
#define ORDER(COLUMN) COLUMN(double, amount)
MS_ROW(order, ORDER);

/* A row of the second input. */
#define PAYMENT(COLUMN) COLUMN(double, paid)
MS_ROW(payment, PAYMENT);

/* An output row. The key columns come before its columns. */
#define DEBT(COLUMN)                                                                                                   \
    COLUMN(int64_t, orders)                                                                                            \
    COLUMN(double, open)
MS_ROW(debt, DEBT);

/* Returns the open amount of each key. Keys that have paid everything return no row. */
static ms_status my_plugin(ms_rows *inputs, ms_out *out, ms_call *call)
{
    order order;
    payment payment;
    int64_t count = ms_rows_count(&inputs[0]);
    double ordered = 0, paid = 0;
    (void)call;
    while (order_next(&inputs[0], &order))
        ordered += order.amount;
    while (payment_next(&inputs[1], &payment))
        paid += payment.paid;
    if (ordered > paid)
        debt_push(out, (debt){.orders = count, .open = ordered - paid});
    return MS_OK;
}

MS_COGROUP(MS_INPUTS(&order_row, &payment_row), debt, my_plugin, MS_KEYED);
