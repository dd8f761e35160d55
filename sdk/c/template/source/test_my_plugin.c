/* Runs the source here, with a server of the test: `make test`. */
#include <millstream/test.h>

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int server;

/* Serves one connection: checks the request, then sends the reply. */
static void serve(const char *expected, const char *reply)
{
    char request[64] = {0};
    int connection = accept(server, NULL, NULL);
    MS_EXPECT(read(connection, request, sizeof request - 1) > 0 && strcmp(request, expected) == 0);
    MS_EXPECT(write(connection, reply, strlen(reply)) == (ssize_t)strlen(reply));
    close(connection);
}

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    char config[64];
    server = socket(AF_INET, SOCK_STREAM, 0);
    MS_EXPECT(bind(server, (struct sockaddr *)&address, sizeof address) == 0 && listen(server, 2) == 0);
    getsockname(server, (struct sockaddr *)&address, &length);
    snprintf(config, sizeof config, "{'address': '127.0.0.1:%d'}", ntohs(address.sin_port));

    ms_test test = {.config = config};
    ms_test_open(&test, "", NULL);
    serve("FROM 0\n", "to\nbe\n\xff\nor\n");
    ms_polled first = ms_test_poll(&test, 2, 10000);
    MS_EXPECT_JSON(first.rows, "[{'number': 0, 'text': 'to'}, {'number': 1, 'text': 'be'}]");
    ms_test_open(&test, "", first.position);
    serve("FROM 2\n", "\xff\nor\n");
    ms_polled rest = ms_test_poll(&test, 9, 10000);
    MS_EXPECT_JSON(rest.rows, "[{'number': 3, 'text': 'or'}]");
    MS_EXPECT(strstr(rest.refused, "it is not valid UTF-8") != NULL);
    return ms_test_end();
}
