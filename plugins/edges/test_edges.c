/* Runs the function here, without a host: `make test`. */
#include <millstream/test.h>

int main(void)
{
    ms_test test = {.key = "sensor text", .config = "{'up_at': 10, 'down_below': 8}"};
    ms_run run = ms_test_run(&test, "[{'sensor': 'a', 'value': 9}, {'sensor': 'a', 'value': 10}, {'sensor': 'a', 'value': 8},"
                                    " {'sensor': 'a', 'value': 11}, {'sensor': 'a'}, {'sensor': 'b', 'value': 7}]");
    MS_EXPECT_JSON(run.rows, "[{'sensor': 'a', 'edge': 'up', 'value': 10, 'edges': 1}]");
    run = ms_test_run(&test, "[{'sensor': 'b', 'value': 12.5}, {'sensor': 'a', 'value': 7.5}, {'sensor': 'a', 'value': 8}]");
    MS_EXPECT_JSON(run.rows, "[{'sensor': 'b', 'edge': 'up', 'value': 12.5, 'edges': 1},"
                             " {'sensor': 'a', 'edge': 'down', 'value': 7.5, 'edges': 2}]");
    MS_EXPECT_JSON(ms_test_states(&test), "[{'sensor': 'b', 'is_up': true, 'edges': 1}, {'sensor': 'a', 'is_up': false, 'edges': 2}]");
    return ms_test_end();
}
