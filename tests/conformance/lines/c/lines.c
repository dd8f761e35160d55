/* Reads lines from servers, and datagrams. */
#include <millstream.h>
#include <stdlib.h>

#define TIMEOUT_MS 2000
#define LINE_BYTES_MAX 1000

#define LINE(COLUMN)                                                                                                   \
    COLUMN(int64_t, seq)                                                                                               \
    COLUMN(ms_text, text)                                                                                              \
    COLUMN(ms_opt_int64, half)
MS_ROW(line, LINE);

typedef struct settings {
    const ms_text *addresses;
    size_t count;
} settings;

static void read_settings(ms_config *from, void *to)
{
    settings *settings = to;
    settings->addresses = ms_config_texts(from, "addresses", &settings->count);
}

static ms_stream lines;
static int64_t next;
static bool is_udp;
static ms_socket datagrams;

static line line_of(int64_t seq, ms_text text)
{
    return (line){.seq = seq, .text = text, .half = {seq % 2 == 0, seq / 2}};
}

static ms_status check(ms_call *call)
{
    const settings *settings = call->config;
    return settings->count ? MS_OK : ms_refuse_config(call, "`addresses` is empty");
}

static ms_status list(ms_partitions *partitions, ms_call *call)
{
    const settings *settings = call->config;
    for (size_t i = 0; i < settings->count; i++)
        ms_partition(partitions, settings->addresses[i]);
    return MS_OK;
}

static ms_status begin(ms_text partition, const ms_binary *position, ms_call *call)
{
    is_udp = partition.length > 4 && memcmp(partition.data, "udp:", 4) == 0;
    if (is_udp) {
        ms_net net = ms_net_bind(call, (ms_text){partition.data + 4, partition.length - 4}, &datagrams);
        return net == MS_NET_OK ? MS_OK : ms_net_fail(call, net);
    }
    next = position ? strtoll(ms_format("%.*s", (int)position->length, (const char *)position->data).data, NULL, 10) : 0;
    ms_net net = ms_stream_connect(call, &lines, partition, LINE_BYTES_MAX, TIMEOUT_MS);
    if (net == MS_NET_OK)
        net = ms_net_write_text(call, lines.socket, ms_format("FROM %lld\n", (long long)next), TIMEOUT_MS);
    if (net != MS_NET_OK)
        return ms_net_fail(call, net);
    ms_info("%.*s is opened at %lld", MS_PRINT(partition), (long long)next);
    return MS_OK;
}

/* Parses a line into its number and its text. */
static bool parse(ms_text came, int64_t *seq, ms_text *text)
{
    size_t at = 0;
    *seq = 0;
    while (at < came.length && came.data[at] >= '0' && came.data[at] <= '9')
        *seq = *seq * 10 + (came.data[at++] - '0');
    if (at == 0 || at == came.length || came.data[at] != ' ')
        return false;
    *text = (ms_text){came.data + at + 1, came.length - at - 1};
    return ms_text_is_utf8(*text);
}

static ms_status take(ms_poll *poll, ms_binary came, ms_out *out, ms_call *call)
{
    int64_t seq;
    ms_text text;
    if (!parse((ms_text){(const char *)came.data, came.length}, &seq, &text)) {
        ms_refuse(poll, came, "expected a number and a message");
        return MS_OK;
    }
    if (seq != next)
        return ms_fail(call, "got line %lld instead of line %lld", (long long)seq, (long long)next);
    if (ms_text_is(text, "wrong config"))
        return ms_refuse_config(call, "the config does not fit");
    ms_assert(!ms_text_is(text, "mistake") && "cannot read `mistake`");
    line_push(out, line_of(seq, text));
    return MS_OK;
}

static ms_status read_lines(ms_poll *poll, ms_out *out, ms_call *call)
{
    uint32_t wait_ms = poll->wait_ms;
    while (ms_left(poll) > 0) {
        ms_binary came;
        ms_net net = ms_next_line(call, &lines, wait_ms, &came);
        if (net == MS_NET_TIMEOUT || (net == MS_NET_CLOSED && ms_came(poll) > 0))
            break;
        if (net != MS_NET_OK)
            return ms_net_fail(call, net);
        if (ms_text_is((ms_text){(const char *)came.data, came.length}, "END")) {
            poll->next = MS_ENDED;
            ms_position_text(poll, "%lld", (long long)next);
            return MS_OK;
        }
        ms_status status = take(poll, came, out, call);
        if (status != MS_OK)
            return status;
        next++;
        wait_ms = 0;
    }
    if (ms_came(poll) > 0)
        ms_position_text(poll, "%lld", (long long)next);
    return MS_OK;
}

static ms_status read_datagrams(ms_poll *poll, ms_out *out, ms_call *call)
{
    ms_binary came;
    ms_text sender;
    ms_net net = ms_net_receive(call, datagrams, 4, poll->wait_ms, &came, &sender);
    if (net == MS_NET_TIMEOUT) {
        poll->next = MS_PAUSE;
        poll->pause_ms = 1;
        return MS_OK;
    }
    if (net != MS_NET_OK)
        return ms_net_fail(call, net);
    line_push(out, line_of((int64_t)came.length, (ms_text){(const char *)came.data, came.length}));
    return MS_OK;
}

static ms_status read_next(ms_poll *poll, ms_out *out, ms_call *call)
{
    return is_udp ? read_datagrams(poll, out, call) : read_lines(poll, out, call);
}

static ms_status tell(const char *word, ms_binary position, ms_call *call)
{
    if (is_udp)
        return MS_OK;
    ms_text line = ms_format("%s %.*s\n", word, (int)position.length, (const char *)position.data);
    ms_net net = ms_net_write_text(call, lines.socket, line, TIMEOUT_MS);
    return net == MS_NET_OK ? MS_OK : ms_net_fail(call, net);
}

static ms_status durable(ms_binary position, ms_call *call)
{
    return tell("ACK", position, call);
}

static ms_status published(ms_binary position, ms_call *call)
{
    return tell("DONE", position, call);
}

MS_SOURCE(line,
          MS_READS(.check = check, .partitions = list, .open = begin, .poll = read_next, .durable = durable,
                   .published = published),
          MS_CONFIG(settings, read_settings));
