/* An aggregate with an inverse, which receives its key. */
#include <millstream.h>

#define SHOP(COLUMN) COLUMN(ms_text, shop)
MS_ROW(shop, SHOP);

#define SALE(COLUMN) COLUMN(int64_t, amount)
MS_ROW(sale, SALE);

#define SUM(COLUMN)                                                                                                    \
    COLUMN(int64_t, sum)                                                                                               \
    COLUMN(int64_t, count)
MS_ROW(sum, SUM);

#define MEAN(COLUMN)                                                                                                   \
    COLUMN(ms_text, title)                                                                                             \
    COLUMN(ms_opt_double, mean)                                                                                        \
    COLUMN(int64_t, count)
MS_ROW(mean, MEAN);

static sum lift(const sale *sale, ms_call *call)
{
    (void)call;
    return (sum){.sum = sale->amount, .count = 1};
}

static sum combine(const sum *left, const sum *right, ms_call *call)
{
    (void)call;
    return (sum){.sum = left->sum + right->sum, .count = left->count + right->count};
}

static sum inverse(const sum *whole, const sum *part, ms_call *call)
{
    (void)call;
    return (sum){.sum = whole->sum - part->sum, .count = whole->count - part->count};
}

static mean lower(const sum *sum, ms_call *call)
{
    const shop *shop = call->key;
    mean mean = {.title = ms_format("mean of %.*s", MS_PRINT(shop->shop)), .count = sum->count};
    if (sum->count)
        mean.mean = (ms_opt_double){true, (double)sum->sum / (double)sum->count};
    return mean;
}

MS_AGGREGATE_INVERSE(sale, sum, mean, lift, combine, lower, inverse, MS_KEY(shop));
