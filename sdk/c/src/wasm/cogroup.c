/* Exports of world `cogroup`. */
#include "stage.h"

MS_AFTER(__wasm_export_exports_millstream_plugin_cogrouper_describe_post_return, "cogrouper@0.1.3#describe")
MS_AFTER(__wasm_export_exports_millstream_plugin_cogrouper_cogroup_post_return, "cogrouper@0.1.3#cogroup")

bool exports_millstream_plugin_cogrouper_describe(wire_string_t *config,
                                                  exports_millstream_plugin_cogrouper_list_schema_t *inputs,
                                                  exports_millstream_plugin_cogrouper_description_t *ret,
                                                  millstream_plugin_types_error_t *err)
{
    ms_call call;
    ms_engine engine;
    ms_description description;
    (void)inputs;
    bool done = ms_begin_describe(&call, &engine, config, &description);
    if (done) {
        millstream_plugin_types_schema_t *schemas = ms_alloc(description.inputs_count * sizeof *schemas);
        for (uint32_t i = 0; i < description.inputs_count; i++)
            schemas[i] = ms_to_schema(description.inputs[i]);
        *ret = (exports_millstream_plugin_cogrouper_description_t){
            .name = ms_to_string(description.name),
            .version = ms_to_string(description.version),
            .doc = ms_to_string(description.doc),
            .inputs = {schemas, description.inputs_count},
            .output = ms_to_schema(description.output),
            .key = {description.has_key, ms_to_schema(description.key)},
            .config_schema = ms_to_string(description.config_schema),
        };
    }
    return ms_end(&call, done, err);
}

bool exports_millstream_plugin_cogrouper_cogroup(millstream_plugin_types_context_t *context,
                                                 exports_millstream_plugin_cogrouper_groups_t *groups,
                                                 exports_millstream_plugin_cogrouper_output_t *ret,
                                                 millstream_plugin_types_error_t *err)
{
    ms_call call;
    ms_engine engine;
    ms_output output;
    size_t count = groups->inputs.len;
    ms_grouped *inputs = ms_alloc(count * sizeof *inputs);
    for (size_t i = 0; i < count; i++)
        inputs[i] = (ms_grouped){ms_from_batch(&groups->inputs.ptr[i].rows),
                                 (const uint32_t *)(const void *)groups->inputs.ptr[i].ends.ptr};
    ms_groups of = {.keys = ms_from_batch(&groups->keys), .inputs = inputs, .inputs_count = (uint32_t)count};
    bool done = ms_begin(&call, &engine, context) && ms_engine_cogroup(&call, &of, &output);
    if (done) {
        exports_millstream_plugin_cogrouper_list_rejection_t *refused = ms_alloc(count * sizeof *refused);
        size_t first = 0;
        for (size_t i = 0; i < count; i++) {
            size_t end = first;
            while (end < output.rejections_count && output.rejections[end].input == i)
                end++;
            ms_rejections own = ms_to_rejections(output.rejections + first, end - first);
            refused[i] = (exports_millstream_plugin_cogrouper_list_rejection_t){own.ptr, own.len};
            first = end;
        }
        *ret = (exports_millstream_plugin_cogrouper_output_t){ms_to_batch(&output.rows), {refused, count}};
    }
    return ms_end(&call, done, err);
}
