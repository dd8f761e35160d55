/* Exports of world `aggregate`. */
#include "describe.h"

typedef millstream_plugin_types_batch_t wire_batch;
typedef millstream_plugin_types_context_t wire_context;
typedef millstream_plugin_types_error_t wire_error;

MS_AFTER(__wasm_export_exports_millstream_plugin_aggregator_describe_post_return, "aggregator@0.1.3#describe")
MS_AFTER(__wasm_export_exports_millstream_plugin_aggregator_lift_post_return, "aggregator@0.1.3#lift")
MS_AFTER(__wasm_export_exports_millstream_plugin_aggregator_combine_post_return, "aggregator@0.1.3#combine")
MS_AFTER(__wasm_export_exports_millstream_plugin_aggregator_lower_post_return, "aggregator@0.1.3#lower")
MS_AFTER(__wasm_export_exports_millstream_plugin_aggregator_inverse_post_return, "aggregator@0.1.3#inverse")

bool exports_millstream_plugin_aggregator_describe(wire_string_t *config, millstream_plugin_types_schema_t *input,
                                                   millstream_plugin_types_description_t *ret, wire_error *err)
{
    (void)input;
    return describe(config, ret, err);
}

bool exports_millstream_plugin_aggregator_lift(wire_context *context, wire_batch *rows, wire_batch *ret, wire_error *err)
{
    ms_call call;
    ms_engine engine;
    ms_output output;
    ms_batch batch = ms_from_batch(rows);
    bool done = ms_begin(&call, &engine, context) && ms_engine_lift(&call, &batch, &output);
    if (done)
        *ret = ms_to_batch(&output.rows);
    return ms_end(&call, done, err);
}

/* Calls a function on two batches. */
static bool call_pairs(bool (*function)(ms_call *, const ms_batch *, const ms_batch *, ms_output *),
                       wire_context *context, wire_batch *left, wire_batch *right, wire_batch *ret, wire_error *err)
{
    ms_call call;
    ms_engine engine;
    ms_output output;
    ms_batch first = ms_from_batch(left), second = ms_from_batch(right);
    bool done = ms_begin(&call, &engine, context) && function(&call, &first, &second, &output);
    if (done)
        *ret = ms_to_batch(&output.rows);
    return ms_end(&call, done, err);
}

bool exports_millstream_plugin_aggregator_combine(wire_context *context, wire_batch *left, wire_batch *right,
                                                  wire_batch *ret, wire_error *err)
{
    return call_pairs(ms_engine_combine, context, left, right, ret, err);
}

bool exports_millstream_plugin_aggregator_lower(wire_context *context, wire_batch *keys, wire_batch *accumulators,
                                                wire_batch *ret, wire_error *err)
{
    return call_pairs(ms_engine_lower, context, keys, accumulators, ret, err);
}

bool exports_millstream_plugin_aggregator_inverse(wire_context *context, wire_batch *whole, wire_batch *part,
                                                  wire_batch *ret, wire_error *err)
{
    return call_pairs(ms_engine_inverse, context, whole, part, ret, err);
}
