/* Exports of world `transform`. */
#include "describe.h"

MS_AFTER(__wasm_export_exports_millstream_plugin_transformer_describe_post_return, "transformer@0.1.3#describe")
MS_AFTER(__wasm_export_exports_millstream_plugin_transformer_process_post_return, "transformer@0.1.3#process")

bool exports_millstream_plugin_transformer_describe(wire_string_t *config, millstream_plugin_types_schema_t *input,
                                                    millstream_plugin_types_description_t *ret,
                                                    millstream_plugin_types_error_t *err)
{
    (void)input;
    return describe(config, ret, err);
}

bool exports_millstream_plugin_transformer_process(millstream_plugin_types_context_t *context,
                                                   millstream_plugin_types_batch_t *input,
                                                   exports_millstream_plugin_transformer_output_t *ret,
                                                   millstream_plugin_types_error_t *err)
{
    ms_call call;
    ms_engine engine;
    ms_output output;
    ms_batch rows = ms_from_batch(input);
    bool done = ms_begin(&call, &engine, context) && ms_engine_process(&call, &rows, &output);
    if (done) {
        ms_rejections rejections = ms_to_rejections(output.rejections, output.rejections_count);
        *ret = (exports_millstream_plugin_transformer_output_t){ms_to_batch(&output.rows),
                                                                {rejections.ptr, rejections.len}};
    }
    return ms_end(&call, done, err);
}
