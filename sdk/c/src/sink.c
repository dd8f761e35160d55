/* World `sink`. */
#include "engine.h"

void ms_refuse_row(const ms_rows *rows, ms_call *call, const char *format, ...)
{
    va_list arguments;
    ms_assert(rows->next > 0);
    va_start(arguments, format);
    ms_text reason = ms_arena_format(&ms_call_memory, format, arguments);
    va_end(arguments);
    ms_reject_row(call, 0, rows->next - 1, "%.*s", MS_PRINT(reason));
}

bool ms_engine_promise(ms_call *call, ms_promise *promise)
{
    const ms_sink *sink = ms_the_plugin.sink;
    *promise = sink->committed ? MS_EXACTLY_ONCE : MS_AT_LEAST_ONCE;
    if (sink->promise)
        *promise = sink->promise(call);
    if (*promise == MS_EXACTLY_ONCE && !sink->committed)
        ms_failed(call, MS_ERROR_INTERNAL, "a sink that promises MS_EXACTLY_ONCE must have a function `committed`");
    return !call->engine->failure.happened;
}

bool ms_engine_committed(ms_call *call, const ms_identity *identity, uint64_t *last)
{
    const ms_sink *sink = ms_the_plugin.sink;
    *last = 0;
    return !sink->committed || ms_is_done(call, sink->committed(identity, last, call), "committed");
}

bool ms_engine_take_over(ms_call *call, ms_text config, const ms_owner *owner, uint64_t *last)
{
    *last = 0;
    ms_engine_keep(config);
    return ms_is_done(call, ms_the_plugin.sink->open(owner, last, call), "open");
}

bool ms_engine_begin_batch(ms_call *call, uint64_t batch, ms_timestamp time)
{
    const ms_sink *sink = ms_the_plugin.sink;
    return !sink->begin || ms_is_done(call, sink->begin(batch, time, call), "begin");
}

bool ms_engine_write(ms_call *call, const ms_batch *batch, const ms_rejection **refused, size_t *count)
{
    ms_missing missing = {NULL, 0, 0};
    if (!ms_check_batch(call, batch, ms_the_plugin.input))
        return false;
    ms_find_missing(call, 0, batch, ms_the_plugin.input, &missing);
    ms_rows rows = {batch, 0, batch->rows, missing.rows, missing.count};
    if (!ms_is_done(call, ms_the_plugin.sink->write(&rows, call), "write"))
        return false;
    *refused = ms_sorted_rejections(call->engine);
    *count = call->engine->rejections_count;
    return true;
}

bool ms_engine_commit(ms_call *call, uint64_t batch)
{
    return ms_is_done(call, ms_the_plugin.sink->commit(batch, call), "commit");
}
