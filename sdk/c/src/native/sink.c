/* Runs a sink like a host. */
#include "native.h"

static ms_identity identity_of(const char *job_id)
{
    return (ms_identity){MS_TEXT_OF("test"), ms_test_text(job_id), MS_TEXT_OF("out")};
}

ms_promise ms_test_promise(ms_test *test)
{
    ms_call call;
    ms_engine engine;
    ms_promise promise;
    if (!ms_test_begin(test, MS_WORLD_SINK, &call, &engine) || !ms_engine_promise(&call, &promise))
        ms_test_wrong("%s", ms_test_failed(&engine).error);
    return promise;
}

ms_last ms_test_committed(ms_test *test, const char *job_id)
{
    ms_call call;
    ms_engine engine;
    uint64_t last;
    ms_identity identity = identity_of(job_id);
    if (!ms_test_begin(test, MS_WORLD_SINK, &call, &engine) || !ms_engine_committed(&call, &identity, &last))
        return (ms_last){0, ms_test_failed(&engine).error};
    return (ms_last){last, NULL};
}

ms_last ms_test_take_over(ms_test *test, const char *job_id, uint64_t generation)
{
    ms_call call;
    ms_engine engine;
    uint64_t last;
    ms_owner owner = {identity_of(job_id), generation};
    if (!ms_test_begin(test, MS_WORLD_SINK, &call, &engine) ||
        !ms_engine_take_over(&call, ms_test_config(test), &owner, &last))
        return (ms_last){0, ms_test_failed(&engine).error};
    return (ms_last){last, NULL};
}

/* Formats rejected rows as in tests. */
static const char *format_rejections(const ms_rejection *refused, size_t count)
{
    ms_writer to = {NULL, 0, 0};
    ms_write(&to, "[");
    for (size_t i = 0; i < count; i++) {
        ms_json reason = {.kind = MS_JSON_TEXT, .text = refused[i].reason};
        ms_write(&to, "%s{\"row\": %u, \"reason\": ", i ? ", " : "", (unsigned)refused[i].row);
        ms_write_json(&to, &reason);
        ms_write(&to, "}");
    }
    ms_write(&to, "]");
    return to.text;
}

ms_run ms_test_begun(ms_test *test, uint64_t batch, const char *rows)
{
    ms_call call;
    ms_engine engine;
    const ms_rejection *refused;
    size_t refused_count;
    uint32_t count;
    (void)test;
    ms_test_goes_on(&call, &engine);
    if (!ms_engine_begin_batch(&call, batch, (ms_timestamp){(int64_t)batch * 1000000}))
        return ms_test_failed(&engine);
    ms_test_goes_on(&call, &engine);
    const ms_json **items = ms_json_items(ms_test_json(rows), &count);
    ms_batch made = ms_batch_of_test(&call, ms_row_schema(ms_the_plugin.input), items, count);
    if (!ms_engine_write(&call, &made, &refused, &refused_count))
        return ms_test_failed(&engine);
    return (ms_run){"[]", format_rejections(refused, refused_count), NULL};
}

ms_run ms_test_batch(ms_test *test, uint64_t batch, const char *rows)
{
    ms_call call;
    ms_engine engine;
    ms_run run = ms_test_begun(test, batch, rows);
    if (run.error)
        return run;
    ms_test_goes_on(&call, &engine);
    return ms_engine_commit(&call, batch) ? run : ms_test_failed(&engine);
}
