/* Exports of world `source`. */
#include "net.h"

MS_AFTER(__wasm_export_exports_millstream_plugin_reader_describe_post_return, "reader@0.1.3#describe")
MS_AFTER(__wasm_export_exports_millstream_plugin_reader_partitions_post_return, "reader@0.1.3#partitions")
MS_AFTER(__wasm_export_exports_millstream_plugin_reader_open_post_return, "reader@0.1.3#open")
MS_AFTER(__wasm_export_exports_millstream_plugin_reader_poll_post_return, "reader@0.1.3#poll")
MS_AFTER(__wasm_export_exports_millstream_plugin_reader_durable_post_return, "reader@0.1.3#durable")
MS_AFTER(__wasm_export_exports_millstream_plugin_reader_published_post_return, "reader@0.1.3#published")

bool exports_millstream_plugin_reader_describe(wire_string_t *config, exports_millstream_plugin_reader_description_t *ret,
                                               exports_millstream_plugin_reader_error_t *err)
{
    ms_call call;
    ms_engine engine;
    ms_description description;
    bool done = ms_begin_describe(&call, &engine, config, &description);
    if (done) {
        *ret = (exports_millstream_plugin_reader_description_t){
            .name = ms_to_string(description.name),
            .version = ms_to_string(description.version),
            .doc = ms_to_string(description.doc),
            .output = ms_to_schema(description.output),
            .config_schema = ms_to_string(description.config_schema),
        };
    }
    return ms_end(&call, done, err);
}

bool exports_millstream_plugin_reader_partitions(wire_string_t *config, wire_list_string_t *ret,
                                                 exports_millstream_plugin_reader_error_t *err)
{
    ms_call call;
    ms_engine engine;
    ms_partitions partitions;
    bool done = ms_begin_call(&call, &engine, config) && ms_engine_partitions(&call, &partitions);
    if (done) {
        wire_string_t *names = ms_alloc(partitions.count * sizeof *names);
        for (uint32_t i = 0; i < partitions.count; i++)
            names[i] = ms_to_string(partitions.names[i]);
        *ret = (wire_list_string_t){names, partitions.count};
    }
    return ms_end(&call, done, err);
}

bool exports_millstream_plugin_reader_open(wire_string_t *config, wire_string_t *partition,
                                           wire_list_u8_t *maybe_position,
                                           exports_millstream_plugin_reader_error_t *err)
{
    ms_call call;
    ms_engine engine;
    ms_binary position = maybe_position ? from_list(maybe_position) : (ms_binary){NULL, 0};
    bool done = ms_begin_call(&call, &engine, config) &&
                ms_engine_open(&call, ms_from_string(config), ms_from_string(partition), maybe_position ? &position : NULL);
    return ms_end(&call, done, err);
}

bool exports_millstream_plugin_reader_poll(uint32_t rows_max, uint32_t wait_ms,
                                           exports_millstream_plugin_reader_polled_t *ret,
                                           exports_millstream_plugin_reader_error_t *err)
{
    ms_call call;
    ms_engine engine;
    ms_poll poll = {.rows_max = rows_max, .wait_ms = wait_ms};
    ms_batch rows;
    bool done = begin(&call, &engine) && ms_engine_poll(&call, &poll, &rows);
    if (done) {
        exports_millstream_plugin_reader_refusal_t *refused = ms_alloc(poll.refused_count * sizeof *refused);
        for (uint32_t i = 0; i < poll.refused_count; i++)
            refused[i] = (exports_millstream_plugin_reader_refusal_t){to_list(poll.refused[i].data),
                                                                      ms_to_string(poll.refused[i].reason)};
        memset(ret, 0, sizeof *ret);
        ret->rows = ms_to_batch(&rows);
        ret->refused.ptr = refused;
        ret->refused.len = poll.refused_count;
        ret->position.is_some = poll.has_position;
        ret->position.val = to_list(poll.position);
        ret->next.tag = (uint8_t)poll.next;
        ret->next.val.pause = poll.pause_ms;
    }
    return ms_end(&call, done, err);
}

bool exports_millstream_plugin_reader_durable(wire_list_u8_t *position, exports_millstream_plugin_reader_error_t *err)
{
    ms_call call;
    ms_engine engine;
    bool done = begin(&call, &engine) && ms_engine_durable(&call, from_list(position));
    return ms_end(&call, done, err);
}

bool exports_millstream_plugin_reader_published(wire_list_u8_t *position, exports_millstream_plugin_reader_error_t *err)
{
    ms_call call;
    ms_engine engine;
    bool done = begin(&call, &engine) && ms_engine_published(&call, from_list(position));
    return ms_end(&call, done, err);
}
