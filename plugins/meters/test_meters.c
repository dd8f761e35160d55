/* Runs the source here, with a concentrator of the test: `make test`. */
#include <millstream/test.h>

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const uint8_t RECORDS[] =
    "\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\1" "\0\0\0\7" "\0\0\0\0" "\x3f\xf8\0\0\0\0\0\0"
    "\0\0\0\0\0\0\0\1" "\0\0\0\0\0\0\0\2" "\xff\xff\xff\xff" "\0\0\0\1" "\xc0\0\0\0\0\0\0\0"
    "\0\0\0\0\0\0\0\2" "\0\0\0\0\0\0\0\3" "\0\0\0\7" "\0\0\0\0" "\x7f\xf8\0\0\0\0\0\0"
    "\xff\xff\xff\xff\xff\xff\xff\xff" "\0\0\0\0\0\0\0\0" "\0\0\0\0" "\0\0\0\0" "\0\0\0\0\0\0\0\0";

static int server;

/* Whether the plugin says this. */
static bool says(int connection, const char *word, int number)
{
    uint8_t told[12], expected[12] = {0};
    memcpy(expected, word, 4);
    expected[11] = (uint8_t)number;
    return recv(connection, told, sizeof told, MSG_WAITALL) == sizeof told && memcmp(told, expected, sizeof told) == 0;
}

static void sends(int connection, size_t from, size_t to)
{
    MS_EXPECT(write(connection, RECORDS + from, to - from) == (ssize_t)(to - from));
}

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    char config[64], name[32];
    server = socket(AF_INET, SOCK_STREAM, 0);
    MS_EXPECT(bind(server, (struct sockaddr *)&address, sizeof address) == 0 && listen(server, 2) == 0);
    getsockname(server, (struct sockaddr *)&address, &length);
    snprintf(name, sizeof name, "127.0.0.1:%d", ntohs(address.sin_port));
    snprintf(config, sizeof config, "{'addresses': ['%s']}", name);

    ms_test test = {.config = config};
    MS_EXPECT(ms_test_open(&test, name, NULL).error == NULL);
    int connection = accept(server, NULL, NULL);
    MS_EXPECT(says(connection, "MTR1", 0));
    /* A record comes in pieces, and the connection breaks off within the next. */
    sends(connection, 0, 20);
    MS_EXPECT_JSON(ms_test_poll(&test, 9, 10).rows, "[]");
    sends(connection, 20, 40);
    MS_EXPECT_JSON(ms_test_poll(&test, 9, 5000).rows,
                   "[{'number': 0, 'at': 1, 'meter': 7, 'value': 1.5, 'is_estimated': false}]");
    close(connection);
    MS_EXPECT(strstr(ms_test_poll(&test, 9, 5000).error, "has closed the connection") != NULL);

    MS_EXPECT(strstr(ms_test_open(&test, name, "short").error, "invalid position of 5 bytes") != NULL);
    MS_EXPECT(ms_test_open(&test, name, NULL).error == NULL);
    connection = accept(server, NULL, NULL);
    MS_EXPECT(says(connection, "MTR1", 0));
    sends(connection, 0, sizeof RECORDS - 1);
    ms_polled all = ms_test_poll(&test, 9, 5000);
    MS_EXPECT_JSON(all.rows, "[{'number': 0, 'at': 1, 'meter': 7, 'value': 1.5, 'is_estimated': false},"
                             " {'number': 1, 'at': 2, 'meter': 4294967295, 'value': -2, 'is_estimated': true}]");
    MS_EXPECT(strstr(all.refused, "the value of meter 7 in record 2 is not a number") != NULL);
    MS_EXPECT(all.next == MS_ENDED);
    MS_EXPECT(strstr(ms_test_open(&(ms_test){.config = "{'addresses': []}"}, "", NULL).error, "is empty") != NULL);
    close(connection);
    close(server);
    return ms_test_end();
}
