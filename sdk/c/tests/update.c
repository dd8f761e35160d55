/* State by key: kept, removed, rejected, timed out; timers. */
#include <millstream.h>
#include <millstream/test.h>

#define PAYMENT(COLUMN)                                                                                                \
    COLUMN(int64_t, amount)                                                                                            \
    COLUMN(ms_opt_text, note)
MS_ROW(payment, PAYMENT);

#define TOTAL(COLUMN)                                                                                                  \
    COLUMN(int64_t, total)                                                                                             \
    COLUMN(ms_opt_text, note)
MS_ROW(total, TOTAL);

#define EVENT(COLUMN)                                                                                                  \
    COLUMN(ms_text, why)                                                                                               \
    COLUMN(int64_t, total)
MS_ROW(event, EVENT);

static ms_status totals(ms_rows *payments, total *total, ms_out *out, ms_call *call)
{
    payment payment;
    uint32_t due;
    bool is_closed = false;
    while (payment_next(payments, &payment)) {
        total->total += payment.amount;
        if (payment.note.is_set)
            total->note = payment.note;
        event_push(out, (event){MS_TEXT_OF("row"), total->total});
        if (ms_text_is(payment.note.value, "later"))
            ms_timer_set(call, (ms_timestamp){call->time.us + 2000000});
        if (ms_text_is(payment.note.value, "never"))
            ms_timer_cancel(call, (ms_timestamp){call->time.us + 1000000});
        if (ms_text_is(payment.note.value, "bad"))
            return ms_reject(call, "bad, after %s", call->known ? "others" : "none");
        is_closed |= ms_text_is(payment.note.value, "close");
    }
    const ms_timestamp *times = ms_timers_due(call, &due);
    for (uint32_t i = 0; i < due; i++)
        event_push(out, (event){MS_TEXT_OF("alarm"), times[i].us});
    if (call->timed_out)
        event_push(out, (event){MS_TEXT_OF("timeout"), total->total});
    return is_closed ? MS_REMOVE : MS_OK;
}

MS_UPDATE(payment, total, event, totals, MS_KEYED);

static void states_are_kept_and_removed(void)
{
    ms_test test = {.key = "user text, day int64"};
    ms_run run = ms_test_run(&test, "[{'user': 'ann', 'day': 1, 'amount': 3}, {'user': 'bob', 'day': 1, 'amount': 1},"
                                    " {'user': 'ann', 'day': 1, 'amount': 4, 'note': 'x'}]");
    MS_EXPECT_JSON(run.rows, "[{'user': 'ann', 'day': 1, 'why': 'row', 'total': 3}, {'user': 'ann', 'day': 1, 'why': 'row', "
                             "'total': 7}, {'user': 'bob', 'day': 1, 'why': 'row', 'total': 1}]");
    MS_EXPECT_JSON(ms_test_states(&test), "[{'user': 'ann', 'day': 1, 'total': 7, 'note': 'x'},"
                                          " {'user': 'bob', 'day': 1, 'total': 1, 'note': null}]");
    ms_test_run(&test, "[{'user': 'ann', 'day': 1, 'amount': 1, 'note': 'close'}]");
    run = ms_test_time_out(&test, "{'user': 'bob', 'day': 1}");
    MS_EXPECT_JSON(run.rows, "[{'user': 'bob', 'day': 1, 'why': 'timeout', 'total': 1}]");
    MS_EXPECT_JSON(ms_test_states(&test), "[]");
}

static void rejected_keys_are_unchanged(void)
{
    ms_test test = {.key = "user text"};
    ms_test_run(&test, "[{'user': 'ann', 'amount': 3}]");
    ms_run run = ms_test_run(&test, "[{'user': 'ann', 'amount': 1}, {'user': 'ann'}, {'user': 'bob', 'amount': 2},"
                                    " {'user': 'ann', 'amount': 1, 'note': 'bad'}, {'user': 'cy', 'amount': 1, 'note': 'bad'}]");
    MS_EXPECT_JSON(run.rows, "[{'user': 'bob', 'why': 'row', 'total': 2}]");
    MS_EXPECT_JSON(run.rejected,
                   "[{'row': 0, 'reason': 'bad, after others'}, {'row': 1, 'reason': 'column `amount` is null'},"
                   " {'row': 2, 'reason': 'bad, after others'}, {'row': 4, 'reason': 'bad, after none'}]");
    MS_EXPECT_JSON(ms_test_states(&test), "[{'user': 'ann', 'total': 3, 'note': null}, {'user': 'bob', 'total': 2, 'note': null}]");
}

static void timers_are_due_at_their_time(void)
{
    ms_test test = {.key = "user text"};
    ms_test_run(&test, "[{'user': 'ann', 'amount': 0, 'note': 'later'}, {'user': 'bob', 'amount': 0, 'note': 'later'},"
                       " {'user': 'cy', 'amount': 0, 'note': 'later'}, {'user': 'cy', 'amount': 0, 'note': 'bad'}]");
    ms_run run = ms_test_run(&test, "[{'user': 'bob', 'amount': 0, 'note': 'never'}]");
    MS_EXPECT_JSON(run.rows, "[{'user': 'bob', 'why': 'row', 'total': 0}]");
    run = ms_test_run(&test, "[]");
    MS_EXPECT_JSON(run.rows, "[{'user': 'ann', 'why': 'alarm', 'total': 3000000}]");
    MS_EXPECT_JSON(ms_test_run(&test, "[]").rows, "[]");
}

int main(void)
{
    states_are_kept_and_removed();
    rejected_keys_are_unchanged();
    timers_are_due_at_their_time();
    return ms_test_end();
}
