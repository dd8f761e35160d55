/* Runs the function here, without a host: `make test`. */
#include <millstream/test.h>

int main(void)
{
    ms_test test = {.key = "user text"};
    ms_test_run(&test, "[{'user': 'ann', 'amount': 3}, {'user': 'ann', 'amount': 4}]");
    ms_run run = ms_test_run(&test, "[{'user': 'ann', 'amount': -2}]");
    MS_EXPECT_JSON(run.rows, "[{'user': 'ann', 'balance': 5, 'closed': false}]");
    MS_EXPECT_JSON(ms_test_states(&test), "[{'user': 'ann', 'balance': 5, 'payments': 3}]");

    run = ms_test_time_out(&test, "{'user': 'ann'}");
    MS_EXPECT_JSON(run.rows, "[{'user': 'ann', 'balance': 5, 'closed': true}]");
    MS_EXPECT_JSON(ms_test_states(&test), "[]");
    return ms_test_end();
}
