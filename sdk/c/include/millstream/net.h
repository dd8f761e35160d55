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
    /* Nothing came, or nothing was taken, within the time. Nothing is lost: it can be tried again. */
    MS_NET_TIMEOUT,
    /* The other side has closed the connection. */
    MS_NET_CLOSED,
    /* Anything else: not granted, refused, unknown host. */
    MS_NET_FAILED
} ms_net;

/* A connection, or a socket for datagrams. It lives until `ms_net_close`, or as long as the plugin's instance. */
typedef struct ms_socket {
    uint32_t number;
} ms_socket;

/* Lets the call fail with what has gone wrong: `return ms_net_fail(call, net);`. It passes: what is open is opened again. */
ms_status ms_net_fail(ms_call *call, ms_net net);
/* What has gone wrong, in words. */
ms_text ms_net_words(ms_call *call, ms_net net);

/* Connects over TCP to an address as `example.com:514` or `[::1]:514`. */
ms_net ms_net_connect(ms_call *call, ms_text address, uint32_t timeout_ms, ms_socket *to);
/* Reads what is there: at least one byte, and at most so many. Waits for the first. The bytes are freed after the call. */
ms_net ms_net_read(ms_call *call, ms_socket from, uint32_t bytes_max, uint32_t timeout_ms, ms_binary *bytes);
/* Writes all of these bytes. After MS_NET_TIMEOUT some of them may have gone out. */
ms_net ms_net_write(ms_call *call, ms_socket to, ms_binary bytes, uint32_t timeout_ms);
/* The same of a text, as `ms_format` makes it. */
ms_net ms_net_write_text(ms_call *call, ms_socket to, ms_text text, uint32_t timeout_ms);

/* Listens for datagrams at an address of this machine, as `0.0.0.0:514`; port 0: any free one. */
ms_net ms_net_bind(ms_call *call, ms_text address, ms_socket *to);
/* Takes the next datagram, and who sent it; what is longer than so many bytes is cut. Both are freed after the call. */
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
    /* The SDK's own: the longest line or record; what came, where that begins which is not taken yet, and up to where no end of
     * a line was found. */
    size_t bytes_max;
    uint8_t *bytes;
    size_t length;
    size_t capacity;
    size_t start;
    size_t searched;
} ms_stream;

/* Connects, and begins a stream of lines or records of at most so many bytes. */
ms_net ms_stream_connect(ms_call *call, ms_stream *stream, ms_text address, size_t bytes_max, uint32_t timeout_ms);
/* The next line, without its end (`\n` or `\r\n`); waits for more of it no longer than this. A part of a line that has come by
 * then is kept for the next call, and a part before the end of the connection is no line. It is valid until the next one. */
ms_net ms_next_line(ms_call *call, ms_stream *stream, uint32_t timeout_ms, ms_binary *line);
/* The next so many bytes, in the same way. With `peek` they are not taken: the next call gives them again. */
ms_net ms_next_bytes(ms_call *call, ms_stream *stream, size_t count, bool peek, uint32_t timeout_ms, ms_binary *bytes);

#endif
