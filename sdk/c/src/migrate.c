/* Converts states of other versions of a plugin. */
#include "engine.h"

static bool is_same(ms_schema left, ms_schema right)
{
    if (left.width != right.width)
        return false;
    for (size_t i = 0; i < left.width; i++) {
        const ms_field *a = &left.fields[i], *b = &right.fields[i];
        if (a->type != b->type || a->nullable != b->nullable || !ms_text_equals(a->name, b->name))
            return false;
        if (a->type == MS_ARROW && !ms_text_equals(a->arrow, b->arrow))
            return false;
    }
    return true;
}

/* Returns the migration of states with these columns. If there is none, the call fails and this returns NULL. */
static const ms_migration *migration_of(ms_call *call, ms_text version, ms_schema schema)
{
    const ms_migration *const *all = ms_the_plugin.migrations;
    const char *known = "";
    for (size_t i = 0; all && all[i]; i++) {
        ms_schema own = ms_row_schema(all[i]->old);
        if (is_same(own, schema))
            return all[i];
        known = ms_format("%s%s(%s)", known, i ? " or " : "", ms_schema_text(own)).data;
    }
    ms_failed(call, MS_ERROR_INTERNAL, "states of version %.*s have the columns (%s); expected %s",
              MS_PRINT(version), ms_schema_text(schema), known);
    return NULL;
}

bool ms_engine_migrate(ms_call *call, ms_text version, ms_schema schema, const ms_batch *old, ms_output *output)
{
    const ms_migration *migration = migration_of(call, version, schema);
    ms_out states;
    if (!migration || !ms_check_batch(call, old, migration->old))
        return false;
    ms_out_init(&states, ms_row_schema(ms_the_plugin.state), false, old->rows, ms_batch_bytes(old));
    if (migration->migrate(old, &states, call) != MS_OK)
        ms_failed(call, MS_ERROR_INTERNAL, "the function that migrates failed and did not say why");
    return !call->engine->failure.happened && ms_out_finish(call, &states, NULL, &output->states);
}
