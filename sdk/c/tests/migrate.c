/* Migrations of states, selected by their columns. */
#include <millstream.h>
#include <millstream/test.h>

#define COUNT(COLUMN) COLUMN(int64_t, count)
MS_ROW(count, COUNT);

#define NAMED(COLUMN)                                                                                                  \
    COLUMN(int64_t, count)                                                                                             \
    COLUMN(ms_opt_text, name)
MS_ROW(named, NAMED);

#define COUNTS(COLUMN)                                                                                                 \
    COLUMN(int64_t, all)                                                                                               \
    COLUMN(ms_opt_int64, most)                                                                                         \
    COLUMN(ms_text, note)
MS_ROW(counts, COUNTS);

static counts counts_of_count(const count *old, ms_call *call)
{
    (void)call;
    return (counts){old->count, {false, 0}, MS_TEXT_OF("counted")};
}

static counts counts_of_named(const named *old, ms_call *call)
{
    if (old->count < 0)
        ms_reject(call, "%d is below zero", (int)old->count);
    return (counts){old->count, {old->name.is_set, (int64_t)old->name.value.length}, old->name.value};
}

MS_MIGRATE(count, counts, counts_of_count);
MS_MIGRATE(named, counts, counts_of_named);

static ms_status count_rows(ms_rows *rows, counts *counts, ms_out *out, ms_call *call)
{
    (void)out;
    (void)call;
    counts->all += ms_rows_count(rows);
    return MS_OK;
}

MS_UPDATE(ms_nothing, counts, ms_nothing, count_rows,
          MS_MIGRATIONS(&counts_of_count_migration, &counts_of_named_migration));

int main(void)
{
    ms_test test = {.key = "user text"};
    MS_EXPECT_JSON(ms_test_migrate(&test, 0, "[{'count': 7}, {'count': -1}]").rows,
                   "[{'all': 7, 'most': null, 'note': 'counted'}, {'all': -1, 'most': null, 'note': 'counted'}]");
    MS_EXPECT_JSON(ms_test_migrate(&test, 1, "[{'count': 1, 'name': 'abc'}, {'count': 2}]").rows,
                   "[{'all': 1, 'most': 3, 'note': 'abc'}, {'all': 2, 'most': null, 'note': ''}]");
    const char *error = ms_test_migrate(&test, 1, "[{'count': -5}]").error;
    MS_EXPECT(error && strcmp(error, "internal: row 0: -5 is below zero") == 0);
    return ms_test_end();
}
