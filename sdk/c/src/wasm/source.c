/* World `source` as a component exports it. */
#include "convert.h"

MS_AFTER(__wasm_export_exports_millstream_plugin_reader_describe_post_return, "reader@0.1.3#describe")
MS_AFTER(__wasm_export_exports_millstream_plugin_reader_partitions_post_return, "reader@0.1.3#partitions")
MS_AFTER(__wasm_export_exports_millstream_plugin_reader_open_post_return, "reader@0.1.3#open")
MS_AFTER(__wasm_export_exports_millstream_plugin_reader_poll_post_return, "reader@0.1.3#poll")
MS_AFTER(__wasm_export_exports_millstream_plugin_reader_durable_post_return, "reader@0.1.3#durable")
MS_AFTER(__wasm_export_exports_millstream_plugin_reader_published_post_return, "reader@0.1.3#published")

/* A source has no stage. */
ms_schema ms_host_input(uint32_t input)
{
    (void)input;
    return (ms_schema){NULL, 0};
}

ms_schema ms_host_key(void)
{
    return (ms_schema){NULL, 0};
}

static ms_binary from_list(const wire_list_u8_t *list)
{
    return (ms_binary){list->ptr, list->len};
}

static wire_list_u8_t to_list(ms_binary bytes)
{
    return (wire_list_u8_t){(uint8_t *)bytes.data, bytes.length};
}

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

/* Begins a call of what is open. */
static bool begin(ms_call *call, ms_engine *engine)
{
    memset(call, 0, sizeof *call);
    return ms_engine_reading(call, engine);
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

static ms_net fault(bool done, const millstream_plugin_net_fault_t *fault, ms_text *wrong)
{
    if (done)
        return MS_NET_OK;
    if (fault->tag == MILLSTREAM_PLUGIN_NET_FAULT_TIMEOUT)
        return MS_NET_TIMEOUT;
    if (fault->tag == MILLSTREAM_PLUGIN_NET_FAULT_CLOSED)
        return MS_NET_CLOSED;
    *wrong = ms_from_string(&fault->val.failed);
    return MS_NET_FAILED;
}

ms_net ms_host_connect(ms_text name, uint16_t port, uint32_t timeout_ms, uint32_t *socket, ms_text *wrong)
{
    wire_string_t wire = ms_to_string(name);
    millstream_plugin_net_fault_t error;
    return fault(millstream_plugin_net_connect(&wire, port, timeout_ms, socket, &error), &error, wrong);
}

ms_net ms_host_read(uint32_t socket, uint32_t bytes_max, uint32_t timeout_ms, ms_binary *bytes, ms_text *wrong)
{
    wire_list_u8_t read = {NULL, 0};
    millstream_plugin_net_fault_t error;
    ms_net net = fault(millstream_plugin_net_read(socket, bytes_max, timeout_ms, &read, &error), &error, wrong);
    *bytes = from_list(&read);
    return net;
}

ms_net ms_host_write(uint32_t socket, ms_binary bytes, uint32_t timeout_ms, ms_text *wrong)
{
    wire_list_u8_t wire = to_list(bytes);
    millstream_plugin_net_fault_t error;
    return fault(millstream_plugin_net_write(socket, &wire, timeout_ms, &error), &error, wrong);
}

ms_net ms_host_bind(ms_text name, uint16_t port, uint32_t *socket, ms_text *wrong)
{
    wire_string_t wire = ms_to_string(name);
    millstream_plugin_net_fault_t error;
    return fault(millstream_plugin_net_bind(&wire, port, socket, &error), &error, wrong);
}

ms_net ms_host_receive(uint32_t socket, uint32_t bytes_max, uint32_t timeout_ms, ms_binary *bytes, ms_text *sender,
                       ms_text *wrong)
{
    millstream_plugin_net_datagram_t came = {{NULL, 0}, {NULL, 0}};
    millstream_plugin_net_fault_t error;
    ms_net net = fault(millstream_plugin_net_receive(socket, bytes_max, timeout_ms, &came, &error), &error, wrong);
    *bytes = from_list(&came.data);
    *sender = ms_from_string(&came.sender);
    return net;
}

ms_net ms_host_send(uint32_t socket, ms_text name, uint16_t port, ms_binary bytes, ms_text *wrong)
{
    wire_string_t wire = ms_to_string(name);
    wire_list_u8_t data = to_list(bytes);
    millstream_plugin_net_fault_t error;
    return fault(millstream_plugin_net_send(socket, &wire, port, &data, &error), &error, wrong);
}

void ms_host_close(uint32_t socket)
{
    millstream_plugin_net_close(socket);
}
