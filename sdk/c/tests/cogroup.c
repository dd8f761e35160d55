/* Several inputs by key: required key types, rows with nulls, rejected keys. */
#include <millstream.h>
#include <millstream/test.h>

#define USER(COLUMN) COLUMN(ms_text, user)
MS_ROW(user, USER);

#define ORDER(COLUMN) COLUMN(int64_t, amount)
MS_ROW(order, ORDER);

#define SUMMARY(COLUMN)                                                                                                \
    COLUMN(int64_t, spent)                                                                                             \
    COLUMN(int64_t, orders)                                                                                            \
    COLUMN(int64_t, clicks)
MS_ROW(totals, SUMMARY);

static ms_status summary(ms_rows *inputs, ms_out *out, ms_call *call)
{
    const user *user = call->key;
    order order;
    totals totals = {.orders = ms_rows_count(&inputs[0]), .clicks = ms_rows_count(&inputs[1])};
    while (order_next(&inputs[0], &order))
        totals.spent += order.amount;
    totals_push(out, totals);
    totals_push(out, totals);
    if (ms_text_is(user->user, "nobody"))
        return ms_reject(call, "%d orders of nobody", (int)totals.orders);
    return MS_OK;
}

MS_COGROUP(MS_INPUTS(&order_row, &ms_nothing_row), totals, summary, MS_KEYED, MS_KEY(user));

int main(void)
{
    ms_test test = {.key = "user text"};
    ms_run run = ms_test_run(&test, "[[{'user': 'ann', 'amount': 1}, {'user': 'nobody'}, {'user': 'ann', 'amount': 2},"
                                    "  {'user': 'nobody', 'amount': 5}, {'user': 'ann'}],"
                                    " [{'user': 'nobody'}, {'user': 'bob'}]]");
    MS_EXPECT_JSON(run.rows, "[{'user': 'ann', 'spent': 3, 'orders': 2, 'clicks': 0},"
                             " {'user': 'ann', 'spent': 3, 'orders': 2, 'clicks': 0},"
                             " {'user': 'bob', 'spent': 0, 'orders': 0, 'clicks': 1},"
                             " {'user': 'bob', 'spent': 0, 'orders': 0, 'clicks': 1}]");
    MS_EXPECT_JSON(run.rejected, "[{'row': 2, 'reason': 'column `amount` is null'},"
                                 " {'row': 3, 'reason': 'column `amount` is null'},"
                                 " {'row': 4, 'reason': '1 orders of nobody'}, {'row': 5, 'reason': '1 orders of nobody'}]");
    run = ms_test_describe(&test);
    MS_EXPECT_JSON(run.rows, "{'inputs': ['amount int64 not null', ''], 'output': 'user text, spent int64 not null, "
                             "orders int64 not null, clicks int64 not null', 'state': '', 'inverse': false, "
                             "'key': 'user text not null'}");
    return ms_test_end();
}
