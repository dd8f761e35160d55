/* Exports of world `sink`. */
#include "net.h"

MS_AFTER(__wasm_export_exports_millstream_plugin_writer_describe_post_return, "writer@0.1.3#describe")
MS_AFTER(__wasm_export_exports_millstream_plugin_writer_committed_post_return, "writer@0.1.3#committed")
MS_AFTER(__wasm_export_exports_millstream_plugin_writer_open_post_return, "writer@0.1.3#open")
MS_AFTER(__wasm_export_exports_millstream_plugin_writer_begin_post_return, "writer@0.1.3#begin")
MS_AFTER(__wasm_export_exports_millstream_plugin_writer_write_post_return, "writer@0.1.3#write")
MS_AFTER(__wasm_export_exports_millstream_plugin_writer_commit_post_return, "writer@0.1.3#commit")

bool exports_millstream_plugin_writer_describe(wire_string_t *config, exports_millstream_plugin_writer_schema_t *input,
                                               exports_millstream_plugin_writer_description_t *ret,
                                               exports_millstream_plugin_writer_error_t *err)
{
    ms_call call;
    ms_engine engine;
    ms_description description;
    ms_promise promise;
    (void)input;
    bool done = ms_begin_describe(&call, &engine, config, &description) && ms_engine_promise(&call, &promise);
    if (done) {
        *ret = (exports_millstream_plugin_writer_description_t){
            .name = ms_to_string(description.name),
            .version = ms_to_string(description.version),
            .doc = ms_to_string(description.doc),
            .input = ms_to_schema(description.inputs[0]),
            .promise = (uint8_t)promise,
            .config_schema = ms_to_string(description.config_schema),
        };
    }
    return ms_end(&call, done, err);
}

static ms_identity from_identity(const exports_millstream_plugin_writer_identity_t *identity)
{
    return (ms_identity){ms_from_string(&identity->job), ms_from_string(&identity->job_id),
                         ms_from_string(&identity->sink)};
}

bool exports_millstream_plugin_writer_committed(wire_string_t *config,
                                                exports_millstream_plugin_writer_identity_t *identity,
                                                wire_option_u64_t *ret, exports_millstream_plugin_writer_error_t *err)
{
    ms_call call;
    ms_engine engine;
    uint64_t last = 0;
    ms_identity of = from_identity(identity);
    bool done = ms_begin_call(&call, &engine, config) && ms_engine_committed(&call, &of, &last);
    *ret = (wire_option_u64_t){last > 0, last};
    return ms_end(&call, done, err);
}

bool exports_millstream_plugin_writer_open(wire_string_t *config, exports_millstream_plugin_writer_schema_t *input,
                                           exports_millstream_plugin_writer_owner_t *owner, wire_option_u64_t *ret,
                                           exports_millstream_plugin_writer_error_t *err)
{
    ms_call call;
    ms_engine engine;
    uint64_t last = 0;
    ms_owner who = {from_identity(&owner->identity), owner->generation};
    (void)input;
    bool done =
        ms_begin_call(&call, &engine, config) && ms_engine_take_over(&call, ms_from_string(config), &who, &last);
    *ret = (wire_option_u64_t){last > 0, last};
    return ms_end(&call, done, err);
}

bool exports_millstream_plugin_writer_begin(uint64_t batch, int64_t time, exports_millstream_plugin_writer_error_t *err)
{
    ms_call call;
    ms_engine engine;
    bool done = begin(&call, &engine) && ms_engine_begin_batch(&call, batch, (ms_timestamp){time});
    return ms_end(&call, done, err);
}

bool exports_millstream_plugin_writer_write(exports_millstream_plugin_writer_batch_t *rows,
                                            exports_millstream_plugin_writer_list_rejection_t *ret,
                                            exports_millstream_plugin_writer_error_t *err)
{
    ms_call call;
    ms_engine engine;
    const ms_rejection *refused = NULL;
    size_t count = 0;
    ms_batch batch = ms_from_batch(rows);
    bool done = begin(&call, &engine) && ms_engine_write(&call, &batch, &refused, &count);
    if (done) {
        exports_millstream_plugin_writer_rejection_t *rejections = ms_alloc(count * sizeof *rejections);
        for (size_t i = 0; i < count; i++)
            rejections[i] = (exports_millstream_plugin_writer_rejection_t){refused[i].row, ms_to_string(refused[i].reason)};
        *ret = (exports_millstream_plugin_writer_list_rejection_t){rejections, count};
    }
    return ms_end(&call, done, err);
}

bool exports_millstream_plugin_writer_commit(uint64_t batch, exports_millstream_plugin_writer_error_t *err)
{
    ms_call call;
    ms_engine engine;
    bool done = begin(&call, &engine) && ms_engine_commit(&call, batch);
    return ms_end(&call, done, err);
}
