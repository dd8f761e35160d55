/* Connections and datagrams of worlds `source` and `sink`, and streams of lines and records. */
#include "engine.h"

#include <stdlib.h>

#define READ_BYTES (1u << 16)

ms_text ms_net_words(ms_call *call, ms_net net)
{
    switch (net) {
    case MS_NET_OK:
        return MS_TEXT_OF("no error");
    case MS_NET_TIMEOUT:
        return MS_TEXT_OF("timed out");
    case MS_NET_CLOSED:
        return MS_TEXT_OF("the other side has closed the connection");
    default:
        return call->engine->net_words;
    }
}

ms_status ms_net_fail(ms_call *call, ms_net net)
{
    ms_failed(call, MS_ERROR_INTERNAL, "%.*s", MS_PRINT(ms_net_words(call, net)));
    return MS_FAILED;
}

/* Splits an address into host and port. */
static bool parts(ms_call *call, ms_text address, ms_text *name, uint16_t *port)
{
    size_t colon = address.length;
    uint32_t number = 0;
    while (colon > 0 && address.data[colon - 1] != ':')
        colon--;
    bool is_number = colon > 1 && colon < address.length && address.length - colon <= 5;
    for (size_t i = colon; is_number && i < address.length; i++) {
        is_number = address.data[i] >= '0' && address.data[i] <= '9';
        number = number * 10 + (uint32_t)(address.data[i] - '0');
    }
    if (!is_number || number > UINT16_MAX) {
        call->engine->net_words = ms_format("`%.*s` is not an address; write it as `example.com:514`", MS_PRINT(address));
        return false;
    }
    *name = (ms_text){address.data, colon - 1};
    *port = (uint16_t)number;
    return true;
}

ms_net ms_net_connect(ms_call *call, ms_text address, uint32_t timeout_ms, ms_socket *to)
{
    ms_text name;
    uint16_t port;
    if (!parts(call, address, &name, &port))
        return MS_NET_FAILED;
    return ms_host_connect(name, port, timeout_ms, &to->number, &call->engine->net_words);
}

ms_net ms_net_read(ms_call *call, ms_socket from, uint32_t bytes_max, uint32_t timeout_ms, ms_binary *bytes)
{
    return ms_host_read(from.number, bytes_max ? bytes_max : 1, timeout_ms, bytes, &call->engine->net_words);
}

ms_net ms_net_write(ms_call *call, ms_socket to, ms_binary bytes, uint32_t timeout_ms)
{
    return ms_host_write(to.number, bytes, timeout_ms, &call->engine->net_words);
}

ms_net ms_net_write_text(ms_call *call, ms_socket to, ms_text text, uint32_t timeout_ms)
{
    return ms_net_write(call, to, (ms_binary){(const uint8_t *)text.data, text.length}, timeout_ms);
}

ms_net ms_net_bind(ms_call *call, ms_text address, ms_socket *to)
{
    ms_text name;
    uint16_t port;
    if (!parts(call, address, &name, &port))
        return MS_NET_FAILED;
    return ms_host_bind(name, port, &to->number, &call->engine->net_words);
}

ms_net ms_net_receive(ms_call *call, ms_socket from, uint32_t bytes_max, uint32_t timeout_ms, ms_binary *bytes,
                  ms_text *sender)
{
    return ms_host_receive(from.number, bytes_max ? bytes_max : 1, timeout_ms, bytes, sender, &call->engine->net_words);
}

ms_net ms_net_send(ms_call *call, ms_socket from, ms_text address, ms_binary bytes)
{
    ms_text name;
    uint16_t port;
    if (!parts(call, address, &name, &port))
        return MS_NET_FAILED;
    return ms_host_send(from.number, name, port, bytes, &call->engine->net_words);
}

void ms_net_close(ms_socket socket)
{
    ms_host_close(socket.number);
}

ms_net ms_stream_connect(ms_call *call, ms_stream *stream, ms_text address, size_t bytes_max, uint32_t timeout_ms)
{
    stream->bytes_max = bytes_max;
    stream->length = stream->start = stream->searched = 0;
    return ms_net_connect(call, address, timeout_ms, &stream->socket);
}

/* Reads more bytes. Moves the unread bytes to the start of the buffer, which is kept between calls. */
static ms_net more(ms_call *call, ms_stream *stream, uint32_t timeout_ms)
{
    ms_binary received;
    ms_net net = ms_net_read(call, stream->socket, READ_BYTES, timeout_ms, &received);
    if (net != MS_NET_OK)
        return net;
    if (stream->start) {
        memmove(stream->bytes, stream->bytes + stream->start, stream->length - stream->start);
        stream->length -= stream->start;
        stream->searched -= stream->start;
        stream->start = 0;
    }
    if (received.length > stream->capacity - stream->length) {
        size_t capacity = (stream->length + received.length) * 2;
        uint8_t *bytes = realloc(stream->bytes, capacity);
        ms_assert(bytes != NULL);
        stream->bytes = bytes;
        stream->capacity = capacity;
    }
    memcpy(stream->bytes + stream->length, received.data, received.length);
    stream->length += received.length;
    return MS_NET_OK;
}

/* Returns whether the unread bytes exceed the maximum of a line or record. */
static bool is_too_long(ms_call *call, const ms_stream *stream, size_t count, const char *what)
{
    if (count <= stream->bytes_max)
        return false;
    call->engine->net_words = ms_format("a %s of more than %zu bytes", what, stream->bytes_max);
    return true;
}

ms_net ms_next_line(ms_call *call, ms_stream *stream, uint32_t timeout_ms, ms_binary *line)
{
    for (;;) {
        size_t left = stream->length - stream->searched;
        const uint8_t *end = left ? memchr(stream->bytes + stream->searched, '\n', left) : NULL;
        if (end) {
            const uint8_t *first = stream->bytes + stream->start;
            size_t length = (size_t)(end - first);
            stream->start = stream->searched = (size_t)(end - stream->bytes) + 1;
            *line = (ms_binary){first, length && first[length - 1] == '\r' ? length - 1 : length};
            return MS_NET_OK;
        }
        stream->searched = stream->length;
        if (is_too_long(call, stream, stream->length - stream->start, "line"))
            return MS_NET_FAILED;
        ms_net net = more(call, stream, timeout_ms);
        if (net != MS_NET_OK)
            return net;
        /* There is no clock here, so only the first wait uses the timeout. */
        timeout_ms = 0;
    }
}

ms_net ms_next_bytes(ms_call *call, ms_stream *stream, size_t count, bool peek, uint32_t timeout_ms, ms_binary *bytes)
{
    if (is_too_long(call, stream, count, "record"))
        return MS_NET_FAILED;
    while (stream->length - stream->start < count) {
        ms_net net = more(call, stream, timeout_ms);
        if (net != MS_NET_OK)
            return net;
        timeout_ms = 0;
    }
    *bytes = (ms_binary){stream->bytes ? stream->bytes + stream->start : NULL, count};
    if (!peek)
        stream->start += count;
    if (stream->searched < stream->start)
        stream->searched = stream->start;
    return MS_NET_OK;
}
