/* Timers of world `update`. */
#include "engine.h"

/* The requests of a group's function: a time, and whether it is set or cancelled. The last comes first. */
typedef struct ms_asked {
    struct ms_asked *before;
    int64_t at;
    bool is_set;
} ms_asked;

/* Called by pointer, so that plugins without timers do not import them. */
static void set_timers(ms_engine *engine, bool done)
{
    ms_asked *first = NULL;
    for (ms_asked *asked = engine->asked, *before; asked; asked = before) {
        before = asked->before;
        asked->before = first;
        first = asked;
    }
    for (ms_asked *asked = first; done && asked; asked = asked->before) {
        if (asked->is_set)
            ms_host_timer_set(engine->group, asked->at);
        else
            ms_host_timer_cancel(engine->group, asked->at);
    }
    engine->asked = NULL;
}

static void ask(ms_call *call, ms_timestamp at, bool is_set)
{
    ms_asked *asked = ms_alloc(sizeof *asked);
    *asked = (ms_asked){call->engine->asked, at.us, is_set};
    call->engine->asked = asked;
    call->engine->set_timers = set_timers;
    call->has_asked = true;
}

void ms_timer_set(ms_call *call, ms_timestamp at)
{
    ask(call, at, true);
}

void ms_timer_cancel(ms_call *call, ms_timestamp at)
{
    ask(call, at, false);
}

const ms_timestamp *ms_timers_due(ms_call *call, uint32_t *count)
{
    ms_engine *engine = call->engine;
    if (!engine->due_ends)
        ms_host_timers_due(&engine->due_ends, &engine->due_times);
    uint32_t start = engine->group ? engine->due_ends[engine->group - 1] : 0;
    *count = engine->due_ends[engine->group] - start;
    return engine->due_times + start;
}
