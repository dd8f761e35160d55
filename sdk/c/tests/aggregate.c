/* Accumulators of several fields, keys, an inverse, and functions that reject. */
#include <millstream.h>
#include <millstream/test.h>

#define SHOP(COLUMN) COLUMN(ms_text, shop)
MS_ROW(shop, SHOP);

#define SALE(COLUMN)                                                                                                   \
    COLUMN(int64_t, amount)                                                                                            \
    COLUMN(ms_text, item)
MS_ROW(sale, SALE);

#define SUM(COLUMN)                                                                                                    \
    COLUMN(int64_t, sum)                                                                                               \
    COLUMN(ms_text, last)
MS_ROW(sum, SUM);

#define TITLE(COLUMN) COLUMN(ms_text, title)
MS_ROW(title, TITLE);

static sum lift(const sale *sale, ms_call *call)
{
    if (sale->amount < 0)
        ms_reject(call, "%lld is below zero", (long long)sale->amount);
    return (sum){sale->amount, sale->item};
}

static sum combine(const sum *left, const sum *right, ms_call *call)
{
    if (left->sum == 13)
        ms_fail(call, "thirteen");
    return (sum){left->sum + right->sum, right->last};
}

static sum inverse(const sum *whole, const sum *part, ms_call *call)
{
    (void)call;
    return (sum){whole->sum - part->sum, whole->last};
}

static title lower(const sum *sum, ms_call *call)
{
    const shop *shop = call->key;
    return (title){ms_format("%.*s: %lld, %.*s", MS_PRINT(shop->shop), (long long)sum->sum, MS_PRINT(sum->last))};
}

MS_AGGREGATE_INVERSE(sale, sum, title, lift, combine, lower, inverse, MS_KEY(shop));

int main(void)
{
    ms_test test = {.key = "shop text"};
    ms_run run = ms_test_run(&test, "[{'shop': 'a', 'amount': 1, 'item': 'x'}, {'shop': 'b', 'amount': 7, 'item': 'y'},"
                                    " {'shop': 'a', 'amount': 2, 'item': 'z'}]");
    MS_EXPECT_JSON(run.rows, "[{'shop': 'a', 'title': 'a: 3, z'}, {'shop': 'b', 'title': 'b: 7, y'}]");
    run = ms_test_run(&test, "[{'shop': 'a', 'amount': 1, 'item': 'x'}, {'shop': 'a', 'amount': -2, 'item': 'x'}]");
    MS_EXPECT(run.error && strcmp(run.error, "internal: row 1: -2 is below zero") == 0);
    run = ms_test_run(&test, "[{'shop': 'a', 'amount': 1, 'item': 'x'}, {'shop': 'a', 'item': 'x'}]");
    MS_EXPECT(run.error && strcmp(run.error, "input: row 1: column `amount` is null") == 0);
    run = ms_test_run(&test, "[{'shop': 'a', 'amount': 13, 'item': 'x'}, {'shop': 'a', 'amount': 1, 'item': 'x'}]");
    MS_EXPECT(run.error && strstr(run.error, "aggregate.c:31: thirteen"));
    return ms_test_end();
}
