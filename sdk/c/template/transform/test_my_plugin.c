/* Runs the function here, without a host: `make test`. */
#include <millstream/test.h>

int main(void)
{
    ms_test test = {.config = "{'tax': 25}"};
    ms_run run = ms_test_run(&test, "[{'name': 'ann', 'amount': 100}, {'name': 'bob', 'amount': -1}]");
    MS_EXPECT_JSON(run.rows, "[{'name': 'ann', 'total': 125}]");
    MS_EXPECT_JSON(run.rejected, "[{'row': 1, 'reason': 'the amount -1 is below zero'}]");
    return ms_test_end();
}
