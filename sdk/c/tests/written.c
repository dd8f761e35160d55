/* Dates, decimals, structs and lists. */
#include <millstream.h>
#include <millstream/test.h>

#define SALE(COLUMN)                                                                                                   \
    COLUMN(ms_written, day, "day", "date")                                                                             \
    COLUMN(ms_opt_written, price, "the price", "decimal(12,2)")                                                        \
    COLUMN(ms_written, tags, "tags", "list<text>")                                                                     \
    COLUMN(ms_opt_written, item, "item", "struct<id: int64, sku: text>")
MS_ROW(sale, SALE);

/* Returns a sale with a price twice. */
static ms_status twice(const sale *row, ms_out *out, ms_call *call)
{
    (void)call;
    sale_push(out, *row);
    if (row->price.is_set) {
        sale next = *row;
        next.tags = MS_TEXT_OF("[\"é\", null]");
        next.item = (ms_opt_written){0};
        sale_push(out, next);
    }
    return MS_OK;
}

MS_TRANSFORM(sale, sale, twice);

int main(void)
{
    ms_test test = {0};
    ms_run run = ms_test_run(
        &test, "[{'day': '2026-12-31', 'the price': '1.50', 'tags': ['a'], 'item': {'id': 7, 'sku': null}},"
               " {'day': '2026-12-31', 'the price': null, 'tags': [], 'item': null}]");
    MS_EXPECT_JSON(run.rows,
                   "[{'day': '2026-12-31', 'the price': '1.50', 'tags': ['a'], 'item': {'id': 7, 'sku': null}},"
                   " {'day': '2026-12-31', 'the price': '1.50', 'tags': ['é', null], 'item': null},"
                   " {'day': '2026-12-31', 'the price': null, 'tags': [], 'item': null}]");
    run = ms_test_describe(&test);
    MS_EXPECT(strstr(run.rows, "the price decimal(12,2)") && strstr(run.rows, "struct<id: int64, sku: text>"));
    return ms_test_end();
}
