/* Imports of worlds `source` and `sink`. Included by their files. */
#include "convert.h"

/* These worlds have no stage. */
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
    millstream_plugin_net_datagram_t datagram = {{NULL, 0}, {NULL, 0}};
    millstream_plugin_net_fault_t error;
    ms_net net = fault(millstream_plugin_net_receive(socket, bytes_max, timeout_ms, &datagram, &error), &error, wrong);
    *bytes = from_list(&datagram.data);
    *sender = ms_from_string(&datagram.sender);
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

/* Starts a call of the open instance. */
static bool begin(ms_call *call, ms_engine *engine)
{
    memset(call, 0, sizeof *call);
    return ms_engine_opened(call, engine);
}
