/* Functions of `call.h`. */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>

void ms_failed(ms_call *call, ms_error_kind kind, const char *format, ...)
{
    va_list arguments;
    ms_failure *failure = &call->engine->failure;
    if (failure->happened)
        return;
    va_start(arguments, format);
    *failure = (ms_failure){true, kind, ms_arena_format(&ms_call_memory, format, arguments)};
    va_end(arguments);
}

ms_status ms_reject(ms_call *call, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    call->engine->reason = ms_arena_format(&ms_call_memory, format, arguments);
    call->engine->has_refused = true;
    va_end(arguments);
    return MS_REJECTED;
}

ms_status ms_fail_at(ms_call *call, const char *file, int line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    ms_text message = ms_arena_format(&ms_call_memory, format, arguments);
    va_end(arguments);
    ms_failed(call, MS_ERROR_INTERNAL, "%s:%d: %.*s", file, line, MS_PRINT(message));
    return MS_FAILED;
}

ms_status ms_refuse_input(ms_call *call, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    ms_text message = ms_arena_format(&ms_call_memory, format, arguments);
    va_end(arguments);
    ms_failed(call, MS_ERROR_INPUT, "%.*s", MS_PRINT(message));
    return MS_FAILED;
}

/*
 * For a trap, the host only has a backtrace, so the message is logged. It allocates nothing, since memory may have run
 * out.
 */
void ms_stop(const char *file, int line, const char *function, const char *condition)
{
    char message[512];
    int length = snprintf(message, sizeof message, "%s:%d: %s: assertion `%s` failed", file, line, function, condition);
    size_t shown = length < 0 ? 0 : (size_t)length < sizeof message ? (size_t)length : sizeof message - 1;
    ms_host_log(MS_LEVEL_ERROR, (ms_text){message, shown});
    abort();
}

void ms_reject_row(ms_call *call, uint32_t input, uint32_t row, const char *format, ...)
{
    va_list arguments;
    ms_engine *engine = call->engine;
    if (engine->rejections_count == engine->rejections_capacity) {
        engine->rejections_capacity = engine->rejections_capacity ? engine->rejections_capacity * 2 : 16;
        engine->rejections = ms_arena_grow(&ms_call_memory, engine->rejections,
                                           engine->rejections_capacity * sizeof *engine->rejections);
    }
    va_start(arguments, format);
    ms_text reason = ms_arena_format(&ms_call_memory, format, arguments);
    va_end(arguments);
    engine->rejections[engine->rejections_count++] = (ms_rejection){input, row, reason};
}

#define LOG_FUNCTION(name, level)                                                                                      \
    void name(const char *format, ...)                                                                                 \
    {                                                                                                                  \
        va_list arguments;                                                                                             \
        va_start(arguments, format);                                                                                   \
        ms_host_log(level, ms_arena_format(&ms_call_memory, format, arguments));                                       \
        va_end(arguments);                                                                                             \
    }

LOG_FUNCTION(ms_debug, MS_LEVEL_DEBUG)
LOG_FUNCTION(ms_info, MS_LEVEL_INFO)
LOG_FUNCTION(ms_warn, MS_LEVEL_WARN)
LOG_FUNCTION(ms_error, MS_LEVEL_ERROR)

void ms_count(const char *counter, uint64_t amount)
{
    ms_host_count((ms_text){counter, strlen(counter)}, amount);
}

ms_binary ms_file(ms_call *call, const char *name)
{
    ms_text of = {name, strlen(name)}, wrong;
    uint64_t size;
    ms_binary nothing = {NULL, 0};
    if (!ms_host_file_size(of, &size, &wrong)) {
        ms_failed(call, MS_ERROR_CONFIG, "%.*s", MS_PRINT(wrong));
        return nothing;
    }
    if (size > UINT32_MAX) {
        ms_failed(call, MS_ERROR_CONFIG, "the file `%s` is too large", name);
        return nothing;
    }
    uint8_t *bytes = ms_alloc((size_t)size);
    size_t read = 0;
    /* The host may return a large file in pieces. */
    while (read < size) {
        ms_binary piece;
        if (!ms_host_file_read(of, read, (uint32_t)(size - read), &piece, &wrong)) {
            ms_failed(call, MS_ERROR_CONFIG, "%.*s", MS_PRINT(wrong));
            return nothing;
        }
        if (piece.length == 0 || piece.length > size - read) {
            ms_failed(call, MS_ERROR_INTERNAL, "the file `%s` ended at %zu of %zu bytes", name, read, (size_t)size);
            return nothing;
        }
        memcpy(bytes + read, piece.data, piece.length);
        read += piece.length;
    }
    return (ms_binary){bytes, read};
}

ms_schema ms_input_schema(ms_call *call, uint32_t input)
{
    (void)call;
    return ms_host_input(input);
}

ms_schema ms_key_schema(ms_call *call)
{
    (void)call;
    return ms_host_key();
}

bool ms_is_written(const ms_field *field)
{
    static const char *const starts[] = {"decimal(", "list<", "struct<"};
    if (field->type != MS_ARROW)
        return false;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        size_t length = strlen(starts[i]);
        if (field->arrow.length > length && memcmp(field->arrow.data, starts[i], length) == 0)
            return true;
    }
    return ms_text_is(field->arrow, "date");
}

const char *ms_type_name(const ms_field *field)
{
    static const char *const names[] = {"bool", "int64", "float64", "text", "binary", "timestamp"};
    if (field->type < MS_ARROW)
        return names[field->type];
    return ms_format("%s%.*s", ms_is_written(field) ? "" : "arrow ", MS_PRINT(field->arrow)).data;
}

const char *ms_schema_text(ms_schema schema)
{
    const char *text = schema.width ? "" : "no columns";
    for (size_t i = 0; i < schema.width; i++) {
        const ms_field *field = &schema.fields[i];
        text = ms_format("%s%s%.*s %s", text, i ? ", " : "", MS_PRINT(field->name), ms_type_name(field)).data;
    }
    return text;
}
