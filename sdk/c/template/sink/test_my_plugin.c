/* Runs the sink here, with a server of the test: `make test`. */
#include <millstream/test.h>

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* For each connection: what the server replies, and what it must receive. It sends all replies in advance. */
static const struct {
    const char *replies;
    const char *requests;
} connections[] = {
    {"LAST 0\nLAST 3\n", "OPEN job/out 1\nBEGIN 3\nROW a 1.5\nCOMMIT 3\nBEGIN 4\nROW d 4\n"},
    {"LAST 3\n", "LAST job/out\n"},
    {"LAST 3\nLAST 4\n", "OPEN job/out 2\nBEGIN 4\nROW e 5\nCOMMIT 4\n"},
    {"LOST\n", "OPEN job/out 1\n"},
};
#define CONNECTIONS (sizeof connections / sizeof connections[0])

/* Runs the server in a separate process. Returns 0 if it received what is expected. */
static int serve(int server)
{
    int open[CONNECTIONS], wrong = 0;
    for (size_t i = 0; i < CONNECTIONS; i++) {
        const char *replies = connections[i].replies;
        open[i] = accept(server, NULL, NULL);
        wrong |= write(open[i], replies, strlen(replies)) != (ssize_t)strlen(replies);
    }
    for (size_t i = 0; i < CONNECTIONS; i++) {
        const char *expected = connections[i].requests;
        char received[256] = "";
        size_t length = 0;
        ssize_t more = 1;
        while (length < strlen(expected) && more > 0)
            length += (size_t)(more = read(open[i], received + length, strlen(expected) - length));
        wrong |= more <= 0 || strcmp(received, expected) != 0;
    }
    return wrong;
}

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    char config[64];
    int server = socket(AF_INET, SOCK_STREAM, 0), status = 1;
    MS_EXPECT(bind(server, (struct sockaddr *)&address, sizeof address) == 0 && listen(server, CONNECTIONS) == 0);
    getsockname(server, (struct sockaddr *)&address, &length);
    snprintf(config, sizeof config, "{'address': '127.0.0.1:%d'}", ntohs(address.sin_port));
    pid_t child = fork();
    if (child == 0)
        _exit(serve(server));

    ms_test test = {.config = config};
    MS_EXPECT(ms_test_promise(&test) == MS_EXACTLY_ONCE);
    MS_EXPECT(ms_test_take_over(&test, "job", 1).batch == 0);
    ms_run first = ms_test_batch(&test, 3, "[{'name': 'a', 'amount': 1.5}, {'name': 'b c', 'amount': 2}]");
    MS_EXPECT_JSON(first.rejected, "[{'row': 1, 'reason': 'a name is one word'}]");
    /* The connection is lost in the middle of a batch. */
    MS_EXPECT(ms_test_begun(&test, 4, "[{'name': 'd', 'amount': 4}]").error == NULL);
    MS_EXPECT(ms_test_committed(&test, "job").batch == 3);
    MS_EXPECT(ms_test_take_over(&test, "job", 2).batch == 3);
    MS_EXPECT(ms_test_batch(&test, 4, "[{'name': 'e', 'amount': 5}]").error == NULL);
    MS_EXPECT(ms_test_take_over(&test, "job", 1).error != NULL);
    MS_EXPECT(waitpid(child, &status, 0) == child && status == 0);
    return ms_test_end();
}
