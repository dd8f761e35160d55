/* Common code of worlds `source` and `sink`: an instance is opened once and then called repeatedly. */
#include "engine.h"

#include <stdlib.h>

/* The config of `open`. Later calls do not receive it again. */
static ms_text opened_with;

ms_status ms_refuse_config(ms_call *call, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    ms_text message = ms_arena_format(&ms_call_memory, format, arguments);
    va_end(arguments);
    ms_failed(call, MS_ERROR_CONFIG, "%.*s", MS_PRINT(message));
    return MS_FAILED;
}

bool ms_is_done(ms_call *call, ms_status status, const char *function)
{
    if (status != MS_OK)
        ms_failed(call, MS_ERROR_INTERNAL, "the function `%s` failed and did not say why", function);
    return !call->engine->failure.happened;
}

void ms_engine_keep(ms_text config)
{
    char *kept = realloc((char *)opened_with.data, config.length + 1);
    ms_assert(kept != NULL);
    if (config.length)
        memcpy(kept, config.data, config.length);
    opened_with = (ms_text){kept, config.length};
}

bool ms_engine_opened(ms_call *call, ms_engine *engine)
{
    return ms_engine_begin(call, engine, opened_with);
}
