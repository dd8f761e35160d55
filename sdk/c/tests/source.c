/* A source, with connections and datagrams. */
#include <millstream.h>
#include <millstream/test.h>

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NUMBER(COLUMN)                                                                                                 \
    COLUMN(int64_t, n)                                                                                                 \
    COLUMN(ms_text, of)
MS_ROW(number, NUMBER);

typedef struct settings {
    int64_t up_to;
    ms_text address;
} settings;

static void read_settings(ms_config *from, void *to)
{
    settings *settings = to;
    settings->up_to = ms_config_int64_or(from, "up_to", 0);
    settings->address = ms_config_text_or(from, "address", MS_TEXT_OF(""));
}

static int64_t next;
static char partition_name[16];
static char durable_position[64];
static ms_stream stream;

static ms_status check(ms_call *call)
{
    const settings *settings = call->config;
    return settings->up_to < 0 ? ms_refuse_config(call, "there are no such numbers") : MS_OK;
}

static ms_status list(ms_partitions *partitions, ms_call *call)
{
    (void)call;
    ms_partition(partitions, MS_TEXT_OF("a"));
    ms_partition(partitions, MS_TEXT_OF("b"));
    return MS_OK;
}

static ms_status begin(ms_text partition, const ms_binary *position, ms_call *call)
{
    const settings *settings = call->config;
    next = position ? strtoll(ms_format("%.*s", (int)position->length, (const char *)position->data).data, NULL, 10) : 0;
    snprintf(partition_name, sizeof partition_name, "%.*s", MS_PRINT(partition));
    if (settings->address.length) {
        ms_net net = ms_stream_connect(call, &stream, settings->address, 10, 1000);
        return net == MS_NET_OK ? MS_OK : ms_net_fail(call, net);
    }
    return MS_OK;
}

/* Reads a line as rows up to its length, or one record of two bytes as a row with its bytes. */
static ms_status read_stream(ms_poll *poll, ms_out *out, ms_call *call)
{
    ms_binary bytes;
    bool is_record = strcmp(partition_name, "records") == 0;
    if (is_record && ms_next_bytes(call, &stream, 1, true, poll->wait_ms, &bytes) == MS_NET_OK)
        ms_assert(bytes.data[0] == 'x');
    ms_net net = is_record ? ms_next_bytes(call, &stream, 2, false, poll->wait_ms, &bytes)
                           : ms_next_line(call, &stream, poll->wait_ms, &bytes);
    if (net == MS_NET_TIMEOUT) {
        poll->next = MS_PAUSE;
        poll->pause_ms = 7;
        return MS_OK;
    }
    if (net != MS_NET_OK)
        return ms_net_fail(call, net);
    number_push(out, (number){(int64_t)bytes.length, {(const char *)bytes.data, bytes.length}});
    return MS_OK;
}

static ms_status read_next(ms_poll *poll, ms_out *out, ms_call *call)
{
    const settings *settings = call->config;
    if (settings->address.length)
        return read_stream(poll, out, call);
    for (; next < settings->up_to && ms_left(poll); next++) {
        if (next % 10 == 7)
            ms_refuse(poll, (ms_binary){(const uint8_t *)"7", 1}, "a seven, as %lld", (long long)next);
        else
            number_push(out, (number){next, {partition_name, strlen(partition_name)}});
    }
    ms_position_text(poll, "%lld", (long long)next);
    poll->next = next < settings->up_to ? MS_READY : MS_ENDED;
    return MS_OK;
}

static ms_status durable(ms_binary position, ms_call *call)
{
    (void)call;
    snprintf(durable_position, sizeof durable_position, "%.*s", (int)position.length, (const char *)position.data);
    return MS_OK;
}

MS_SOURCE(number, MS_READS(.check = check, .partitions = list, .open = begin, .poll = read_next, .durable = durable),
          MS_CONFIG(settings, read_settings));

static void positions(void)
{
    ms_test test = {.config = "{'up_to': 9}"};
    MS_EXPECT_JSON(ms_test_partitions(&test).rows, "['a', 'b']");
    MS_EXPECT(ms_test_open(&test, "a", NULL).error == NULL);
    ms_polled first = ms_test_poll(&test, 2, 10);
    MS_EXPECT_JSON(first.rows, "[{'n': 0, 'of': 'a'}, {'n': 1, 'of': 'a'}]");
    MS_EXPECT(first.next == MS_READY && strcmp(first.position, "2") == 0);
    ms_test_open(&test, "b", "6");
    ms_polled rest = ms_test_poll(&test, 9, 10);
    MS_EXPECT_JSON(rest.rows, "[{'n': 6, 'of': 'b'}, {'n': 8, 'of': 'b'}]");
    MS_EXPECT_JSON(rest.refused, "[{'data': '7', 'reason': 'a seven, as 7'}]");
    MS_EXPECT(rest.next == MS_ENDED && strcmp(rest.position, "9") == 0);
    MS_EXPECT(ms_test_durable(&test, "5").error == NULL && strcmp(durable_position, "5") == 0);
    MS_EXPECT(ms_test_published(&test, "5").error == NULL);
    ms_test wrong = {.config = "{'up_to': -1}"};
    MS_EXPECT(strcmp(ms_test_open(&wrong, "", NULL).error, "config: there are no such numbers") == 0);
    ms_test nowhere = {.config = "{'address': 'nowhere'}"};
    MS_EXPECT(strstr(ms_test_open(&nowhere, "", NULL).error, "`nowhere` is not an address") != NULL);
}

static int server;

static int accepted(ms_test *test, const char *partition)
{
    MS_EXPECT(ms_test_open(test, partition, NULL).error == NULL);
    return accept(server, NULL, NULL);
}

static void sends(int connection, const char *text)
{
    MS_EXPECT(write(connection, text, strlen(text)) == (ssize_t)strlen(text));
}

static void streams(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    char config[64];
    server = socket(AF_INET, SOCK_STREAM, 0);
    MS_EXPECT(bind(server, (struct sockaddr *)&address, sizeof address) == 0 && listen(server, 2) == 0);
    getsockname(server, (struct sockaddr *)&address, &length);
    snprintf(config, sizeof config, "{'address': '127.0.0.1:%d'}", ntohs(address.sin_port));
    ms_test test = {.config = config};
    int connection = accepted(&test, "lines");
    ms_polled nothing = ms_test_poll(&test, 9, 10);
    MS_EXPECT(nothing.next == MS_PAUSE && nothing.pause_ms == 7 && nothing.position == NULL);
    sends(connection, "one\r\n\ntw");
    MS_EXPECT_JSON(ms_test_poll(&test, 9, 5000).rows, "[{'n': 3, 'of': 'one'}]");
    MS_EXPECT_JSON(ms_test_poll(&test, 9, 5000).rows, "[{'n': 0, 'of': ''}]");
    MS_EXPECT_JSON(ms_test_poll(&test, 9, 10).rows, "[]");
    sends(connection, "o\na longer line");
    MS_EXPECT_JSON(ms_test_poll(&test, 9, 5000).rows, "[{'n': 3, 'of': 'two'}]");
    ms_polled longer = ms_test_poll(&test, 9, 5000);
    /* The last data may arrive in two pieces. */
    while (!longer.error)
        longer = ms_test_poll(&test, 9, 5000);
    MS_EXPECT(strcmp(longer.error, "internal: a line of more than 10 bytes") == 0);
    close(connection);

    connection = accepted(&test, "records");
    sends(connection, "xax");
    MS_EXPECT_JSON(ms_test_poll(&test, 9, 5000).rows, "[{'n': 2, 'of': 'xa'}]");
    MS_EXPECT_JSON(ms_test_poll(&test, 9, 10).rows, "[]");
    sends(connection, "b");
    MS_EXPECT_JSON(ms_test_poll(&test, 9, 5000).rows, "[{'n': 2, 'of': 'xb'}]");
    close(connection);
    MS_EXPECT(strcmp(ms_test_poll(&test, 9, 5000).error, "internal: the other side has closed the connection") == 0);
    close(server);
}

static bool is_utf8(const char *text)
{
    return ms_text_is_utf8((ms_text){text, strlen(text)});
}

static void texts(void)
{
    MS_EXPECT(is_utf8("") && is_utf8("plain") && is_utf8("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80") &&
              is_utf8("\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf"));
    MS_EXPECT(!is_utf8("\xff") && !is_utf8("a\x80") && !is_utf8("\xc3") && !is_utf8("\xc0\xaf") && !is_utf8("\xe0\x9f\xbf") &&
              !is_utf8("\xed\xa0\x80") && !is_utf8("\xf0\x8f\xbf\xbf") && !is_utf8("\xf4\x90\x80\x80") &&
              !is_utf8("\xe2\x82") && !is_utf8("\xe2\x28\xa1"));
}

int main(void)
{
    positions();
    streams();
    texts();
    return ms_test_end();
}
