/* Functions that the loops over rows and groups call. */
#include "engine.h"

const ms_row ms_nothing_row = {NULL, 0, sizeof(ms_nothing), NULL};

bool ms_skip_next(ms_call *call, uint32_t row)
{
    ms_missing *missing = call->engine->missing;
    (void)row;
    missing->next++;
    call->skip = missing->next < missing->count ? missing->rows[missing->next] : UINT32_MAX;
    return true;
}

/* Returns the reason that the function gave. */
static ms_text reason_of(ms_engine *engine)
{
    ms_text reason = engine->has_refused ? engine->reason : MS_TEXT_OF("the plugin gives no reason");
    engine->has_refused = false;
    return reason;
}

/* Returns whether a status is a rejection. Otherwise the call fails. */
static bool is_refusal(ms_call *call, ms_status status)
{
    if (status == MS_REJECTED)
        return true;
    if (status != MS_FAILED)
        ms_failed(call, MS_ERROR_INTERNAL, "the function returned %d, which this world does not know", (int)status);
    ms_failed(call, MS_ERROR_INTERNAL, "the function returned MS_FAILED and did not say why with ms_fail");
    return false;
}

bool ms_row_refused(ms_call *call, ms_status status, uint32_t row, ms_out *out, uint32_t before)
{
    if (!is_refusal(call, status))
        return false;
    ms_out_truncate(out, before);
    ms_text reason = reason_of(call->engine);
    ms_reject_row(call, 0, row, "%.*s", MS_PRINT(reason));
    return true;
}

bool ms_are_pairs(ms_call *call, const ms_batch *left, const ms_batch *right)
{
    if (left->rows == right->rows)
        return true;
    ms_failed(call, MS_ERROR_INTERNAL, "row counts differ: %u and %u", (unsigned)left->rows, (unsigned)right->rows);
    return false;
}

bool ms_has_refused(ms_call *call, uint32_t row)
{
    ms_engine *engine = call->engine;
    if (engine->has_refused) {
        ms_text reason = reason_of(engine);
        ms_failed(call, MS_ERROR_INTERNAL, "row %u: %.*s", (unsigned)row, MS_PRINT(reason));
    }
    return engine->failure.happened;
}

void ms_read_key(ms_call *call, const ms_batch *keys, uint32_t row)
{
    if (ms_the_plugin.key) {
        ms_the_plugin.key->read(keys, row, call->engine->key);
        call->key = call->engine->key;
    }
}

static uint32_t start_of(const ms_grouped *grouped, uint32_t group)
{
    return group ? grouped->ends[group - 1] : 0;
}

bool ms_group_begin(ms_call *call, const ms_groups *groups, uint32_t group, ms_rows *rows, ms_out *out)
{
    for (uint32_t i = 0; i < groups->inputs_count; i++) {
        const ms_grouped *grouped = &groups->inputs[i];
        ms_missing *missing = &call->engine->missing[i];
        uint32_t start = start_of(grouped, group), end = grouped->ends[group];
        if (end < start || end > grouped->rows.rows) {
            ms_failed(call, MS_ERROR_INTERNAL, "group %u ends at row %u, which is out of order", (unsigned)group,
                      (unsigned)end);
            return false;
        }
        rows[i] = (ms_rows){&grouped->rows, start, end, missing->rows + missing->next, 0};
        while (missing->next < missing->count && missing->rows[missing->next] < end) {
            missing->next++;
            rows[i].skips++;
        }
    }
    call->engine->group = group;
    call->known = groups->known && ms_bit(groups->known, group);
    call->timed_out = groups->timed_out && ms_bit(groups->timed_out, group);
    out->group = group;
    ms_read_key(call, &groups->keys, group);
    return true;
}

/* Rejects all rows of a group except those that were not passed to the function. */
static void refuse_rows(ms_call *call, const ms_grouped *grouped, uint32_t input, uint32_t group, ms_text reason)
{
    const ms_missing *missing = &call->engine->missing[input];
    uint32_t start = start_of(grouped, group), skip = missing->next;
    while (skip > 0 && missing->rows[skip - 1] >= start)
        skip--;
    for (uint32_t row = start; row < grouped->ends[group]; row++) {
        if (skip < missing->next && missing->rows[skip] == row)
            skip++;
        else
            ms_reject_row(call, input, row, "%.*s", MS_PRINT(reason));
    }
}

bool ms_group_finish(ms_call *call, const ms_groups *groups, uint32_t group, ms_status status, ms_out *out,
                     uint32_t before)
{
    ms_engine *engine = call->engine;
    bool done = status == MS_OK || (status == MS_REMOVE && ms_the_plugin.world == MS_WORLD_UPDATE);
    if (call->has_asked)
        engine->set_timers(engine, done);
    call->has_asked = false;
    if (done)
        return true;
    if (!is_refusal(call, status))
        return false;
    ms_out_truncate(out, before);
    ms_text reason = reason_of(engine);
    for (uint32_t i = 0; i < groups->inputs_count; i++)
        refuse_rows(call, &groups->inputs[i], i, group, reason);
    return true;
}
