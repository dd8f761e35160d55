/* Between the SDK's types and those of the generated bindings, which every world has the same of. */
#ifndef MILLSTREAM_CONVERT_H
#define MILLSTREAM_CONVERT_H

#include "../engine.h"

/* Of the world that is compiled for: `generated/WORLD/wire.h`. */
#include "wire.h"

/* A function that the host calls when it has read what an exported function returned: frees the memory of the call. */
#define MS_AFTER(function, export)                                                                                     \
    __attribute__((export_name("cabi_post_millstream:plugin/" export))) void function(uint8_t *returned)               \
    {                                                                                                                  \
        (void)returned;                                                                                                \
        ms_arena_reset(&ms_call_memory);                                                                               \
    }

ms_text ms_from_string(const wire_string_t *string);
wire_string_t ms_to_string(ms_text text);
ms_batch ms_from_batch(const millstream_plugin_types_batch_t *batch);
millstream_plugin_types_batch_t ms_to_batch(const ms_batch *batch);
ms_schema ms_from_schema(const millstream_plugin_types_schema_t *schema);
millstream_plugin_types_schema_t ms_to_schema(ms_schema schema);

/* Begins a call. False: it has failed. */
bool ms_begin_describe(ms_call *call, ms_engine *engine, const wire_string_t *config, ms_description *description);
bool ms_begin_call(ms_call *call, ms_engine *engine, const wire_string_t *config);
/* Passes on whether a call is done, and how it failed if not. */
bool ms_end(const ms_call *call, bool done, millstream_plugin_types_error_t *error);

#endif
