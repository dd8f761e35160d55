/*
 * Connections over TCP, and datagrams over UDP, to where the job lets the plugin go: `grant = { tcp = ["host:port"] }` and
 * `udp = ["host:port"]`. Worlds `source` and `sink` only.
 *
 * Every wait ends with its time; what was not there by then can be waited for again. In tests the sockets are those of the
 * machine, and nothing is refused.
 */
#ifndef MILLSTREAM_NET_H
#define MILLSTREAM_NET_H

#include "call.h"

/* What has come of something that was tried. */
typedef enum ms_net {
    MS_NET_OK,
    /* Nothing was received or sent within the time. Nothing is lost: it can be retried. */
    MS_NET_TIMEOUT,
    /* The other side has closed the connection. */
    MS_NET_CLOSED,
    /* Anything else: not granted, connection refused, unknown host. */
    MS_NET_FAILED
} ms_net;

/* A connection, or a socket for datagrams. It lives until `ms_net_close`, or as long as the plugin's instance. */
typedef struct ms_socket {
    uint32_t number;
} ms_socket;

/*
 * Fails the call with the network error: `return ms_net_fail(call, net);`. The error is transient: the instance is
 * opened again.
 */
ms_status ms_net_fail(ms_call *call, ms_net net);
/* Returns the text of a network error. */
ms_text ms_net_words(ms_call *call, ms_net net);

/* Connects over TCP to an address as `example.com:514` or `[::1]:514`. */
ms_net ms_net_connect(ms_call *call, ms_text address, uint32_t timeout_ms, ms_socket *to);
/*
 * Reads available data: at least one byte, and at most the maximum. Waits for the first. The bytes are freed after
 * the call.
 */
ms_net ms_net_read(ms_call *call, ms_socket from, uint32_t bytes_max, uint32_t timeout_ms, ms_binary *bytes);
/* Writes all of these bytes. After MS_NET_TIMEOUT some of them may have been sent. */
ms_net ms_net_write(ms_call *call, ms_socket to, ms_binary bytes, uint32_t timeout_ms);
/* The same for a string, formatted like `ms_format`. */
ms_net ms_net_write_text(ms_call *call, ms_socket to, ms_text text, uint32_t timeout_ms);

/* Listens for datagrams at an address of this machine, for example `0.0.0.0:514`; port 0 selects any free port. */
ms_net ms_net_bind(ms_call *call, ms_text address, ms_socket *to);
/* Returns the next datagram, truncated to the maximum, and its sender. Both are freed after the call. */
ms_net ms_net_receive(ms_call *call, ms_socket from, uint32_t bytes_max, uint32_t timeout_ms, ms_binary *bytes,
                  ms_text *sender);
/* Sends a datagram. */
ms_net ms_net_send(ms_call *call, ms_socket from, ms_text address, ms_binary bytes);

/* Closes a socket; again does nothing. */
void ms_net_close(ms_socket socket);

/* What comes over a connection, kept from call to call until it is taken. */
typedef struct ms_stream {
    /* The connection, to write to it. */
    ms_socket socket;
    /*
     * Internal to the SDK: the longest line or record; received data, the start of the part that was not returned
     * yet, and the position before which there is no line end.
     */
    size_t bytes_max;
    uint8_t *bytes;
    size_t length;
    size_t capacity;
    size_t start;
    size_t searched;
} ms_stream;

/* Connects, and begins a stream of lines or records with this maximum size. */
ms_net ms_stream_connect(ms_call *call, ms_stream *stream, ms_text address, size_t bytes_max, uint32_t timeout_ms);
/*
 * Returns the next line without its end (`\n` or `\r\n`), and waits for it no longer than the timeout. A part of a
 * line that has arrived by then is kept for the next call; a part before the end of the connection is not a line. It
 * is valid until the next one.
 */
ms_net ms_next_line(ms_call *call, ms_stream *stream, uint32_t timeout_ms, ms_binary *line);
/* Returns the next bytes, in the same way. With `peek` they are not consumed: the next call returns them again. */
ms_net ms_next_bytes(ms_call *call, ms_stream *stream, size_t count, bool peek, uint32_t timeout_ms, ms_binary *bytes);

#endif
