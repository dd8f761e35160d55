/* A Millstream plugin of world `aggregate`: reduces rows to one row per key, or to one in total. */
#include <millstream.h>

/* An input row: the column `price` of the stage's input. */
#define SALE(COLUMN) COLUMN(double, price)
MS_ROW(sale, SALE);

/* The accumulator. `combine` must be associative. */
#define SUM(COLUMN)                                                                                                    \
    COLUMN(double, sum)                                                                                                \
    COLUMN(int64_t, count)
MS_ROW(sum, SUM);

/* The output row. The key columns come before its columns. */
#define MEAN(COLUMN) COLUMN(double, mean)
MS_ROW(mean, MEAN);

static sum lift(const sale *sale, ms_call *call)
{
    (void)call;
    return (sum){.sum = sale->price, .count = 1};
}

static sum combine(const sum *left, const sum *right, ms_call *call)
{
    (void)call;
    return (sum){.sum = left->sum + right->sum, .count = left->count + right->count};
}

static mean lower(const sum *sum, ms_call *call)
{
    (void)call;
    return (mean){.mean = sum->sum / (double)sum->count};
}

/* Optional: makes sliding windows cheaper. `inverse(combine(a, b), a)` is b. Without it write MS_AGGREGATE. */
static sum inverse(const sum *whole, const sum *part, ms_call *call)
{
    (void)call;
    return (sum){.sum = whole->sum - part->sum, .count = whole->count - part->count};
}

MS_AGGREGATE_INVERSE(sale, sum, mean, lift, combine, lower, inverse);
