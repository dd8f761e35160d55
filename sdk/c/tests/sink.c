/* A sink. */
#include <millstream.h>
#include <millstream/test.h>

#include <stdio.h>
#include <string.h>

#define ENTRY(COLUMN)                                                                                                  \
    COLUMN(ms_text, name)                                                                                              \
    COLUMN(ms_opt_int64, amount)
MS_ROW(entry, ENTRY);

typedef struct settings {
    int64_t last;
    bool loose;
} settings;

static void read_settings(ms_config *from, void *to)
{
    settings *settings = to;
    settings->last = ms_config_int64_or(from, "last", 0);
    settings->loose = ms_config_bool_or(from, "loose", false);
}

/* Calls of the functions. */
static char calls[256];

#define RECORD(...) snprintf(calls + strlen(calls), sizeof calls - strlen(calls), __VA_ARGS__)

static ms_status check(ms_call *call)
{
    const settings *settings = call->config;
    return settings->last < 0 ? ms_refuse_config(call, "there is no such batch") : MS_OK;
}

static ms_promise promise(ms_call *call)
{
    const settings *settings = call->config;
    return settings->loose ? MS_AT_LEAST_ONCE : MS_EXACTLY_ONCE;
}

static ms_status committed(const ms_identity *of, uint64_t *last, ms_call *call)
{
    const settings *settings = call->config;
    RECORD("%.*s/%.*s/%.*s ", MS_PRINT(of->job), MS_PRINT(of->job_id), MS_PRINT(of->sink));
    *last = (uint64_t)settings->last;
    return MS_OK;
}

static ms_status take_over(const ms_owner *owner, uint64_t *last, ms_call *call)
{
    const settings *settings = call->config;
    RECORD("open %d ", (int)owner->generation);
    *last = (uint64_t)settings->last;
    return MS_OK;
}

static ms_status begin(uint64_t batch, ms_timestamp time, ms_call *call)
{
    const settings *settings = call->config;
    RECORD("begin %d %d %d ", (int)batch, (int)(time.us / 1000000), settings->loose);
    return MS_OK;
}

static ms_status take(ms_rows *rows, ms_call *call)
{
    entry entry;
    RECORD("%d rows ", (int)ms_rows_count(rows));
    while (entry_next(rows, &entry)) {
        if (!entry.amount.is_set)
            ms_refuse_row(rows, call, "%.*s has no amount", MS_PRINT(entry.name));
        else if (entry.amount.value < 0)
            return ms_refuse_input(call, "it is owed");
        else
            RECORD("%.*s ", MS_PRINT(entry.name));
    }
    return MS_OK;
}

static ms_status commit(uint64_t batch, ms_call *call)
{
    RECORD("commit %d ", (int)batch);
    return batch == 9 ? ms_fail(call, "nine is too many") : MS_OK;
}

MS_SINK(entry,
        MS_WRITES(.check = check, .promise = promise, .committed = committed, .open = take_over, .begin = begin,
                  .write = take, .commit = commit),
        MS_CONFIG(settings, read_settings));

int main(void)
{
    ms_test test = {.config = "{'last': 3}"};
    MS_EXPECT(ms_test_promise(&test) == MS_EXACTLY_ONCE);
    MS_EXPECT(ms_test_committed(&test, "id").batch == 3);
    MS_EXPECT(ms_test_take_over(&test, "id", 7).batch == 3);
    ms_run run = ms_test_batch(&test, 4,
                               "[{'name': 'a', 'amount': 1}, {'amount': 2}, {'name': 'c'}, {'name': 'd', 'amount': 0}]");
    MS_EXPECT_JSON(run.rejected,
                   "[{'row': 1, 'reason': 'column `name` is null'}, {'row': 2, 'reason': 'c has no amount'}]");
    MS_EXPECT(strcmp(calls, "test/id/out open 7 begin 4 4 0 3 rows a d commit 4 ") == 0);
    run = ms_test_batch(&test, 5, "[{'name': 'a', 'amount': -1}]");
    MS_EXPECT(run.error && strcmp(run.error, "input: it is owed") == 0);
    run = ms_test_batch(&test, 9, "[{'name': 'a', 'amount': 1}]");
    MS_EXPECT(run.error && strstr(run.error, "nine is too many") != NULL);
    run = ms_test_begun(&test, 9, "[]");
    MS_EXPECT_JSON(run.rejected, "[]");

    ms_test loose = {.config = "{'loose': true}"};
    MS_EXPECT(ms_test_promise(&loose) == MS_AT_LEAST_ONCE);
    MS_EXPECT(ms_test_take_over(&loose, "id", 8).batch == 0);
    calls[0] = '\0';
    ms_test_begun(&loose, 6, "[]");
    MS_EXPECT(strcmp(calls, "begin 6 6 1 0 rows ") == 0);
    ms_test wrong = {.config = "{'last': -1}"};
    MS_EXPECT(strcmp(ms_test_committed(&wrong, "id").error, "config: there is no such batch") == 0);
    return ms_test_end();
}
