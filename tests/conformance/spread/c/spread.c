/* An aggregate without an inverse, whose combination is not commutative, and which may reject rows. */
#include <millstream.h>

#define SALE(COLUMN)                                                                                                   \
    COLUMN(double, price)                                                                                              \
    COLUMN(ms_text, item)
MS_ROW(sale, SALE);

#define PRICES(COLUMN)                                                                                                 \
    COLUMN(double, low)                                                                                                \
    COLUMN(double, high)                                                                                               \
    COLUMN(ms_text, first)                                                                                             \
    COLUMN(ms_text, last)                                                                                              \
    COLUMN(int64_t, count)
MS_ROW(prices, PRICES);

#define SPREAD(COLUMN)                                                                                                 \
    COLUMN(double, low)                                                                                                \
    COLUMN(double, high)                                                                                               \
    COLUMN(double, spread)                                                                                             \
    COLUMN(ms_text, first)                                                                                             \
    COLUMN(ms_text, last)                                                                                              \
    COLUMN(int64_t, count)
MS_ROW(spread, SPREAD);

typedef struct settings {
    double factor;
} settings;

static void read_settings(ms_config *from, void *to)
{
    settings *settings = to;
    settings->factor = ms_config_double_or(from, "factor", 1);
}

static prices lift(const sale *sale, ms_call *call)
{
    const settings *settings = call->config;
    double price = sale->price * settings->factor;
    if (sale->price < 0)
        ms_reject(call, "a price below zero");
    return (prices){price, price, sale->item, sale->item, 1};
}

static prices combine(const prices *left, const prices *right, ms_call *call)
{
    (void)call;
    return (prices){
        .low = left->low < right->low ? left->low : right->low,
        .high = left->high > right->high ? left->high : right->high,
        .first = left->first,
        .last = right->last,
        .count = left->count + right->count,
    };
}

static spread lower(const prices *prices, ms_call *call)
{
    (void)call;
    return (spread){prices->low, prices->high, prices->high - prices->low, prices->first, prices->last, prices->count};
}

MS_AGGREGATE(sale, prices, spread, lift, combine, lower, MS_CONFIG(settings, read_settings));
