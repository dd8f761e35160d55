/* A state for each key: kept, removed, timed out, with timers; and rejected rows of a key. */
#include <millstream.h>

#define PAYMENT(COLUMN)                                                                                                \
    COLUMN(int64_t, amount)                                                                                            \
    COLUMN(ms_opt_text, note)
MS_ROW(payment, PAYMENT);

#define TOTAL(COLUMN)                                                                                                  \
    COLUMN(int64_t, total)                                                                                             \
    COLUMN(int64_t, count)                                                                                             \
    COLUMN(ms_opt_text, note)                                                                                          \
    COLUMN(ms_timestamp, since)
MS_ROW(total, TOTAL);

#define TOLD(COLUMN)                                                                                                   \
    COLUMN(ms_text, why)                                                                                               \
    COLUMN(int64_t, total)                                                                                             \
    COLUMN(int64_t, count)                                                                                             \
    COLUMN(ms_opt_text, note)                                                                                          \
    COLUMN(ms_timestamp, since)                                                                                        \
    COLUMN(ms_opt_timestamp, alarm)
MS_ROW(told, TOLD);

#define SECOND_US 1000000

static void tell(ms_out *out, ms_text why, const total *total, ms_opt_timestamp alarm)
{
    told_push(out, (told){why, total->total, total->count, total->note, total->since, alarm});
}

static ms_status totals(ms_rows *rows, total *total, ms_out *out, ms_call *call)
{
    const ms_opt_timestamp never = {0};
    long long had = total->count;
    payment payment;
    bool is_closed = false, is_called = false;
    uint32_t alarms;
    if (!call->known)
        total->since = call->time;
    while (payment_next(rows, &payment)) {
        is_called = true;
        total->total += payment.amount;
        total->count += 1;
        if (payment.note.is_set)
            total->note = payment.note;
        tell(out, MS_TEXT_OF("row"), total, never);
        if (ms_text_is(payment.note.value, "bad"))
            return ms_reject(call, "a bad note after %lld payments", had);
        if (ms_text_is(payment.note.value, "close"))
            is_closed = true;
        if (ms_text_is(payment.note.value, "alarm"))
            ms_timer_set(call, (ms_timestamp){call->time.us + 2 * SECOND_US});
        if (ms_text_is(payment.note.value, "calm"))
            ms_timer_cancel(call, (ms_timestamp){call->time.us + SECOND_US});
    }
    const ms_timestamp *due = ms_timers_due(call, &alarms);
    for (uint32_t i = 0; i < alarms; i++)
        tell(out, MS_TEXT_OF("alarm"), total, (ms_opt_timestamp){true, due[i]});
    if (call->timed_out)
        tell(out, MS_TEXT_OF("timeout"), total, never);
    else if (!is_called && !alarms)
        tell(out, MS_TEXT_OF("call"), total, never);
    return is_closed ? MS_REMOVE : MS_OK;
}

MS_UPDATE(payment, total, told, totals, MS_KEYED);
