// bad_server - an echo server that goes wrong, for the tests of the load
//
//     bad_server HOW AFTER
//
// Sends back what comes, but on every connection for byte number AFTER:
//
//     wrong     sends back another
//     missing   sends back none
//     double    sends it twice
//     hangup    sends it back, and hangs up
//     silent    sends nothing back from there on
//     stays     sends it back, and never hangs up
#include "net.h"
#include "say.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 64, CHUNK = 4096 };

struct visitor {
    int fd;
    size_t seen;
};

// False when this visitor is let go.
static bool serve(struct visitor *visitor, const char *how, size_t after)
{
    char in[CHUNK], out[CHUNK + 1];
    ssize_t got = recv(visitor->fd, in, CHUNK, 0);
    if (got <= 0)
        return strcmp(how, "stays") == 0;
    size_t n = 0;
    bool stays = true;
    for (ssize_t i = 0; i < got && stays; i++, visitor->seen++) {
        if (strcmp(how, "silent") == 0 && visitor->seen >= after)
            continue;
        out[n++] = in[i];
        if (visitor->seen != after)
            continue;
        if (strcmp(how, "wrong") == 0)
            out[n - 1] ^= 1;
        else if (strcmp(how, "double") == 0)
            out[n++] = in[i];
        else if (strcmp(how, "missing") == 0)
            n--;
        else
            stays = strcmp(how, "hangup") != 0;
    }
    if (n > 0)
        send(visitor->fd, out, n, MSG_NOSIGNAL);
    return stays;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        fail(0, "usage: bad_server HOW AFTER");
    size_t after = strtoul(argv[2], NULL, 10);
    struct visitor visitors[MOST];
    struct pollfd polls[1 + MOST];
    size_t open = 0;
    polls[0] = (struct pollfd){.fd = tcp_listen(0, 0), .events = POLLIN};
    for (;;) {
        if (poll(polls, 1 + open, -1) < 0 && errno != EINTR)
            fail(errno, "poll");
        for (size_t v = open; v-- > 0;) {
            if (polls[1 + v].revents == 0 ||
                serve(&visitors[v], argv[1], after))
                continue;
            close(visitors[v].fd);
            open--;
            visitors[v] = visitors[open];
            polls[1 + v] = polls[1 + open];
        }
        if (polls[0].revents != 0 && open < MOST) {
            visitors[open] =
                (struct visitor){accept(polls[0].fd, NULL, NULL), 0};
            polls[1 + open] =
                (struct pollfd){.fd = visitors[open].fd, .events = POLLIN};
            open++;
        }
    }
}
