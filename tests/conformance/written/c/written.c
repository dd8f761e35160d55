/* Dates, decimals, structs and lists: in a key, in rows, in a state and in the output. */
#include <millstream.h>

#define DAY(COLUMN) COLUMN(ms_written, day, "day", "date")
MS_ROW(day, DAY);

#define SALE(COLUMN)                                                                                                   \
    COLUMN(ms_opt_written, price, "price", "decimal(12,2)")                                                            \
    COLUMN(ms_written, tags, "tags", "list<text>")                                                                     \
    COLUMN(ms_opt_written, item, "item", "struct<id: int64, sku: text>")
MS_ROW(sale, SALE);

#define TOTAL(COLUMN)                                                                                                  \
    COLUMN(ms_written, total, "total", "decimal(12,2)")                                                                \
    COLUMN(ms_written, seen, "seen", "list<text>")                                                                     \
    COLUMN(ms_opt_written, last, "last item", "struct<id: int64, sku: text>")                                          \
    COLUMN(ms_written, since, "since", "date")
MS_ROW(total, TOTAL);

#define TOLD(COLUMN)                                                                                                   \
    COLUMN(ms_written, total, "total", "decimal(20,2)")                                                                \
    COLUMN(ms_written, seen, "seen", "list<text>")                                                                     \
    COLUMN(ms_opt_written, last, "last", "struct<id: int64, sku: text>")                                               \
    COLUMN(ms_opt_written, since, "since", "date")
MS_ROW(told, TOLD);

/* Returns the digits of a decimal without the point. */
static long long cents_of(ms_text price)
{
    long long cents = 0;
    bool is_negative = price.length && price.data[0] == '-';
    for (size_t i = is_negative; i < price.length; i++) {
        if (price.data[i] != '.')
            cents = cents * 10 + (price.data[i] - '0');
    }
    return is_negative ? -cents : cents;
}

static ms_text text_of(long long cents)
{
    long long all = cents < 0 ? -cents : cents;
    return ms_format("%s%lld.%02lld", cents < 0 ? "-" : "", all / 100, all % 100);
}

/* Concatenates two JSON lists. */
static ms_text joined(ms_text left, ms_text right)
{
    if (left.length == 2)
        return right;
    if (right.length == 2)
        return left;
    return ms_format("%.*s,%.*s", (int)left.length - 1, left.data, (int)right.length - 1, right.data + 1);
}

static ms_status written(ms_rows *rows, total *total, ms_out *out, ms_call *call)
{
    const day *key = call->key;
    sale sale;
    bool is_closed = false;
    if (!call->known) {
        total->seen = MS_TEXT_OF("[]");
        total->since = key->day;
    }
    long long cents = cents_of(total->total);
    while (sale_next(rows, &sale)) {
        long long price = sale.price.is_set ? cents_of(sale.price.value) : 0;
        if (price == 1300)
            is_closed = true;
        if (price == 1400)
            return ms_reject(call, "%.*s on %.*s", MS_PRINT(sale.price.value), MS_PRINT(key->day));
        cents += price;
        total->seen = joined(total->seen, sale.tags);
        if (sale.item.is_set)
            total->last = sale.item;
    }
    total->total = text_of(cents);
    told_push(out, (told){total->total, total->seen, total->last, {cents != 0, cents ? key->day : (ms_text){0}}});
    return is_closed ? MS_REMOVE : MS_OK;
}

MS_UPDATE(sale, total, told, written, MS_KEYED, MS_KEY(day));
