/* A Millstream plugin of world `sink`: rows that leave for elsewhere. */
#include <millstream.h>
#include <stdlib.h>

/* A row that the plugin reads. */
#define ENTRY(COLUMN)                                                                                                  \
    COLUMN(ms_text, name)                                                                                              \
    COLUMN(double, amount)
MS_ROW(entry, ENTRY);

/* The sink's `config`. */
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
#define TIMEOUT_MS 5000
/* A line of the server that is longer is none. */
#define LINE_BYTES_MAX (1 << 10)

/* The connection to the server of what is open. */
static ms_stream server;

/* Says something, and hears of the last batch that is there: the server answers `LAST n`, or `LOST` to those who have lost the sink. */
static ms_status ask(ms_call *call, ms_stream *to, ms_text line, uint64_t *last)
{
    ms_binary came = {NULL, 0};
    ms_net net = ms_net_write_text(call, to->socket, line, TIMEOUT_MS);
    if (net == MS_NET_OK)
        net = ms_next_line(call, to, TIMEOUT_MS, &came);
    if (net != MS_NET_OK)
        return ms_net_fail(call, net);
    const char *answer = ms_format("%.*s", (int)came.length, (const char *)came.data).data;
    if (strcmp(answer, "LOST") == 0)
        /* It would only take the sink back. */
        return ms_refuse_config(call, "a later start of the job has taken the sink over");
    if (strncmp(answer, "LAST ", 5) != 0)
        return ms_fail(call, "the server says `%s`", answer);
    *last = strtoull(answer + 5, NULL, 10);
    return MS_OK;
}

static ms_status connect_to(ms_call *call, ms_stream *to)
{
    const settings *settings = call->config;
    ms_net net = ms_stream_connect(call, to, settings->address, LINE_BYTES_MAX, TIMEOUT_MS);
    return net == MS_NET_OK ? MS_OK : ms_net_fail(call, net);
}

static ms_status committed(const ms_identity *of, uint64_t *last, ms_call *call)
{
    /* What a stream reads lives longer than calls do. */
    static ms_stream asked;
    if (connect_to(call, &asked) != MS_OK)
        return MS_FAILED;
    return ask(call, &asked, ms_format("LAST %.*s/%.*s\n", MS_PRINT(of->job_id), MS_PRINT(of->sink)), last);
}

static ms_status take_over(const ms_owner *owner, uint64_t *last, ms_call *call)
{
    const ms_identity *of = &owner->identity;
    if (connect_to(call, &server) != MS_OK)
        return MS_FAILED;
    /* From now on the server takes nothing from those who came with a smaller number. */
    return ask(call, &server,
               ms_format("OPEN %.*s/%.*s %llu\n", MS_PRINT(of->job_id), MS_PRINT(of->sink),
                         (unsigned long long)owner->generation),
               last);
}

static ms_status begin(uint64_t batch, ms_timestamp time, ms_call *call)
{
    (void)time;
    ms_net net = ms_net_write_text(call, server.socket, ms_format("BEGIN %llu\n", (unsigned long long)batch), TIMEOUT_MS);
    return net == MS_NET_OK ? MS_OK : ms_net_fail(call, net);
}

/* Writes entries to a server that keeps them, and the id of the batch that they came with, together. */
static ms_status send(ms_rows *rows, ms_call *call)
{
    entry entry;
    while (entry_next(rows, &entry)) {
        if (memchr(entry.name.data, ' ', entry.name.length)) {
            ms_refuse_row(rows, call, "a name is one word");
            continue;
        }
        ms_text line = ms_format("ROW %.*s %g\n", MS_PRINT(entry.name), entry.amount);
        ms_net net = ms_net_write_text(call, server.socket, line, TIMEOUT_MS);
        if (net != MS_NET_OK)
            return ms_net_fail(call, net);
    }
    return MS_OK;
}

static ms_status commit(uint64_t batch, ms_call *call)
{
    uint64_t last = 0;
    if (ask(call, &server, ms_format("COMMIT %llu\n", (unsigned long long)batch), &last) != MS_OK)
        return MS_FAILED;
    /* It passes, perhaps: the host asks again what is there, and tries again. */
    return last == batch ? MS_OK : ms_fail(call, "the server has not kept the batch");
}

MS_SINK(entry, MS_WRITES(.committed = committed, .open = take_over, .begin = begin, .write = send, .commit = commit),
        MS_CONFIG(settings, read_settings));
