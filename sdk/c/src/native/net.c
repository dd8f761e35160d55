/* The sockets of this machine, for tests of sources and sinks. */
#define _DEFAULT_SOURCE
#include "native.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static ms_net failed(ms_text *wrong)
{
    *wrong = ms_format("%s", strerror(errno));
    return MS_NET_FAILED;
}

/* Converts `errno` of the last system call. */
static ms_net fault(ms_text *wrong)
{
    switch (errno) {
    case EAGAIN:
    case ETIMEDOUT:
        return MS_NET_TIMEOUT;
    case ECONNRESET:
    case EPIPE:
    case EBADF:
        return MS_NET_CLOSED;
    default:
        return failed(wrong);
    }
}

/* Opens a socket for the first address of a name, and calls a function with it. */
static ms_net open_at(ms_text name, uint16_t port, int kind, int (*use)(int, const struct sockaddr *, socklen_t),
                      uint32_t *to, ms_text *wrong)
{
    struct addrinfo hints = {.ai_socktype = kind}, *found;
    bool is_bracketed = name.length > 2 && name.data[0] == '[';
    const char *host = ms_format("%.*s", (int)name.length - 2 * is_bracketed, name.data + is_bracketed).data;
    int error = getaddrinfo(host, ms_format("%u", (unsigned)port).data, &hints, &found);
    if (error) {
        *wrong = ms_format("`%s` cannot be looked up: %s", host, gai_strerror(error));
        return MS_NET_FAILED;
    }
    int number = socket(found->ai_family, kind, 0);
    bool is_open = number >= 0 && use(number, found->ai_addr, found->ai_addrlen) == 0;
    freeaddrinfo(found);
    if (!is_open) {
        ms_net net = failed(wrong);
        if (number >= 0)
            close(number);
        return net;
    }
    *to = (uint32_t)number;
    return MS_NET_OK;
}

static ms_net waits(uint32_t socket, short events, uint32_t timeout_ms, ms_text *wrong)
{
    struct pollfd of = {.fd = (int)socket, .events = events};
    int ready = poll(&of, 1, timeout_ms > INT32_MAX ? INT32_MAX : (int)timeout_ms);
    if (ready < 0)
        return failed(wrong);
    if (of.revents & POLLNVAL)
        return MS_NET_CLOSED;
    return ready ? MS_NET_OK : MS_NET_TIMEOUT;
}

ms_net ms_host_connect(ms_text name, uint16_t port, uint32_t timeout_ms, uint32_t *socket, ms_text *wrong)
{
    (void)timeout_ms;
    return open_at(name, port, SOCK_STREAM, connect, socket, wrong);
}

ms_net ms_host_read(uint32_t socket, uint32_t bytes_max, uint32_t timeout_ms, ms_binary *bytes, ms_text *wrong)
{
    ms_net net = waits(socket, POLLIN, timeout_ms, wrong);
    if (net != MS_NET_OK)
        return net;
    uint8_t *read_to = ms_alloc(bytes_max);
    ssize_t count = recv((int)socket, read_to, bytes_max, 0);
    if (count < 0)
        return fault(wrong);
    *bytes = (ms_binary){read_to, (size_t)count};
    return count ? MS_NET_OK : MS_NET_CLOSED;
}

ms_net ms_host_write(uint32_t socket, ms_binary bytes, uint32_t timeout_ms, ms_text *wrong)
{
    while (bytes.length) {
        ms_net net = waits(socket, POLLOUT, timeout_ms, wrong);
        if (net != MS_NET_OK)
            return net;
        ssize_t count = send((int)socket, bytes.data, bytes.length, MSG_NOSIGNAL);
        if (count < 0)
            return fault(wrong);
        bytes = (ms_binary){bytes.data + count, bytes.length - (size_t)count};
    }
    return MS_NET_OK;
}

ms_net ms_host_bind(ms_text name, uint16_t port, uint32_t *socket, ms_text *wrong)
{
    return open_at(name, port, SOCK_DGRAM, bind, socket, wrong);
}

ms_net ms_host_receive(uint32_t socket, uint32_t bytes_max, uint32_t timeout_ms, ms_binary *bytes, ms_text *sender,
                       ms_text *wrong)
{
    struct sockaddr_storage from;
    socklen_t length = sizeof from;
    char host[INET6_ADDRSTRLEN], port[8];
    ms_net net = waits(socket, POLLIN, timeout_ms, wrong);
    if (net != MS_NET_OK)
        return net;
    uint8_t *read_to = ms_alloc(bytes_max);
    ssize_t count = recvfrom((int)socket, read_to, bytes_max, 0, (struct sockaddr *)&from, &length);
    if (count < 0)
        return fault(wrong);
    getnameinfo((struct sockaddr *)&from, length, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    *sender = ms_format(strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
    *bytes = (ms_binary){read_to, (size_t)count};
    return MS_NET_OK;
}

static const ms_binary *datagram;

static int send_datagram(int number, const struct sockaddr *to, socklen_t length)
{
    return sendto(number, datagram->data, datagram->length, 0, to, length) < 0 ? -1 : 0;
}

ms_net ms_host_send(uint32_t socket, ms_text name, uint16_t port, ms_binary bytes, ms_text *wrong)
{
    uint32_t own;
    datagram = &bytes;
    /* Sent from a separate socket: the receiver only reads the data. */
    (void)socket;
    ms_net net = open_at(name, port, SOCK_DGRAM, send_datagram, &own, wrong);
    if (net == MS_NET_OK)
        close((int)own);
    return net;
}

void ms_host_close(uint32_t socket)
{
    close((int)socket);
}
