/* Runs the function here, without a host: `make test`. */
#include <millstream/test.h>

int main(void)
{
    ms_test test = {.key = "user text"};
    ms_run run = ms_test_run(&test, "[[{'user': 'ann', 'amount': 3}, {'user': 'bob', 'amount': 1}, {'user': 'ann', 'amount': 4}],"
                                    " [{'user': 'ann', 'paid': 5}, {'user': 'bob', 'paid': 1}]]");
    MS_EXPECT_JSON(run.rows, "[{'user': 'ann', 'orders': 2, 'open': 2}]");
    return ms_test_end();
}
