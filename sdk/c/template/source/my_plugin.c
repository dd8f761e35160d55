/* A Millstream plugin of world `source`: reads rows from an external system. */
#include <millstream.h>
#include <stdlib.h>

/* An output row. */
#define LINE(COLUMN)                                                                                                   \
    COLUMN(int64_t, number)                                                                                            \
    COLUMN(ms_text, text)
MS_ROW(line, LINE);

/* The source's `config`. */
typedef struct settings {
    /* Address of the server, `host:port`. The job must grant the same address. */
    ms_text address;
} settings;

static void read_settings(ms_config *from, void *to)
{
    settings *settings = to;
    settings->address = ms_config_text(from, "address");
}

/* Maximum time to wait for a reply of the server. */
#define TIMEOUT_MS 10000
/* Maximum length of a line. A longer line is an error. */
#define LINE_BYTES_MAX (1 << 20)

/* State of the partition: the connection, and the number of the next line, which is the position. */
static ms_stream lines;
static int64_t next;

/* Reads lines from a server. After `FROM n`, the server sends its lines from number n on. */
static ms_status begin(ms_text partition, const ms_binary *position, ms_call *call)
{
    const settings *settings = call->config;
    (void)partition;
    next = position ? strtoll(ms_format("%.*s", (int)position->length, (const char *)position->data).data, NULL, 10) : 0;
    ms_net net = ms_stream_connect(call, &lines, settings->address, LINE_BYTES_MAX, TIMEOUT_MS);
    if (net == MS_NET_OK)
        net = ms_net_write_text(call, lines.socket, ms_format("FROM %lld\n", (long long)next), TIMEOUT_MS);
    return net == MS_NET_OK ? MS_OK : ms_net_fail(call, net);
}

static ms_status read_lines(ms_poll *poll, ms_out *out, ms_call *call)
{
    uint32_t wait_ms = poll->wait_ms;
    while (ms_left(poll) > 0) {
        ms_binary bytes;
        ms_net net = ms_next_line(call, &lines, wait_ms, &bytes);
        if (net == MS_NET_TIMEOUT)
            break;
        /* Return the rows first. The next poll receives the same error and has no rows to lose. */
        if (net == MS_NET_CLOSED && ms_came(poll) > 0)
            break;
        /* The error is transient: the host opens the partition again after a delay. */
        if (net != MS_NET_OK)
            return ms_net_fail(call, net);
        ms_text text = {(const char *)bytes.data, bytes.length};
        if (ms_text_is_utf8(text))
            line_push(out, (line){.number = next, .text = text});
        else
            ms_refuse(poll, bytes, "it is not valid UTF-8");
        next++;
        /* Wait only for the first line. */
        wait_ms = 0;
    }
    ms_position_text(poll, "%lld", (long long)next);
    return MS_OK;
}

MS_SOURCE(line, MS_READS(.open = begin, .poll = read_lines), MS_CONFIG(settings, read_settings));
