/* The host's calls, for each world. */
#include "engine.h"

#include <stdlib.h>

/* Defined from the manifest; tests have none. */
#ifndef MS_PLUGIN_NAME
#define MS_PLUGIN_NAME "plugin"
#endif
#ifndef MS_PLUGIN_VERSION
#define MS_PLUGIN_VERSION "0.0.0"
#endif
#ifndef MS_PLUGIN_DOC
#define MS_PLUGIN_DOC ""
#endif

/* Maximum rows that are reserved because of the amount of text in the input. */
#define ROWS_RESERVED_MAX (1u << 18)

bool ms_engine_begin(ms_call *call, ms_engine *engine, ms_text config)
{
    ms_text wrong;
    memset(engine, 0, sizeof *engine);
    call->engine = engine;
    call->skip = UINT32_MAX;
    call->has_asked = call->known = call->timed_out = false;
    call->key = NULL;
    call->config = ms_config_of(config, &wrong);
    if (!call->config) {
        ms_failed(call, MS_ERROR_CONFIG, "%.*s", MS_PRINT(wrong));
        return false;
    }
    if (ms_the_plugin.key)
        engine->key = ms_alloc(ms_the_plugin.key->size);
    return true;
}

static uint32_t inputs_of(const ms_plugin *plugin)
{
    uint32_t count = 0;
    if (plugin->world != MS_WORLD_COGROUP)
        return 1;
    while (plugin->inputs && plugin->inputs[count])
        count++;
    return count;
}

static ms_schema keyed_schema(ms_call *call, const ms_row *row)
{
    ms_schema key = ms_key_schema(call);
    ms_field *fields = ms_alloc((key.width + row->width) * sizeof *fields);
    memcpy(fields, key.fields, key.width * sizeof *fields);
    memcpy(fields + key.width, row->fields, row->width * sizeof *fields);
    return (ms_schema){fields, key.width + row->width};
}

bool ms_engine_describe(ms_call *call, ms_description *description)
{
    const ms_plugin *plugin = &ms_the_plugin;
    uint32_t count = inputs_of(plugin);
    ms_schema *inputs = ms_alloc(count * sizeof *inputs);
    for (uint32_t i = 0; i < count; i++)
        inputs[i] = ms_row_schema(plugin->world == MS_WORLD_COGROUP ? plugin->inputs[i] : plugin->input);
    *description = (ms_description){
        .name = MS_TEXT_OF(MS_PLUGIN_NAME),
        .version = MS_TEXT_OF(MS_PLUGIN_VERSION),
        .doc = MS_TEXT_OF(MS_PLUGIN_DOC),
        .inputs = inputs,
        .inputs_count = count,
        .output = plugin->keyed && plugin->output ? keyed_schema(call, plugin->output) : ms_row_schema(plugin->output),
        .state = ms_row_schema(plugin->state),
        .has_key = plugin->key != NULL,
        .key = ms_row_schema(plugin->key),
        .inverse = plugin->inverse != NULL,
    };
    if (plugin->config_schema)
        description->config_schema = (ms_text){plugin->config_schema, strlen(plugin->config_schema)};
    if (plugin->describe && plugin->describe(description, call) != MS_OK) {
        ms_failed(call, MS_ERROR_INTERNAL, "the function `describe` failed and did not say why");
        return false;
    }
    ms_status (*check)(ms_call *call) = plugin->source ? plugin->source->check : plugin->sink ? plugin->sink->check : NULL;
    if (check && check(call) != MS_OK)
        ms_failed(call, MS_ERROR_INTERNAL, "the function `check` failed and did not say why");
    return !call->engine->failure.happened;
}

void ms_find_missing(ms_call *call, uint32_t input, const ms_batch *batch, const ms_row *row, ms_missing *missing)
{
    bool may_miss = false;
    memset(missing, 0, sizeof *missing);
    for (uint32_t i = 0; i < row->width; i++)
        may_miss |= !row->fields[i].nullable && batch->columns[i].validity.data;
    for (uint32_t at = 0; may_miss && at < batch->rows; at++) {
        for (uint32_t i = 0; i < row->width; i++) {
            if (row->fields[i].nullable || !ms_is_null(&batch->columns[i], at))
                continue;
            if (!missing->rows)
                missing->rows = ms_alloc(batch->rows * sizeof *missing->rows);
            missing->rows[missing->count++] = at;
            ms_reject_row(call, input, at, "column `%.*s` is null", MS_PRINT(row->fields[i].name));
            break;
        }
    }
}

static int by_input_and_row(const void *left, const void *right)
{
    const ms_rejection *a = left, *b = right;
    if (a->input != b->input)
        return a->input < b->input ? -1 : 1;
    return a->row < b->row ? -1 : a->row > b->row;
}

const ms_rejection *ms_sorted_rejections(ms_engine *engine)
{
    if (engine->rejections_count)
        qsort(engine->rejections, engine->rejections_count, sizeof *engine->rejections, by_input_and_row);
    return engine->rejections;
}

/* Converts the status of a function on a batch to the result of the call. */
static bool finish(ms_call *call, ms_status status, ms_out *out, const ms_batch *keys, ms_output *output)
{
    ms_engine *engine = call->engine;
    if (status != MS_OK)
        ms_failed(call, MS_ERROR_INTERNAL, "the function on a batch failed and did not say why");
    if (engine->failure.happened || !ms_out_finish(call, out, keys, &output->rows))
        return false;
    output->rejections = ms_sorted_rejections(engine);
    output->rejections_count = engine->rejections_count;
    return true;
}

/* A plugin that accepts any columns has no kind of row. It is called again for its description. */
static bool schema_of(ms_call *call, const ms_row *row, bool is_state, ms_schema *schema)
{
    ms_description description;
    *schema = ms_row_schema(row);
    if (!ms_the_plugin.describe)
        return true;
    if (!ms_engine_describe(call, &description))
        return false;
    *schema = is_state ? description.state : description.output;
    /* The function does not write the key columns. */
    if (!is_state && ms_the_plugin.keyed) {
        size_t width = ms_key_schema(call).width;
        *schema = (ms_schema){schema->fields + width, schema->width - width};
    }
    return true;
}

bool ms_engine_process(ms_call *call, const ms_batch *input, ms_output *output)
{
    const ms_plugin *plugin = &ms_the_plugin;
    size_t bytes = ms_batch_bytes(input);
    /* A word and its separator seldom have less than four bytes. Unused reserved memory costs nothing. */
    size_t words = bytes / 4 < ROWS_RESERVED_MAX ? bytes / 4 : ROWS_RESERVED_MAX;
    ms_missing missing = {NULL, 0, 0};
    ms_schema schema;
    ms_out out;
    if (!schema_of(call, plugin->output, false, &schema))
        return false;
    if (plugin->input) {
        if (!ms_check_batch(call, input, plugin->input))
            return false;
        ms_find_missing(call, 0, input, plugin->input, &missing);
    }
    call->engine->missing = &missing;
    if (missing.count)
        call->skip = missing.rows[0];
    /* A plugin that accepts any columns usually passes them on. */
    if (plugin->describe)
        ms_out_init(&out, schema, false, 0, 0);
    else
        ms_out_init(&out, schema, false, input->rows > words ? input->rows : (uint32_t)words, bytes);
    return finish(call, plugin->process(input, &out, call), &out, NULL, output);
}

/* Checks the groups, and finds the rows to skip. */
static bool begin_groups(ms_call *call, const ms_groups *groups)
{
    const ms_plugin *plugin = &ms_the_plugin;
    call->engine->missing = ms_alloc(groups->inputs_count * sizeof(ms_missing));
    memset(call->engine->missing, 0, groups->inputs_count * sizeof(ms_missing));
    for (uint32_t i = 0; i < groups->inputs_count; i++) {
        const ms_row *row = plugin->inputs ? plugin->inputs[i] : plugin->input;
        if (!row)
            continue;
        if (!ms_check_batch(call, &groups->inputs[i].rows, row))
            return false;
        ms_find_missing(call, i, &groups->inputs[i].rows, row, &call->engine->missing[i]);
    }
    return !plugin->key || ms_check_batch(call, &groups->keys, plugin->key);
}

bool ms_engine_update(ms_call *call, const ms_groups *groups, ms_output *output)
{
    const ms_plugin *plugin = &ms_the_plugin;
    uint32_t count = groups->keys.rows;
    size_t rows_bytes = ms_batch_bytes(&groups->inputs[0].rows), key_bytes = ms_batch_bytes(&groups->keys);
    size_t kept_bytes = ((size_t)count + 7) / 8;
    uint8_t *kept = ms_alloc(kept_bytes);
    ms_schema schema, state;
    ms_out out, states;
    if (!schema_of(call, plugin->output, false, &schema) || !schema_of(call, plugin->state, true, &state) ||
        !begin_groups(call, groups))
        return false;
    if (plugin->state && !ms_check_batch(call, &groups->states, plugin->state))
        return false;
    memset(kept, 0xff, kept_bytes);
    ms_out_init(&out, schema, plugin->keyed, count, rows_bytes < key_bytes ? rows_bytes : key_bytes);
    ms_out_init(&states, state, false, count, ms_batch_bytes(&groups->states));
    ms_status status = plugin->update(groups, &states, kept, &out, call);
    if (!finish(call, status, &out, &groups->keys, output))
        return false;
    if (states.rows != count) {
        ms_failed(call, MS_ERROR_INTERNAL, "%u states for %u keys", (unsigned)states.rows, (unsigned)count);
        return false;
    }
    /* Clears the bits after the last group. */
    if (count % 8)
        kept[count / 8] &= (uint8_t)((1u << (count % 8)) - 1);
    output->kept = (ms_buffer){kept, kept_bytes};
    return ms_out_finish(call, &states, NULL, &output->states);
}

bool ms_engine_cogroup(ms_call *call, const ms_groups *groups, ms_output *output)
{
    const ms_plugin *plugin = &ms_the_plugin;
    ms_schema schema;
    ms_out out;
    uint32_t count = inputs_of(plugin);
    if (groups->inputs_count != count && plugin->inputs) {
        ms_failed(call, MS_ERROR_INTERNAL, "%u inputs where %u are needed", (unsigned)groups->inputs_count,
                  (unsigned)count);
        return false;
    }
    if (!schema_of(call, plugin->output, false, &schema) || !begin_groups(call, groups))
        return false;
    ms_out_init(&out, schema, plugin->keyed, groups->keys.rows, ms_batch_bytes(&groups->keys));
    return finish(call, plugin->cogroup(groups, &out, call), &out, &groups->keys, output);
}

/* Starts an output of an aggregate, which will have as many rows as this batch. */
static bool begin_aggregate(ms_call *call, const ms_batch *batch, const ms_row *row, bool is_state, ms_out *out)
{
    const ms_plugin *plugin = &ms_the_plugin;
    ms_schema schema;
    if (row && !ms_check_batch(call, batch, row))
        return false;
    if (!schema_of(call, is_state ? plugin->state : plugin->output, is_state, &schema))
        return false;
    ms_out_init(out, schema, false, batch->rows, ms_batch_bytes(batch));
    return true;
}

bool ms_engine_lift(ms_call *call, const ms_batch *rows, ms_output *output)
{
    const ms_plugin *plugin = &ms_the_plugin;
    ms_missing missing = {NULL, 0, 0};
    ms_out out;
    if (!begin_aggregate(call, rows, plugin->input, true, &out))
        return false;
    if (plugin->input)
        ms_find_missing(call, 0, rows, plugin->input, &missing);
    if (missing.count) {
        const ms_rejection *first = &call->engine->rejections[0];
        ms_failed(call, MS_ERROR_INPUT, "row %u: %.*s", (unsigned)first->row, MS_PRINT(first->reason));
        return false;
    }
    return finish(call, plugin->lift(rows, &out, call), &out, NULL, output);
}

bool ms_engine_combine(ms_call *call, const ms_batch *left, const ms_batch *right, ms_output *output)
{
    const ms_plugin *plugin = &ms_the_plugin;
    ms_out out;
    if (!begin_aggregate(call, left, plugin->state, true, &out) ||
        (plugin->state && !ms_check_batch(call, right, plugin->state)))
        return false;
    return finish(call, plugin->combine(left, right, &out, call), &out, NULL, output);
}

bool ms_engine_lower(ms_call *call, const ms_batch *keys, const ms_batch *accumulators, ms_output *output)
{
    const ms_plugin *plugin = &ms_the_plugin;
    ms_out out;
    if (!begin_aggregate(call, accumulators, plugin->state, false, &out) ||
        (plugin->key && !ms_check_batch(call, keys, plugin->key)))
        return false;
    return finish(call, plugin->lower(keys, accumulators, &out, call), &out, NULL, output);
}

bool ms_engine_inverse(ms_call *call, const ms_batch *whole, const ms_batch *part, ms_output *output)
{
    const ms_plugin *plugin = &ms_the_plugin;
    ms_out out;
    if (!plugin->inverse) {
        ms_failed(call, MS_ERROR_INTERNAL, "this aggregate has no inverse");
        return false;
    }
    if (!begin_aggregate(call, whole, plugin->state, true, &out) ||
        (plugin->state && !ms_check_batch(call, part, plugin->state)))
        return false;
    return finish(call, plugin->inverse(whole, part, &out, call), &out, NULL, output);
}
