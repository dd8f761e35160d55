/* Runs the functions here, without a host: `make test`. */
#include <millstream/test.h>

int main(void)
{
    ms_test test = {.key = "shop text"};
    ms_run run = ms_test_run(&test, "[{'shop': 'a', 'price': 1}, {'shop': 'b', 'price': 7}, {'shop': 'a', 'price': 2}]");
    MS_EXPECT_JSON(run.rows, "[{'shop': 'a', 'mean': 1.5}, {'shop': 'b', 'mean': 7}]");
    return ms_test_end();
}
