/* World `source`. */
#include "engine.h"

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

bool ms_engine_partitions(ms_call *call, ms_partitions *partitions)
{
    const ms_source *source = ms_the_plugin.source;
    memset(partitions, 0, sizeof *partitions);
    if (!source->partitions) {
        ms_partition(partitions, MS_TEXT_OF(""));
        return true;
    }
    return ms_is_done(call, source->partitions(partitions, call), "partitions");
}

bool ms_engine_open(ms_call *call, ms_text config, ms_text partition, const ms_binary *position)
{
    ms_engine_keep(config);
    return ms_is_done(call, ms_the_plugin.source->open(partition, position, call), "open");
}

bool ms_engine_poll(ms_call *call, ms_poll *poll, ms_batch *rows)
{
    ms_out *out = ms_alloc(sizeof *out);
    ms_out_init(out, ms_row_schema(ms_the_plugin.output), false, 0, 0);
    poll->rows = out;
    return ms_is_done(call, ms_the_plugin.source->poll(poll, out, call), "poll") && ms_out_finish(call, out, NULL, rows);
}

bool ms_engine_durable(ms_call *call, ms_binary position)
{
    const ms_source *source = ms_the_plugin.source;
    return !source->durable || ms_is_done(call, source->durable(position, call), "durable");
}

bool ms_engine_published(ms_call *call, ms_binary position)
{
    const ms_source *source = ms_the_plugin.source;
    return !source->published || ms_is_done(call, source->published(position, call), "published");
}
