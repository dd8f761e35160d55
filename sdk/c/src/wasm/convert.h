/* Converts between the SDK's types and those of the generated bindings, which are the same in every world. */
#ifndef MILLSTREAM_CONVERT_H
#define MILLSTREAM_CONVERT_H

#include "../engine.h"

/* From `generated/WORLD/wire.h` of the compiled world. */
#include "wire.h"

/* Defines a function that the host calls after it has read an export's result. It frees the memory of the call. */
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

/* Starts a call. Returns false if it has failed. */
bool ms_begin_describe(ms_call *call, ms_engine *engine, const wire_string_t *config, ms_description *description);
bool ms_begin_call(ms_call *call, ms_engine *engine, const wire_string_t *config);
/* Returns whether a call succeeded. If not, sets the error. */
bool ms_end(const ms_call *call, bool done, millstream_plugin_types_error_t *error);

#endif
