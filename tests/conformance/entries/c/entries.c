/* Writes entries to a server that stores each batch once. */
#include <millstream.h>
#include <stdlib.h>

#define TIMEOUT_MS 2000
#define LINE_BYTES_MAX 1000

#define ENTRY(COLUMN)                                                                                                  \
    COLUMN(int64_t, seq)                                                                                               \
    COLUMN(ms_text, text)                                                                                              \
    COLUMN(ms_opt_int64, half)
MS_ROW(entry, ENTRY);

typedef struct settings {
    ms_text address;
    bool loose;
} settings;

static void read_settings(ms_config *from, void *to)
{
    settings *settings = to;
    settings->address = ms_config_text(from, "address");
    settings->loose = ms_config_bool_or(from, "loose", false);
}

static ms_stream lines;

static ms_status check(ms_call *call)
{
    const settings *settings = call->config;
    return settings->address.length ? MS_OK : ms_refuse_config(call, "`address` is empty");
}

static ms_promise promise(ms_call *call)
{
    const settings *settings = call->config;
    return settings->loose ? MS_AT_LEAST_ONCE : MS_EXACTLY_ONCE;
}

static ms_status send_text(ms_call *call, ms_text text)
{
    ms_net net = ms_net_write_text(call, lines.socket, text, TIMEOUT_MS);
    return net == MS_NET_OK ? MS_OK : ms_net_fail(call, net);
}

/* Sends a text and receives the server's reply. */
static ms_status ask(ms_call *call, ms_text text, const char **answer)
{
    ms_binary came = {NULL, 0};
    if (send_text(call, text) != MS_OK)
        return MS_FAILED;
    ms_net net = ms_next_line(call, &lines, TIMEOUT_MS, &came);
    if (net != MS_NET_OK)
        return ms_net_fail(call, net);
    *answer = ms_format("%.*s", (int)came.length, (const char *)came.data).data;
    return strcmp(*answer, "LOST") == 0 ? ms_refuse_config(call, "a later start of the job has taken over the sink") : MS_OK;
}

static ms_status said(ms_call *call, const char *answer)
{
    return ms_fail(call, "the server replied `%s`", answer);
}

/* Returns the last stored batch, from the server's reply. */
static ms_status held(ms_call *call, ms_text question, uint64_t *last)
{
    const char *answer;
    if (ask(call, question, &answer) != MS_OK)
        return MS_FAILED;
    if (strncmp(answer, "HELD ", 5) != 0)
        return said(call, answer);
    *last = strtoull(answer + 5, NULL, 10);
    return MS_OK;
}

static ms_status connect_to_server(ms_call *call)
{
    const settings *settings = call->config;
    ms_net net = ms_stream_connect(call, &lines, settings->address, LINE_BYTES_MAX, TIMEOUT_MS);
    return net == MS_NET_OK ? MS_OK : ms_net_fail(call, net);
}

static ms_status committed(const ms_identity *of, uint64_t *last, ms_call *call)
{
    const settings *settings = call->config;
    if (settings->loose)
        return MS_OK;
    if (connect_to_server(call) != MS_OK)
        return MS_FAILED;
    return held(call, ms_format("ASK %.*s/%.*s\n", MS_PRINT(of->job_id), MS_PRINT(of->sink)), last);
}

static ms_status take_over(const ms_owner *owner, uint64_t *last, ms_call *call)
{
    const settings *settings = call->config;
    const ms_identity *of = &owner->identity;
    ms_text question = ms_format("OPEN %.*s/%.*s %llu\n", MS_PRINT(of->job_id), MS_PRINT(of->sink),
                                 (unsigned long long)owner->generation);
    if (connect_to_server(call) != MS_OK)
        return MS_FAILED;
    ms_status status = settings->loose ? send_text(call, MS_TEXT_OF("LOOSE\n")) : held(call, question, last);
    if (status == MS_OK)
        ms_info("%.*s/%.*s is opened at %llu", MS_PRINT(of->job), MS_PRINT(of->sink), (unsigned long long)*last);
    return status;
}

static ms_status begin(uint64_t batch, ms_timestamp time, ms_call *call)
{
    return send_text(call, ms_format("BEGIN %llu %lld\n", (unsigned long long)batch, (long long)time.us));
}

static ms_status take(ms_rows *rows, ms_call *call)
{
    entry entry;
    while (entry_next(rows, &entry)) {
        if (ms_text_is(entry.text, "wrong")) {
            ms_refuse_row(rows, call, "entry %lld is wrong", (long long)entry.seq);
            continue;
        }
        if (ms_text_is(entry.text, "wrong config"))
            return ms_refuse_config(call, "the config does not fit");
        if (ms_text_is(entry.text, "wrong input"))
            return ms_refuse_input(call, "the rows do not fit");
        ms_assert(!ms_text_is(entry.text, "mistake") && "cannot write `mistake`");
        ms_text half = entry.half.is_set ? ms_format("%lld", (long long)entry.half.value) : MS_TEXT_OF("-");
        ms_text line = ms_format("ROW %lld %.*s %.*s\n", (long long)entry.seq, MS_PRINT(half), MS_PRINT(entry.text));
        if (send_text(call, line) != MS_OK)
            return MS_FAILED;
    }
    return MS_OK;
}

static ms_status commit(uint64_t batch, ms_call *call)
{
    const char *answer;
    if (ask(call, ms_format("COMMIT %llu\n", (unsigned long long)batch), &answer) != MS_OK)
        return MS_FAILED;
    return strcmp(answer, "DONE") == 0 ? MS_OK : said(call, answer);
}

MS_SINK(entry,
        MS_WRITES(.check = check, .promise = promise, .committed = committed, .open = take_over, .begin = begin,
                  .write = take, .commit = commit),
        MS_CONFIG(settings, read_settings));
