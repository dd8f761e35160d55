/* Exports of world `update`, and its timers. */
#include "describe.h"

MS_AFTER(__wasm_export_exports_millstream_plugin_updater_describe_post_return, "updater@0.1.3#describe")
MS_AFTER(__wasm_export_exports_millstream_plugin_updater_update_post_return, "updater@0.1.3#update")

bool exports_millstream_plugin_updater_describe(wire_string_t *config, millstream_plugin_types_schema_t *input,
                                                millstream_plugin_types_description_t *ret,
                                                millstream_plugin_types_error_t *err)
{
    (void)input;
#ifndef MS_MIGRATIONS_ARE_EXPORTED
    if (ms_the_plugin.migrations) {
        *err = (millstream_plugin_types_error_t){.tag = MS_ERROR_INTERNAL};
        err->val.internal = ms_to_string(
            MS_TEXT_OF("the plugin has MS_MIGRATIONS: the world in plugin.toml is update-migrating then"));
        return false;
    }
#endif
    return describe(config, ret, err);
}

bool exports_millstream_plugin_updater_update(millstream_plugin_types_context_t *context,
                                              exports_millstream_plugin_updater_groups_t *groups,
                                              exports_millstream_plugin_updater_updated_t *ret,
                                              millstream_plugin_types_error_t *err)
{
    ms_call call;
    ms_engine engine;
    ms_output output;
    ms_grouped input = {ms_from_batch(&groups->rows), (const uint32_t *)(const void *)groups->ends.ptr};
    ms_groups of = {.keys = ms_from_batch(&groups->keys),
                    .inputs = &input,
                    .inputs_count = 1,
                    .states = ms_from_batch(&groups->states),
                    .known = groups->known.ptr,
                    .timed_out = groups->timed_out.ptr};
    bool done = ms_begin(&call, &engine, context) && ms_engine_update(&call, &of, &output);
    if (done) {
        ms_rejections rejections = ms_to_rejections(output.rejections, output.rejections_count);
        *ret = (exports_millstream_plugin_updater_updated_t){
            ms_to_batch(&output.states),
            {(uint8_t *)output.kept.data, output.kept.length},
            ms_to_batch(&output.rows),
            {rejections.ptr, rejections.len},
        };
    }
    return ms_end(&call, done, err);
}

void ms_host_timer_set(uint32_t group, int64_t at)
{
    millstream_plugin_timers_set(group, at);
}

void ms_host_timer_cancel(uint32_t group, int64_t at)
{
    millstream_plugin_timers_cancel(group, at);
}

void ms_host_timers_due(const uint32_t **ends, const ms_timestamp **times)
{
    millstream_plugin_timers_due_times_t due;
    millstream_plugin_timers_due(&due);
    *ends = (const uint32_t *)(const void *)due.ends.ptr;
    *times = (const ms_timestamp *)(const void *)due.times.ptr;
}
