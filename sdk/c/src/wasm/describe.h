/* `describe` of the worlds with one input. Included by their files. */
#include "stage.h"

static bool describe(wire_string_t *config, millstream_plugin_types_description_t *ret,
                     millstream_plugin_types_error_t *err)
{
    ms_call call;
    ms_engine engine;
    ms_description description;
    bool done = ms_begin_describe(&call, &engine, config, &description);
    if (done) {
        *ret = (millstream_plugin_types_description_t){
            .name = ms_to_string(description.name),
            .version = ms_to_string(description.version),
            .doc = ms_to_string(description.doc),
            .input = ms_to_schema(description.inputs[0]),
            .output = ms_to_schema(description.output),
            .state = ms_to_schema(description.state),
            .key = {description.has_key, ms_to_schema(description.key)},
            .inverse = description.inverse,
            .config_schema = ms_to_string(description.config_schema),
        };
    }
    return ms_end(&call, done, err);
}
