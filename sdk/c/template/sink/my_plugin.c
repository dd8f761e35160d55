/* A Millstream plugin of world `sink`: writes rows to an external system. */
#include <millstream.h>
#include <stdlib.h>

/* An input row. */
#define ENTRY(COLUMN)                                                                                                  \
    COLUMN(ms_text, name)                                                                                              \
    COLUMN(double, amount)
MS_ROW(entry, ENTRY);

/* The sink's `config`. */
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
#define TIMEOUT_MS 5000
/* Maximum length of a line from the server. A longer line is an error. */
#define LINE_BYTES_MAX (1 << 10)

/* Connection to the server of the open sink. */
static ms_stream server;

/* Sends a line and receives the last batch that the server has stored. The server replies `LAST n`, or `LOST` if a later start
 * has taken over the sink. */
static ms_status ask(ms_call *call, ms_stream *to, ms_text line, uint64_t *last)
{
    ms_binary received = {NULL, 0};
    ms_net net = ms_net_write_text(call, to->socket, line, TIMEOUT_MS);
    if (net == MS_NET_OK)
        net = ms_next_line(call, to, TIMEOUT_MS, &received);
    if (net != MS_NET_OK)
        return ms_net_fail(call, net);
    const char *reply = ms_format("%.*s", (int)received.length, (const char *)received.data).data;
    if (strcmp(reply, "LOST") == 0)
        /* A retry would take over the sink again, so this error must stop the job. */
        return ms_refuse_config(call, "a later start of the job has taken over the sink");
    if (strncmp(reply, "LAST ", 5) != 0)
        return ms_fail(call, "the server replied `%s`", reply);
    *last = strtoull(reply + 5, NULL, 10);
    return MS_OK;
}

static ms_status connect_to(ms_call *call, ms_stream *to)
{
    const settings *settings = call->config;
    ms_net net = ms_stream_connect(call, to, settings->address, LINE_BYTES_MAX, TIMEOUT_MS);
    return net == MS_NET_OK ? MS_OK : ms_net_fail(call, net);
}

static ms_status committed(const ms_identity *identity, uint64_t *last, ms_call *call)
{
    /* A stream keeps its buffer between calls, so it must be static. */
    static ms_stream connection;
    if (connect_to(call, &connection) != MS_OK)
        return MS_FAILED;
    return ask(call, &connection, ms_format("LAST %.*s/%.*s\n", MS_PRINT(identity->job_id), MS_PRINT(identity->sink)), last);
}

static ms_status take_over(const ms_owner *owner, uint64_t *last, ms_call *call)
{
    const ms_identity *identity = &owner->identity;
    if (connect_to(call, &server) != MS_OK)
        return MS_FAILED;
    /* From now on, the server rejects writers with a smaller generation. */
    return ask(call, &server,
               ms_format("OPEN %.*s/%.*s %llu\n", MS_PRINT(identity->job_id), MS_PRINT(identity->sink),
                         (unsigned long long)owner->generation),
               last);
}

static ms_status begin(uint64_t batch, ms_timestamp time, ms_call *call)
{
    (void)time;
    ms_net net = ms_net_write_text(call, server.socket, ms_format("BEGIN %llu\n", (unsigned long long)batch), TIMEOUT_MS);
    return net == MS_NET_OK ? MS_OK : ms_net_fail(call, net);
}

/* Writes entries to a server. The server stores the entries of a batch and the batch ID atomically. */
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
    /* The error may be transient: the host calls `committed` again and then retries. */
    return last == batch ? MS_OK : ms_fail(call, "the server has not kept the batch");
}

MS_SINK(entry, MS_WRITES(.committed = committed, .open = take_over, .begin = begin, .write = send, .commit = commit),
        MS_CONFIG(settings, read_settings));
