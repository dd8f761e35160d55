/*
 * TCP connections and UDP datagrams to addresses that the job grants: `grant = { tcp = ["host:port"] }` and `udp =
 * ["host:port"]`. Worlds `source` and `sink` only.
 *
 * Each call waits at most for its timeout and can then be repeated. In tests, the sockets are the machine's, and all are
 * allowed.
 */
#ifndef MILLSTREAM_NET_H
#define MILLSTREAM_NET_H

#include "call.h"

/* Result of an operation. */
typedef enum ms_net {
    MS_NET_OK,
    /* The operation did not finish within the timeout. No data is lost: repeat the call. */
    MS_NET_TIMEOUT,
    /* The peer has closed the connection. */
    MS_NET_CLOSED,
    /* Any other failure: not granted, connection refused, unknown host. */
    MS_NET_FAILED
} ms_net;

/* A connection, or a UDP socket. It is open until `ms_net_close`, or as long as the plugin's instance exists. */
typedef struct ms_socket {
    uint32_t number;
} ms_socket;

/*
 * Fails the call with the network error: `return ms_net_fail(call, net);`. The error is transient: the host opens the
 * plugin again.
 */
ms_status ms_net_fail(ms_call *call, ms_net net);
/* Returns the message of a network error. */
ms_text ms_net_words(ms_call *call, ms_net net);

/* Opens a TCP connection to an address, for example `example.com:514` or `[::1]:514`. */
ms_net ms_net_connect(ms_call *call, ms_text address, uint32_t timeout_ms, ms_socket *to);
/*
 * Reads the available bytes: at least one, at most `bytes_max`. Waits for the first one. The bytes are freed after the
 * call.
 */
ms_net ms_net_read(ms_call *call, ms_socket from, uint32_t bytes_max, uint32_t timeout_ms, ms_binary *bytes);
/* Writes all bytes. After MS_NET_TIMEOUT, some of them may have been sent. */
ms_net ms_net_write(ms_call *call, ms_socket to, ms_binary bytes, uint32_t timeout_ms);
/* Writes a string, for example one from `ms_format`. */
ms_net ms_net_write_text(ms_call *call, ms_socket to, ms_text text, uint32_t timeout_ms);

/* Listens for datagrams on an address of this machine, for example `0.0.0.0:514`. Port 0 is any free port. */
ms_net ms_net_bind(ms_call *call, ms_text address, ms_socket *to);
/* Receives the next datagram, truncated to `bytes_max`, and its sender. Both are freed after the call. */
ms_net ms_net_receive(ms_call *call, ms_socket from, uint32_t bytes_max, uint32_t timeout_ms, ms_binary *bytes,
                  ms_text *sender);
/* Sends a datagram. */
ms_net ms_net_send(ms_call *call, ms_socket from, ms_text address, ms_binary bytes);

/* Closes a socket. Does nothing if it is closed. */
void ms_net_close(ms_socket socket);

/* Received bytes of a connection, kept between calls until they are taken. */
typedef struct ms_stream {
    /* The connection, for writing. */
    ms_socket socket;
    /*
     * Internal to the SDK: maximum length of a line or record; received bytes, the start of the part that was not
     * returned yet, and the index up to which it is searched for a line end.
     */
    size_t bytes_max;
    uint8_t *bytes;
    size_t length;
    size_t capacity;
    size_t start;
    size_t searched;
} ms_stream;

/* Connects, and starts a stream of lines or records of at most `bytes_max` bytes. */
ms_net ms_stream_connect(ms_call *call, ms_stream *stream, ms_text address, size_t bytes_max, uint32_t timeout_ms);
/*
 * Returns the next line without its end (`\n` or `\r\n`). Waits at most `timeout_ms` for more bytes. A partial line is kept
 * for the next call. If the connection ends within a line, that line is dropped. The line is valid until the next call.
 */
ms_net ms_next_line(ms_call *call, ms_stream *stream, uint32_t timeout_ms, ms_binary *line);
/* Returns the next bytes in the same way. With `peek`, they stay in the stream, and the next call returns them again. */
ms_net ms_next_bytes(ms_call *call, ms_stream *stream, size_t count, bool peek, uint32_t timeout_ms, ms_binary *bytes);

#endif
