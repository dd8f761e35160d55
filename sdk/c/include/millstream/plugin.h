/*
 * A plugin, as the SDK calls it. The macros of `worlds.h` create one from functions on rows. For functions on batches,
 * write it by hand, for example `MS_PLUGIN(.world = MS_WORLD_TRANSFORM, .input = &pair_row, .output = &sum_row, .process =
 * add);`.
 */
#ifndef MILLSTREAM_PLUGIN_H
#define MILLSTREAM_PLUGIN_H

#include "call.h"
#include "config.h"

typedef enum ms_world {
    MS_WORLD_TRANSFORM,
    MS_WORLD_UPDATE,
    MS_WORLD_AGGREGATE,
    MS_WORLD_COGROUP,
    MS_WORLD_SOURCE,
    MS_WORLD_SINK
} ms_world;

/* The rows of one input, grouped by key: the first group first, within a group in the order of arrival. */
typedef struct ms_grouped {
    ms_batch rows;
    /* The end of each group's rows, which start at the end of the previous group. */
    const uint32_t *ends;
} ms_grouped;

/* Rows grouped by key. */
typedef struct ms_groups {
    /* The key columns, one row per group. */
    ms_batch keys;
    /* World `update` has one input; `cogroup` has the stage's inputs, in order. */
    const ms_grouped *inputs;
    uint32_t inputs_count;
    /*
     * World `update`: the old states, one row per group; bitmaps of the groups that have a state, and of those that are
     * called a last time.
     */
    ms_batch states;
    const uint8_t *known;
    const uint8_t *timed_out;
} ms_groups;

/* The description of a plugin. */
typedef struct ms_description {
    ms_text name;
    ms_text version;
    ms_text doc;
    /* The columns of each input. */
    const ms_schema *inputs;
    uint32_t inputs_count;
    ms_schema output;
    ms_schema state;
    bool has_key;
    ms_schema key;
    bool inverse;
    ms_text config_schema;
} ms_description;

/* A migration of states from another version; see `MS_MIGRATE`. */
typedef struct ms_migration {
    /* The old states. */
    const ms_row *old;
    /* Writes the new state of each old one to `states`. */
    ms_status (*migrate)(const ms_batch *old, ms_out *states, ms_call *call);
} ms_migration;

typedef struct ms_plugin {
    ms_world world;
    /* The rows of input, output and state, and of the key if the plugin requires one. */
    const ms_row *input;
    const ms_row *output;
    const ms_row *state;
    const ms_row *key;
    /* World `cogroup`: the rows of each input, ended by NULL. */
    const ms_row *const *inputs;
    /* Whether the key columns come before the output columns. */
    bool keyed;
    size_t config_size;
    void (*config_read)(ms_config *from, void *to);
    const char *config_schema;
    /*
     * For plugins that accept any columns: completes the plugin's description, based on `ms_input_schema` and
     * `ms_key_schema`.
     */
    ms_status (*describe)(ms_description *description, ms_call *call);
    ms_status (*process)(const ms_batch *input, ms_out *out, ms_call *call);
    /* Writes one state per group to `states`, and clears its bit in `kept` if the key is removed. */
    ms_status (*update)(const ms_groups *groups, ms_out *states, uint8_t *kept, ms_out *out, ms_call *call);
    /* World `update-migrating`: the migrations, ended by NULL. */
    const ms_migration *const *migrations;
    ms_status (*cogroup)(const ms_groups *groups, ms_out *out, ms_call *call);
    ms_status (*lift)(const ms_batch *rows, ms_out *out, ms_call *call);
    ms_status (*combine)(const ms_batch *left, const ms_batch *right, ms_out *out, ms_call *call);
    ms_status (*lower)(const ms_batch *keys, const ms_batch *accumulators, ms_out *out, ms_call *call);
    ms_status (*inverse)(const ms_batch *whole, const ms_batch *part, ms_out *out, ms_call *call);
    /* World `source`; see `source.h`. */
    const struct ms_source *source;
    /* World `sink`; see `sink.h`. */
    const struct ms_sink *sink;
} ms_plugin;

/* The plugin of this program. */
extern const ms_plugin ms_the_plugin;

#define MS_PLUGIN(...) const ms_plugin ms_the_plugin = {__VA_ARGS__}

/* Options after the function in the macros of a world. */

/* The key columns come before the output columns. */
#define MS_KEYED .keyed = true
/* The function receives its key as a row of this kind: `call->key`. Without this option, the plugin accepts any key. */
#define MS_KEY(row) .key = &row##_row
/* The function receives the config as this struct: `call->config`. `void read(ms_config *from, void *to)` reads it. */
#define MS_CONFIG(type, function) .config_size = sizeof(type), .config_read = (function)
/* A JSON Schema of the config, for authors of jobs. */
#define MS_CONFIG_SCHEMA(text) .config_schema = (text)
/* World `update-migrating`: the migrations of `MS_MIGRATE`, for example `MS_MIGRATIONS(&from_first_migration)`. */
#define MS_MIGRATIONS(...) .migrations = (const ms_migration *const[]){__VA_ARGS__, NULL}
/* World `cogroup`: the rows of each input, for example `MS_INPUTS(&order_row, &payment_row)`. Rows of `&ms_nothing_row` are only counted. */
#define MS_INPUTS(...) ((const ms_row *const[]){__VA_ARGS__, NULL})

#endif
