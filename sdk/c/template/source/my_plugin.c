/* A Millstream plugin of world `source`: rows from elsewhere. */
#include <millstream.h>
#include <stdlib.h>

/* A row that the plugin returns. */
#define LINE(COLUMN)                                                                                                   \
    COLUMN(int64_t, number)                                                                                            \
    COLUMN(ms_text, text)
MS_ROW(line, LINE);

/* The source's `config`. */
typedef struct settings {
    /* The server: `host:port`, as the job grants it. */
    ms_text address;
} settings;

static void read_settings(ms_config *from, void *to)
{
    settings *settings = to;
    settings->address = ms_config_text(from, "address");
}

/* How long the server may take to answer. */
#define TIMEOUT_MS 10000
/* A line that is longer is none. */
#define LINE_BYTES_MAX (1 << 20)

/* What reads the partition: the lines, and the number of the next one, which is the position. */
static ms_stream lines;
static int64_t next;

/* Reads lines from a server, which is told `FROM n` and sends its lines from number n on. */
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
        ms_binary came;
        ms_net net = ms_next_line(call, &lines, wait_ms, &came);
        if (net == MS_NET_TIMEOUT)
            break;
        /* The next poll hears of it again, and has no rows that would be lost. */
        if (net == MS_NET_CLOSED && ms_came(poll) > 0)
            break;
        /* Whatever it is, it passes: the host opens the partition again after a while. */
        if (net != MS_NET_OK)
            return ms_net_fail(call, net);
        ms_text text = {(const char *)came.data, came.length};
        if (ms_text_is_utf8(text))
            line_push(out, (line){.number = next, .text = text});
        else
            ms_refuse(poll, came, "it is no UTF-8");
        next++;
        /* Only the first line is waited for. */
        wait_ms = 0;
    }
    ms_position_text(poll, "%lld", (long long)next);
    return MS_OK;
}

MS_SOURCE(line, MS_READS(.open = begin, .poll = read_lines), MS_CONFIG(settings, read_settings));
