/* Adds up the amounts of each key. */

#include "millstream.h"

#define PAYMENT(COLUMN) COLUMN(int64_t, amount)
MS_ROW(payment, PAYMENT);

#define TOTAL(COLUMN) COLUMN(int64_t, total)
MS_ROW(total, TOTAL);

static ms_status add_up(ms_rows *payments, total *state, ms_out *out, ms_call *call)
{
    payment one;
    (void)call;
    while (payment_next(payments, &one))
        state->total += one.amount;
    total_push(out, *state);
    return MS_OK;
}

MS_UPDATE(payment, total, total, add_up, MS_KEYED);
