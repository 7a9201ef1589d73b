// blocking_accept - wait for one visitor, asleep
//
//     blocking_accept [PORT]
//
// Listens on 127.0.0.1, sleeps in accept() until somebody connects, greets
// them, and says how long the thread waited and what CPU time that cost.
#include "args.h"
#include "say.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// A clock's reading in milliseconds. CLOCK_MONOTONIC is the time that passes;
// CLOCK_THREAD_CPUTIME_ID moves only while this thread is on a CPU.
static double now_ms(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t) < 0)
        fail(errno, "clock_gettime");
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int tcp_listen(uint16_t port, int flags)
{
    // A socket: one end of a conversation that has no other end yet.
    int listener = socket(AF_INET, SOCK_STREAM | flags, 0);
    if (listener < 0)
        fail(errno, "socket");

    // The port may be taken again while old connections are in TIME_WAIT.
    int yes = 1;
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0)
        fail(errno, "setsockopt SO_REUSEADDR");

    // Its address: this machine only.
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t size = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, size) < 0)
        fail(errno, "bind 127.0.0.1:%d", port);

    // From here on the kernel answers for us, and keeps whoever has come
    // waiting in a queue: the backlog.
    if (listen(listener, SOMAXCONN) < 0)
        fail(errno, "listen");

    // Port 0 asked the kernel to choose: which one is it?
    if (getsockname(listener, (struct sockaddr *)&address, &size) < 0)
        fail(errno, "getsockname");
    say("listening on 127.0.0.1:%d", ntohs(address.sin_port));
    return listener;
}

// Says the greeting to a visitor and hangs up. One who has left already costs
// nothing but their own connection: no SIGPIPE, no failure.
static void greet(int visitor, const char *greeting)
{
    size_t size = strlen(greeting);
    ssize_t sent = send(visitor, greeting, size, MSG_NOSIGNAL);
    if (sent == (ssize_t)size)
        say("   greeted the visitor on descriptor %d", visitor);
    else if (sent >= 0)
        say("   the visitor on descriptor %d heard a part of it", visitor);
    else
        say("   the visitor on descriptor %d has left", visitor);
    close(visitor);
}

int main(int argc, char **argv)
{
    // 1. Listen.
    int listener = tcp_listen(port_argument(argc, argv), 0);

    // 2. Take the first visitor out of the backlog; sleep while it is empty.
    say("2. accept(): asleep until somebody comes");
    double elapsed = now_ms(CLOCK_MONOTONIC);
    double cpu = now_ms(CLOCK_THREAD_CPUTIME_ID);
    struct sockaddr_in from;
    socklen_t size;
    int visitor;
    do {
        size = sizeof from;
        visitor = accept(listener, (struct sockaddr *)&from, &size);
    } while (visitor < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (visitor < 0)
        fail(errno, "accept");

    elapsed = now_ms(CLOCK_MONOTONIC) - elapsed;
    cpu = now_ms(CLOCK_THREAD_CPUTIME_ID) - cpu;
    say("   it returned descriptor %d: a visitor from 127.0.0.1:%d", visitor,
        ntohs(from.sin_port));
    say("   the thread waited %.1f ms and used %.3f ms of CPU time", elapsed,
        cpu);

    // 3. Say hello and hang up.
    say("3. send() and close()");
    greet(visitor, "hello from chapter 1\n");
    close(listener);
    return 0;
}
