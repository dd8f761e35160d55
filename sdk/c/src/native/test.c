/* Runs the plugin like a host, batch by batch. */
#include "native.h"

#include <stdio.h>
#include <stdlib.h>

/* A key with its state, or with a timer. */
typedef struct ms_test_entry {
    struct ms_test_entry *next;
    const ms_json *key;
    const ms_json *state;
    int64_t at;
} ms_test_entry;

/* The rows of a key in each input. */
typedef struct group {
    struct group *next;
    const ms_json *key;
    const ms_json **rows[MS_TEST_INPUTS_MAX];
    uint32_t counts[MS_TEST_INPUTS_MAX];
} group;

/* The current batch. */
typedef struct session {
    ms_test *test;
    ms_call call;
    ms_engine engine;
    ms_description description;
    group *groups;
    group **last;
    uint32_t groups_count;
} session;

static int failures;
/* The error of the last run, if it failed, for messages of failed expectations. */
static const char *last_error;

static bool begin_call(session *of)
{
    const char *config = of->test->config ? of->test->config : "{}";
    ms_writer strict = {NULL, 0, 0};
    ms_write_json(&strict, ms_test_json(config));
    memset(&of->call, 0, sizeof of->call);
    of->call.batch = of->test->batch;
    of->call.time.us = (int64_t)of->test->batch * 1000000;
    of->call.watermark = of->test->watermark;
    return ms_engine_begin(&of->call, &of->engine, (ms_text){strict.text, strict.length});
}

/* Starts a batch: the plugin describes itself. */
static bool begin(session *of, ms_test *test)
{
    ms_arena_reset(&ms_call_memory);
    memset(of, 0, sizeof *of);
    memset(&ms_stage, 0, sizeof ms_stage);
    of->test = test;
    of->last = &of->groups;
    ms_stage.key = ms_test_schema(test->key);
    while (ms_stage.inputs_count < MS_TEST_INPUTS_MAX && test->inputs[ms_stage.inputs_count]) {
        ms_stage.inputs[ms_stage.inputs_count] = ms_test_schema(test->inputs[ms_stage.inputs_count]);
        ms_stage.inputs_count++;
    }
    if (!begin_call(of) || !ms_engine_describe(&of->call, &of->description))
        return false;
    if (of->description.inputs_count > MS_TEST_INPUTS_MAX)
        ms_test_wrong("tests have no more than %d inputs", MS_TEST_INPUTS_MAX);
    ms_stage.inputs_count = of->description.inputs_count;
    for (uint32_t i = 0; i < ms_stage.inputs_count; i++)
        ms_stage.inputs[i] = of->description.inputs[i];
    return true;
}

static ms_run failed(const session *of)
{
    return ms_test_failed(&of->engine);
}

ms_run ms_test_failed(const ms_engine *engine)
{
    static const char *const kinds[] = {"config", "input", "internal"};
    const ms_failure *failure = &engine->failure;
    ms_writer error = {NULL, 0, 0};
    ms_write(&error, "%s: %.*s", kinds[failure->kind], MS_PRINT(failure->message));
    last_error = error.text;
    return (ms_run){NULL, NULL, error.text};
}

static ms_run done(const session *of, const char *rows, const ms_output *output)
{
    ms_writer rejected = {NULL, 0, 0};
    ms_write(&rejected, "[");
    for (size_t i = 0; output && i < output->rejections_count; i++) {
        const ms_rejection *rejection = &output->rejections[i];
        uint32_t row = rejection->row;
        for (const group *group = of->groups; group; group = group->next) {
            for (uint32_t input = 0; input < rejection->input; input++)
                row += group->counts[input];
        }
        ms_json reason = {.kind = MS_JSON_TEXT, .text = rejection->reason};
        ms_write(&rejected, "%s{\"row\": %u, \"reason\": ", i ? ", " : "", (unsigned)row);
        ms_write_json(&rejected, &reason);
        ms_write(&rejected, "}");
    }
    ms_write(&rejected, "]");
    last_error = NULL;
    return (ms_run){rows, rejected.text, NULL};
}

/* Returns the columns of a schema from a larger object. */
static const ms_json *part_of(ms_schema schema, const ms_json *row)
{
    ms_json *part = ms_arena_alloc(&ms_test_memory, sizeof *part);
    *part = (ms_json){.kind = MS_JSON_OBJECT, .count = schema.width};
    const ms_json **link = &part->first;
    for (size_t i = 0; i < schema.width; i++) {
        const ms_json *value = ms_json_get(row, schema.fields[i].name);
        ms_json *copy = ms_arena_alloc(&ms_test_memory, sizeof *copy);
        *copy = value ? *value : (ms_json){.kind = MS_JSON_NULL};
        copy->name = schema.fields[i].name;
        copy->next = NULL;
        *link = copy;
        link = (const ms_json **)&copy->next;
    }
    return part;
}

static group *group_of(session *of, const ms_json *key)
{
    for (group *group = of->groups; group; group = group->next) {
        if (ms_json_equal(group->key, key))
            return group;
    }
    group *added = ms_arena_alloc(&ms_test_memory, sizeof *added);
    *added = (group){.key = key};
    *of->last = added;
    of->last = &added->next;
    of->groups_count++;
    return added;
}

/* Groups the rows of an input by key, with keys in the order of their first rows. */
static void group_rows(session *of, uint32_t input, const ms_json *list)
{
    uint32_t count;
    const ms_json **rows = ms_json_items(list, &count);
    for (uint32_t i = 0; i < count; i++) {
        group *group = group_of(of, part_of(ms_stage.key, rows[i]));
        if (!group->rows[input])
            group->rows[input] = ms_arena_alloc(&ms_test_memory, count * sizeof *rows);
        group->rows[input][group->counts[input]++] = rows[i];
    }
}

/* Returns the groups in the host's format. */
static ms_groups groups_of(session *of, uint32_t inputs_count)
{
    ms_grouped *inputs = ms_alloc(inputs_count * sizeof *inputs);
    const ms_json **keys = ms_alloc(of->groups_count * sizeof *keys);
    uint32_t at = 0;
    for (const group *group = of->groups; group; group = group->next)
        keys[at++] = group->key;
    for (uint32_t i = 0; i < inputs_count; i++) {
        uint32_t *ends = ms_alloc(of->groups_count * sizeof *ends), end = 0, group_at = 0;
        for (const group *group = of->groups; group; group = group->next)
            end += group->counts[i];
        const ms_json **rows = ms_alloc(end * sizeof *rows);
        end = 0;
        for (const group *group = of->groups; group; group = group->next) {
            for (uint32_t j = 0; j < group->counts[i]; j++)
                rows[end++] = group->rows[i][j];
            ends[group_at++] = end;
        }
        inputs[i] = (ms_grouped){ms_batch_of_test(&of->call, of->description.inputs[i], rows, end), ends};
    }
    ms_batch key_batch = ms_batch_of_test(&of->call, ms_stage.key, keys, of->groups_count);
    return (ms_groups){.keys = key_batch, .inputs = inputs, .inputs_count = inputs_count};
}

static ms_run run_transform(session *of, const char *rows)
{
    uint32_t count;
    const ms_json **items = ms_json_items(ms_test_json(rows), &count);
    ms_batch batch = ms_batch_of_test(&of->call, of->description.inputs[0], items, count);
    ms_output output = {0};
    if (!begin_call(of) || !ms_engine_process(&of->call, &batch, &output))
        return failed(of);
    return done(of, ms_test_rows(of->description.output, &output.rows), &output);
}

static ms_run run_cogroup(session *of, const char *rows)
{
    uint32_t count;
    const ms_json **inputs = ms_json_items(ms_test_json(rows), &count);
    ms_output output = {0};
    if (count != of->description.inputs_count)
        ms_test_wrong("rows of %u inputs for a plugin that has %u", (unsigned)count,
                      (unsigned)of->description.inputs_count);
    for (uint32_t i = 0; i < count; i++)
        group_rows(of, i, inputs[i]);
    ms_groups groups = groups_of(of, count);
    if (!begin_call(of) || !ms_engine_cogroup(&of->call, &groups, &output))
        return failed(of);
    return done(of, ms_test_rows(of->description.output, &output.rows), &output);
}

/* Returns the accumulator of one row of a batch. */
static ms_batch accumulator(session *of, const ms_json *list, uint32_t row)
{
    uint32_t count;
    const ms_json **items = ms_json_items(list, &count);
    return ms_batch_of_test(&of->call, of->description.state, items + row, 1);
}

/* Reduces the rows of a key. Returns false if a call failed. */
static bool reduce(session *of, const group *group, ms_output *lowered)
{
    ms_output output = {0};
    ms_batch rows = ms_batch_of_test(&of->call, of->description.inputs[0], group->rows[0], group->counts[0]);
    ms_batch key = ms_batch_of_test(&of->call, ms_stage.key, (const ms_json *[]){group->key}, 1);
    if (!begin_call(of) || !ms_engine_lift(&of->call, &rows, &output))
        return false;
    const ms_json *parts = ms_test_json(ms_test_rows(of->description.state, &output.rows));
    ms_batch first = accumulator(of, parts, 0), whole = first;
    for (uint32_t i = 1; i < rows.rows; i++) {
        ms_batch next = accumulator(of, parts, i);
        if (!begin_call(of) || !ms_engine_combine(&of->call, &whole, &next, &output))
            return false;
        whole = output.rows;
    }
    if (of->description.inverse && rows.rows > 1) {
        if (!begin_call(of) || !ms_engine_inverse(&of->call, &whole, &first, &output))
            return false;
        ms_batch rest = output.rows;
        if (!begin_call(of) || !ms_engine_combine(&of->call, &first, &rest, &output))
            return false;
        whole = output.rows;
    }
    return begin_call(of) && ms_engine_lower(&of->call, &key, &whole, lowered);
}

static ms_run run_aggregate(session *of, const char *rows)
{
    ms_writer returned = {NULL, 0, 0};
    group_rows(of, 0, ms_test_json(rows));
    ms_write(&returned, "[");
    for (const group *group = of->groups; group; group = group->next) {
        ms_output lowered = {0};
        if (!reduce(of, group, &lowered))
            return failed(of);
        ms_batch key = ms_batch_of_test(&of->call, ms_stage.key, (const ms_json *[]){group->key}, 1);
        ms_write(&returned, "{");
        ms_write_row(&returned, ms_stage.key, &key, 0);
        ms_write(&returned, ms_stage.key.width && of->description.output.width ? ", " : "");
        ms_write_row(&returned, of->description.output, &lowered.rows, 0);
        ms_write(&returned, group->next ? "}, " : "}");
    }
    ms_write(&returned, "]");
    return done(of, returned.text, NULL);
}

/* The session of a call that may change timers. */
static session *current_session;

static void remove_timer(ms_test *test, const ms_json *key, int64_t at)
{
    for (ms_test_entry **link = &test->timers; *link; link = &(*link)->next) {
        if ((*link)->at == at && ms_json_equal((*link)->key, key)) {
            *link = (*link)->next;
            return;
        }
    }
}

static void change_timer(uint32_t index, int64_t at, bool is_set)
{
    const group *group = current_session->groups;
    while (index--)
        group = group->next;
    remove_timer(current_session->test, group->key, at);
    if (!is_set)
        return;
    ms_test_entry *timer = ms_arena_alloc(&ms_test_memory, sizeof *timer);
    ms_test_entry **link = &current_session->test->timers;
    while (*link && (*link)->at <= at)
        link = &(*link)->next;
    *timer = (ms_test_entry){*link, group->key, NULL, at};
    *link = timer;
}

/* Takes the due timers, whose keys are called. */
static void take_due(session *of)
{
    ms_test *test = of->test;
    int64_t now = test->watermark.is_set ? test->watermark.value.us : of->call.time.us;
    ms_test_entry *due = test->timers, **end = &test->timers;
    uint32_t count = 0, taken = 0, index = 0;
    for (; *end && (*end)->at <= now; end = &(*end)->next) {
        group_of(of, (*end)->key);
        count++;
    }
    test->timers = *end;
    uint32_t *ends = ms_alloc(of->groups_count * sizeof *ends);
    ms_timestamp *times = ms_alloc(count * sizeof *times);
    for (const group *group = of->groups; group; group = group->next) {
        const ms_test_entry *timer = due;
        for (uint32_t i = 0; i < count; i++, timer = timer->next) {
            if (ms_json_equal(timer->key, group->key))
                times[taken++].us = timer->at;
        }
        ends[index++] = taken;
    }
    ms_stage.due_ends = ends;
    ms_stage.due_times = times;
    ms_stage.change_timer = change_timer;
    current_session = of;
}

static ms_test_entry *state_of(const ms_test *test, const ms_json *key)
{
    ms_test_entry *entry = test->states;
    while (entry && !ms_json_equal(entry->key, key))
        entry = entry->next;
    return entry;
}

/* Keeps the states that a call returned. */
static void keep_states(session *of, const ms_output *output, bool timed_out)
{
    uint32_t count, index = 0;
    const char *text = ms_test_rows(of->description.state, &output->states);
    const ms_json **states = ms_json_items(ms_test_json(text), &count);
    for (const group *group = of->groups; group; group = group->next, index++) {
        ms_test_entry **link = &of->test->states;
        while (*link && !ms_json_equal((*link)->key, group->key))
            link = &(*link)->next;
        if (*link)
            *link = (*link)->next;
        if (timed_out || !ms_bit(output->kept.data, index))
            continue;
        ms_test_entry *entry = ms_arena_alloc(&ms_test_memory, sizeof *entry);
        while (*link)
            link = &(*link)->next;
        *entry = (ms_test_entry){NULL, group->key, states[index], 0};
        *link = entry;
    }
}

static ms_run run_update(session *of, bool timed_out)
{
    ms_output output = {0};
    take_due(of);
    ms_groups groups = groups_of(of, 1);
    size_t bytes = (of->groups_count + 7) / 8;
    uint8_t *known = ms_alloc(bytes), *timed = ms_alloc(bytes);
    const ms_json **states = ms_alloc(of->groups_count * sizeof *states);
    uint32_t index = 0;
    for (const group *group = of->groups; group; group = group->next, index++) {
        const ms_test_entry *entry = state_of(of->test, group->key);
        states[index] = entry ? entry->state : NULL;
        ms_set_bit(known, index, entry != NULL);
        ms_set_bit(timed, index, timed_out);
    }
    groups.states = ms_batch_of_test(&of->call, of->description.state, states, of->groups_count);
    groups.known = known;
    groups.timed_out = timed;
    if (!begin_call(of) || !ms_engine_update(&of->call, &groups, &output))
        return failed(of);
    keep_states(of, &output, timed_out);
    return done(of, ms_test_rows(of->description.output, &output.rows), &output);
}

ms_run ms_test_run(ms_test *test, const char *rows)
{
    session of;
    test->batch++;
    if (!begin(&of, test))
        return failed(&of);
    switch (ms_the_plugin.world) {
    case MS_WORLD_TRANSFORM:
        return run_transform(&of, rows);
    case MS_WORLD_UPDATE:
        group_rows(&of, 0, ms_test_json(rows));
        return run_update(&of, false);
    case MS_WORLD_AGGREGATE:
        return run_aggregate(&of, rows);
    default:
        return run_cogroup(&of, rows);
    }
}

ms_run ms_test_time_out(ms_test *test, const char *key)
{
    session of;
    if (ms_the_plugin.world != MS_WORLD_UPDATE)
        ms_test_wrong("keys time out in world `update` only");
    test->batch++;
    if (!begin(&of, test))
        return failed(&of);
    group_of(&of, part_of(ms_stage.key, ms_test_json(key)));
    return run_update(&of, true);
}

const char *ms_test_states(const ms_test *test)
{
    ms_writer to = {NULL, 0, 0};
    ms_write(&to, "[");
    for (const ms_test_entry *entry = test->states; entry; entry = entry->next) {
        /* Merges both objects into one. */
        ms_writer key = {NULL, 0, 0}, state = {NULL, 0, 0};
        ms_write_json(&key, entry->key);
        ms_write_json(&state, entry->state);
        ms_write(&to, "%.*s%s%s%s", (int)key.length - 1, key.text, entry->key->count && entry->state->count ? ", " : "",
                 state.text + 1, entry->next ? ", " : "");
    }
    ms_write(&to, "]");
    return to.text;
}

ms_run ms_test_migrate(ms_test *test, uint32_t migration, const char *states)
{
    session of;
    ms_output output = {0};
    uint32_t count;
    if (!begin(&of, test) || !begin_call(&of))
        return failed(&of);
    ms_schema schema = ms_row_schema(ms_the_plugin.migrations[migration]->old);
    const ms_json **rows = ms_json_items(ms_test_json(states), &count);
    ms_batch old = ms_batch_of_test(&of.call, schema, rows, count);
    if (!ms_engine_migrate(&of.call, MS_TEXT_OF("0.1.0"), schema, &old, &output))
        return failed(&of);
    return done(&of, ms_test_rows(of.description.state, &output.states), NULL);
}

ms_run ms_test_describe(ms_test *test)
{
    session of;
    ms_writer to = {NULL, 0, 0};
    if (!begin(&of, test))
        return failed(&of);
    ms_write(&to, "{\"inputs\": [");
    for (uint32_t i = 0; i < of.description.inputs_count; i++) {
        ms_write(&to, i ? ", \"" : "\"");
        ms_write_schema(&to, of.description.inputs[i]);
        ms_write(&to, "\"");
    }
    ms_write(&to, "], \"output\": \"");
    ms_write_schema(&to, of.description.output);
    ms_write(&to, "\", \"state\": \"");
    ms_write_schema(&to, of.description.state);
    ms_write(&to, "\", \"inverse\": %s, \"key\": ", of.description.inverse ? "true" : "false");
    ms_write(&to, of.description.has_key ? "\"" : "null");
    if (of.description.has_key) {
        ms_write_schema(&to, of.description.key);
        ms_write(&to, "\"");
    }
    ms_write(&to, "}");
    return done(&of, to.text, NULL);
}

void ms_expect_json(const char *file, int line, const char *actual, const char *expected)
{
    if (actual && ms_json_equal(ms_test_json(actual), ms_test_json(expected)))
        return;
    failures++;
    fprintf(stderr, "%s:%d: not as expected\n  expected: %s\n  actual:   %s\n", file, line, expected,
            actual      ? actual
            : last_error ? last_error
                         : "nothing");
}

void ms_expect(const char *file, int line, bool holds, const char *condition)
{
    if (holds)
        return;
    failures++;
    fprintf(stderr, "%s:%d: `%s` does not hold%s%s\n", file, line, condition, last_error ? "; the last error is " : "",
            last_error ? last_error : "");
}

int ms_test_end(void)
{
    if (failures)
        fprintf(stderr, "%d failed\n", failures);
    else
        printf("ok\n");
    return failures ? 1 : 0;
}
