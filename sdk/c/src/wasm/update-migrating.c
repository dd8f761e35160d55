/* Exports of world `update-migrating`: those of world `update`, and the migration of states. */
#define MS_MIGRATIONS_ARE_EXPORTED
#include "update.c"

MS_AFTER(__wasm_export_exports_millstream_plugin_migrator_migrate_post_return, "migrator@0.1.3#migrate")

bool exports_millstream_plugin_migrator_migrate(wire_string_t *config, wire_string_t *from_version,
                                                millstream_plugin_types_schema_t *states_schema,
                                                millstream_plugin_types_batch_t *states,
                                                millstream_plugin_types_batch_t *ret,
                                                millstream_plugin_types_error_t *err)
{
    ms_call call;
    ms_engine engine;
    ms_output output;
    ms_batch old = ms_from_batch(states);
    bool done = ms_begin_call(&call, &engine, config) &&
                ms_engine_migrate(&call, ms_from_string(from_version), ms_from_schema(states_schema), &old, &output);
    if (done)
        *ret = ms_to_batch(&output.states);
    return ms_end(&call, done, err);
}
