/* Timers of world `update`. */
#include "engine.h"

/* A timer change of a group's function: a time, and whether the timer is set or canceled. The last change comes first. */
typedef struct ms_timer_change {
    struct ms_timer_change *before;
    int64_t at;
    bool is_set;
} ms_timer_change;

/* Called by pointer, so that plugins without timers do not import them. */
static void set_timers(ms_engine *engine, bool done)
{
    ms_timer_change *first = NULL;
    for (ms_timer_change *change = engine->timer_changes, *before; change; change = before) {
        before = change->before;
        change->before = first;
        first = change;
    }
    for (ms_timer_change *change = first; done && change; change = change->before) {
        if (change->is_set)
            ms_host_timer_set(engine->group, change->at);
        else
            ms_host_timer_cancel(engine->group, change->at);
    }
    engine->timer_changes = NULL;
}

static void add_change(ms_call *call, ms_timestamp at, bool is_set)
{
    ms_timer_change *change = ms_alloc(sizeof *change);
    *change = (ms_timer_change){call->engine->timer_changes, at.us, is_set};
    call->engine->timer_changes = change;
    call->engine->set_timers = set_timers;
    call->has_asked = true;
}

void ms_timer_set(ms_call *call, ms_timestamp at)
{
    add_change(call, at, true);
}

void ms_timer_cancel(ms_call *call, ms_timestamp at)
{
    add_change(call, at, false);
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
