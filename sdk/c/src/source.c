/* World `source`. */
#include "engine.h"

#include <stdlib.h>

/* The config of `open`, for the calls after it, which are not told it again. */
static ms_text opened_with;

void ms_position(ms_poll *poll, ms_binary position)
{
    ms_text copy = ms_arena_copy(&ms_call_memory, (ms_text){(const char *)position.data, position.length});
    poll->has_position = true;
    poll->position = (ms_binary){(const uint8_t *)copy.data, copy.length};
}

void ms_position_text(ms_poll *poll, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    ms_text text = ms_arena_format(&ms_call_memory, format, arguments);
    va_end(arguments);
    poll->has_position = true;
    poll->position = (ms_binary){(const uint8_t *)text.data, text.length};
}

void ms_refuse(ms_poll *poll, ms_binary data, const char *format, ...)
{
    va_list arguments;
    if (poll->refused_count == poll->refused_capacity) {
        poll->refused_capacity = poll->refused_capacity ? poll->refused_capacity * 2 : 16;
        poll->refused =
            ms_arena_grow(&ms_call_memory, poll->refused, poll->refused_capacity * sizeof *poll->refused);
    }
    va_start(arguments, format);
    ms_text reason = ms_arena_format(&ms_call_memory, format, arguments);
    va_end(arguments);
    ms_text copy = ms_arena_copy(&ms_call_memory, (ms_text){(const char *)data.data, data.length});
    poll->refused[poll->refused_count++] = (ms_refusal){{(const uint8_t *)copy.data, copy.length}, reason};
}

void ms_partition(ms_partitions *partitions, ms_text name)
{
    if (partitions->count == partitions->capacity) {
        partitions->capacity = partitions->capacity ? partitions->capacity * 2 : 16;
        partitions->names =
            ms_arena_grow(&ms_call_memory, partitions->names, partitions->capacity * sizeof *partitions->names);
    }
    partitions->names[partitions->count++] = ms_arena_copy(&ms_call_memory, name);
}

ms_status ms_refuse_config(ms_call *call, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    ms_text message = ms_arena_format(&ms_call_memory, format, arguments);
    va_end(arguments);
    ms_failed(call, MS_ERROR_CONFIG, "%.*s", MS_PRINT(message));
    return MS_FAILED;
}

/* What a function has come to. */
static bool is_done(ms_call *call, ms_status status, const char *function)
{
    if (status != MS_OK)
        ms_failed(call, MS_ERROR_INTERNAL, "the function `%s` failed and did not say why", function);
    return !call->engine->failure.happened;
}

bool ms_engine_partitions(ms_call *call, ms_partitions *partitions)
{
    const ms_source *source = ms_the_plugin.source;
    memset(partitions, 0, sizeof *partitions);
    if (!source->partitions) {
        ms_partition(partitions, MS_TEXT_OF(""));
        return true;
    }
    return is_done(call, source->partitions(partitions, call), "partitions");
}

bool ms_engine_open(ms_call *call, ms_text config, ms_text partition, const ms_binary *position)
{
    char *kept = realloc((char *)opened_with.data, config.length + 1);
    ms_assert(kept != NULL);
    if (config.length)
        memcpy(kept, config.data, config.length);
    opened_with = (ms_text){kept, config.length};
    return is_done(call, ms_the_plugin.source->open(partition, position, call), "open");
}

bool ms_engine_reading(ms_call *call, ms_engine *engine)
{
    return ms_engine_begin(call, engine, opened_with);
}

bool ms_engine_poll(ms_call *call, ms_poll *poll, ms_batch *rows)
{
    ms_out *out = ms_alloc(sizeof *out);
    ms_out_init(out, ms_row_schema(ms_the_plugin.output), false, 0, 0);
    poll->rows = out;
    return is_done(call, ms_the_plugin.source->poll(poll, out, call), "poll") && ms_out_finish(call, out, NULL, rows);
}

bool ms_engine_durable(ms_call *call, ms_binary position)
{
    const ms_source *source = ms_the_plugin.source;
    return !source->durable || is_done(call, source->durable(position, call), "durable");
}

bool ms_engine_published(ms_call *call, ms_binary position)
{
    const ms_source *source = ms_the_plugin.source;
    return !source->published || is_done(call, source->published(position, call), "published");
}
