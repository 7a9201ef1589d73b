// client - visitors for the servers' tests, who check every byte they get back
//
//     client PORT HOW N [M]
//
// clang-format off
//     echo N BYTES   N at once, each sends BYTES and reads at the same time;
//                    hangs up its side, hears the end
//     late N BYTES   the same, but nobody reads before the server takes no more
//     narrow N BYTES as late, through sockets that have room for little: the
//                    server's sends are cut short
//     talk N TIMES   N at once, each sends 64 bytes, TIMES times, and the next
//                    when the last has come back
//     drip N         sends N bytes, each when the last has come back
//     reset N        N come and reset their connection in the middle of a message
//     unread BYTES   sends until the server takes no more, reads nothing, and
//                    stays until standard input ends
//     later BYTES    the same, but reads after that, until the server hangs up
//     until N        N at once, who send and read until the server hangs up its
//                    side: all that came back was sent
//     chat N LINES   a speaker says LINES lines of 1,000 bytes, N others hear
//                    each; one there never reads. All stay until standard input
//                    ends
//     ask N TIMES    N at once, each asks a question of 9 bytes, hears a line and
//                    the end, and comes again, TIMES times
//     address N      N at once; each must be told its own address:
//                    "hello, 127.0.0.1:PORT"
//     deaf           comes with room for little, and reads nothing until standard
//                    input says how many bytes to; prints these
//     hold N         N come and stay, saying nothing, until standard input ends
// clang-format on
//
// One line on standard output says what happened, and exit 0 that every byte
// came back; otherwise the first fault is named on standard error, exit 1.
// Gives up after 30 seconds without progress; and is ended by SIGALRM after a
// minute, or PATIENCE minutes where the environment says so.
#include "rlimit.h"
#include "say.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 65536, PATIENCE_MS = 30000, STALLED_MS = 500 };

// How much room a visitor's socket has for what comes; 0: the kernel chooses.
static int room;

struct visitor {
    int fd;
    size_t sent, received;
    bool shut, done;
};

// Byte i of what visitor v says: no short period, and another for each.
static unsigned char byte_at(size_t v, size_t i)
{
    return (unsigned char)(i * 131 + (i >> 8) * 7 + (i >> 16) + v * 17);
}

static void until_input_ends(void)
{
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
}

static int come(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0)
        fail(errno, "socket");
    if (room > 0 &&
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room) < 0)
        fail(errno, "setsockopt SO_RCVBUF");
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    while (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        if (errno != EINTR)
            fail(errno, "connect to port %d", port);
    return fd;
}

static struct visitor *all_come(uint16_t port, size_t n)
{
    raise_descriptor_limit();
    struct visitor *visitors = calloc(n, sizeof *visitors);
    if (visitors == NULL)
        fail(errno, "calloc");
    for (size_t v = 0; v < n; v++)
        visitors[v].fd = come(port);
    return visitors;
}

// Sends what the socket takes. False when it takes nothing now.
static bool send_some(struct visitor *visitor, size_t v, size_t bytes)
{
    unsigned char chunk[CHUNK];
    size_t n = bytes - visitor->sent < CHUNK ? bytes - visitor->sent : CHUNK;
    for (size_t i = 0; i < n; i++)
        chunk[i] = byte_at(v, visitor->sent + i);
    ssize_t sent = send(visitor->fd, chunk, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN)
        return false;
    if (sent < 0)
        fail(errno, "visitor %zu, send after %zu bytes", v, visitor->sent);
    visitor->sent += (size_t)sent;
    return true;
}

// Reads what is there and compares it. Sets `done` at the server's end.
static void receive_until_end(struct visitor *visitor, size_t v)
{
    unsigned char chunk[CHUNK];
    ssize_t got = recv(visitor->fd, chunk, sizeof chunk, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got < 0)
        fail(errno, "visitor %zu, recv after %zu bytes", v, visitor->received);
    for (size_t i = 0; i < (size_t)got; i++)
        if (chunk[i] != byte_at(v, visitor->received + i))
            fail(0, "visitor %zu: byte %zu is wrong", v, visitor->received + i);
    visitor->received += (size_t)got;
    if (visitor->received > visitor->sent)
        fail(0, "visitor %zu: more than the %zu bytes that it sent", v,
             visitor->sent);
    visitor->done = got == 0;
}

// The same where all of `bytes` must come back before the end.
static void receive_some(struct visitor *visitor, size_t v, size_t bytes)
{
    receive_until_end(visitor, v);
    if (visitor->done && visitor->received < bytes)
        fail(0, "visitor %zu: hung up after %zu of %zu bytes", v,
             visitor->received, bytes);
}

// Waits for any of them, up to `ms`. False when nothing happened.
static bool wait_for(struct visitor *visitors, struct pollfd *polls, size_t n,
                     size_t bytes, bool reading, int ms)
{
    for (size_t v = 0; v < n; v++) {
        polls[v].fd = visitors[v].done ? -1 : visitors[v].fd;
        polls[v].events = 0;
        if (reading)
            polls[v].events |= POLLIN;
        if (visitors[v].sent < bytes)
            polls[v].events |= POLLOUT;
    }
    int ready = poll(polls, n, ms);
    if (ready < 0 && errno != EINTR)
        fail(errno, "poll");
    return ready != 0;
}

// Who has sent all says so: the server hears an end, and still may answer.
static void hang_up_their_side(struct visitor *visitors, size_t n, size_t bytes)
{
    for (size_t v = 0; v < n; v++) {
        if (visitors[v].shut || visitors[v].sent < bytes)
            continue;
        if (shutdown(visitors[v].fd, SHUT_WR) < 0)
            fail(errno, "visitor %zu, shutdown", v);
        visitors[v].shut = true;
    }
}

static void echo(uint16_t port, size_t n, size_t bytes, bool late)
{
    struct visitor *visitors = all_come(port, n);
    struct pollfd *polls = calloc(n, sizeof *polls);
    if (polls == NULL)
        fail(errno, "calloc");

    size_t before_reading = 0;
    if (late) {
        while (wait_for(visitors, polls, n, bytes, false, STALLED_MS)) {
            bool sending = false;
            for (size_t v = 0; v < n; v++)
                if (visitors[v].sent < bytes && polls[v].revents & POLLOUT)
                    sending |= send_some(&visitors[v], v, bytes);
            if (!sending)
                break;
        }
        for (size_t v = 0; v < n; v++)
            before_reading += visitors[v].sent;
        say("%zu bytes sent before the first was read", before_reading);
    }

    for (size_t left = n; left > 0;) {
        hang_up_their_side(visitors, n, bytes);
        if (!wait_for(visitors, polls, n, bytes, true, PATIENCE_MS))
            fail(0, "no progress for %d seconds: %zu of %zu visitors wait",
                 PATIENCE_MS / 1000, left, n);
        for (size_t v = 0; v < n; v++) {
            struct visitor *visitor = &visitors[v];
            if (visitor->done || polls[v].revents == 0)
                continue;
            if (visitor->sent < bytes && polls[v].revents & POLLOUT)
                send_some(visitor, v, bytes);
            if (polls[v].revents & (POLLIN | POLLHUP | POLLERR))
                receive_some(visitor, v, bytes);
            left -= visitor->done;
        }
    }
    for (size_t v = 0; v < n; v++)
        close(visitors[v].fd);
    free(visitors);
    free(polls);
    say("%zu visitors, %zu bytes each: every byte came back", n, bytes);
}

// Sends and reads until the server hangs up its side. A reset before that fails
// the test: what the server has taken must come back first.
static void until(uint16_t port, size_t n)
{
    struct visitor *visitors = all_come(port, n);
    struct pollfd *polls = calloc(n, sizeof *polls);
    if (polls == NULL)
        fail(errno, "calloc");
    say("%zu visitors are here", n);
    size_t back = 0;
    for (size_t left = n; left > 0;) {
        if (!wait_for(visitors, polls, n, SIZE_MAX, true, PATIENCE_MS))
            fail(0, "no progress for %d seconds: %zu of %zu visitors wait",
                 PATIENCE_MS / 1000, left, n);
        for (size_t v = 0; v < n; v++) {
            struct visitor *visitor = &visitors[v];
            if (visitor->done || polls[v].revents == 0)
                continue;
            if (polls[v].revents & POLLOUT)
                send_some(visitor, v, SIZE_MAX);
            if (polls[v].revents & (POLLIN | POLLHUP | POLLERR))
                receive_until_end(visitor, v);
            if (!visitor->done)
                continue;
            back += visitor->received;
            close(visitor->fd);
            left--;
        }
    }
    free(visitors);
    free(polls);
    say("%zu visitors until the end: %zu bytes came back", n, back);
}

// All visitors' next message, then all of them back.
static void talk(uint16_t port, size_t n, size_t times)
{
    enum { MESSAGE = 64 };
    struct visitor *visitors = all_come(port, n);
    for (size_t i = 0; i < times; i++) {
        for (size_t v = 0; v < n; v++)
            while (visitors[v].sent < (i + 1) * MESSAGE)
                send_some(&visitors[v], v, (i + 1) * MESSAGE);
        for (size_t v = 0; v < n; v++) {
            while (visitors[v].received < (i + 1) * MESSAGE) {
                struct pollfd poll_in = {.fd = visitors[v].fd,
                                         .events = POLLIN};
                if (poll(&poll_in, 1, PATIENCE_MS) != 1)
                    fail(0, "visitor %zu: message %zu does not come back", v,
                         i);
                receive_some(&visitors[v], v, (i + 1) * MESSAGE);
            }
        }
    }
    for (size_t v = 0; v < n; v++)
        close(visitors[v].fd);
    free(visitors);
    say("%zu visitors, %zu messages each: every byte came back", n, times);
}

static void drip(uint16_t port, size_t bytes)
{
    int fd = come(port);
    for (size_t i = 0; i < bytes; i++) {
        unsigned char out = byte_at(0, i), in = 0;
        if (send(fd, &out, 1, MSG_NOSIGNAL) != 1)
            fail(errno, "send of byte %zu", i);
        struct pollfd poll_in = {.fd = fd, .events = POLLIN};
        if (poll(&poll_in, 1, PATIENCE_MS) != 1)
            fail(0, "byte %zu does not come back", i);
        if (recv(fd, &in, 1, 0) != 1 || in != out)
            fail(0, "byte %zu of %zu is wrong", i, bytes);
    }
    close(fd);
    say("%zu bytes, one at a time: every byte came back", bytes);
}

// SO_LINGER with no time makes close() reset the connection. tcp(7)
static void reset(uint16_t port, size_t n)
{
    struct visitor *visitors = all_come(port, n);
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    for (size_t v = 0; v < n; v++) {
        int fd = visitors[v].fd;
        send_some(&visitors[v], v, 1000);
        if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now) < 0)
            fail(errno, "setsockopt SO_LINGER");
        close(fd);
    }
    free(visitors);
    say("%zu visitors reset their connection", n);
}

// Hears `size` bytes and compares them with what the speaker said.
static void hear(int fd, size_t v, const unsigned char *said, size_t size)
{
    unsigned char heard[CHUNK];
    for (size_t n = 0; n < size;) {
        struct pollfd poll_in = {.fd = fd, .events = POLLIN};
        if (poll(&poll_in, 1, PATIENCE_MS) != 1)
            fail(0, "visitor %zu has heard nothing for 30 seconds", v);
        ssize_t got = recv(fd, heard, size - n, 0);
        if (got <= 0)
            fail(got < 0 ? errno : 0, "visitor %zu: the chat hung up", v);
        if (memcmp(heard, said + n, (size_t)got) != 0)
            fail(0, "visitor %zu heard \"%.*s\", expected \"%.*s\"", v,
                 (int)got, heard, (int)size, said);
        n += (size_t)got;
    }
}

static void chat(uint16_t port, size_t n, size_t lines)
{
    enum { LINE = 1000 };
    struct visitor *listeners = all_come(port, n);
    int mute = come(port), small = 4096, speaker = come(port);
    if (setsockopt(mute, SOL_SOCKET, SO_RCVBUF, &small, sizeof small) < 0)
        fail(errno, "setsockopt SO_RCVBUF");
    for (size_t i = 0; i < lines; i++) {
        unsigned char line[LINE];
        for (size_t b = 0; b < LINE; b++)
            line[b] = byte_at(i, b);
        for (size_t sent = 0; sent < LINE;) {
            ssize_t some =
                send(speaker, line + sent, LINE - sent, MSG_NOSIGNAL);
            if (some < 0)
                fail(errno, "the speaker's send of line %zu", i);
            sent += (size_t)some;
        }
        for (size_t v = 0; v < n; v++)
            hear(listeners[v].fd, v, line, LINE);
    }
    char echo;
    if (recv(speaker, &echo, 1, MSG_DONTWAIT) != -1 || errno != EAGAIN)
        fail(0, "the speaker heard something, or was let go");
    say("%zu visitors heard %zu lines, and the speaker none", n, lines);
    // all stay: whoever has been let go by now was not let go by themselves
    until_input_ends();
    close(speaker);
    close(mute);
    for (size_t v = 0; v < n; v++)
        close(listeners[v].fd);
    free(listeners);
}

static void address(uint16_t port, size_t n)
{
    struct visitor *visitors = all_come(port, n);
    for (size_t v = 0; v < n; v++) {
        struct sockaddr_in own;
        socklen_t size = sizeof own;
        if (getsockname(visitors[v].fd, (struct sockaddr *)&own, &size) < 0)
            fail(errno, "getsockname");
        char expected[64];
        int length = snprintf(expected, sizeof expected,
                              "hello, 127.0.0.1:%d\n", ntohs(own.sin_port));
        hear(visitors[v].fd, v, (unsigned char *)expected, (size_t)length);
        close(visitors[v].fd);
    }
    free(visitors);
    say("%zu visitors were told their own address", n);
}

// Hears until the end. Whether that was a line.
static bool answered(int fd)
{
    char line[CHUNK];
    size_t n = 0;
    for (;;) {
        struct pollfd poll_in = {.fd = fd, .events = POLLIN};
        if (poll(&poll_in, 1, PATIENCE_MS) != 1)
            fail(0, "a visitor has heard nothing for 30 seconds");
        ssize_t got = recv(fd, line + n, sizeof line - n, 0);
        if (got <= 0) {
            close(fd);
            return got == 0 && n > 1 && line[n - 1] == '\n';
        }
        n += (size_t)got;
    }
}

// While one is answered, the others' questions are under way.
static void ask(uint16_t port, size_t n, size_t times)
{
    struct visitor *visitors = all_come(port, n);
    size_t unanswered = 0;
    for (size_t i = 0; i < n * times; i++) {
        int *fd = &visitors[i % n].fd;
        if (i >= n) {
            unanswered += !answered(*fd);
            *fd = come(port);
        }
        if (send(*fd, "question\n", 9, MSG_NOSIGNAL) != 9)
            fail(errno, "send of question %zu", i);
    }
    for (size_t v = 0; v < n; v++)
        unanswered += !answered(visitors[v].fd);
    free(visitors);
    say("%zu questions, %zu without an answer", n * times, unanswered);
    if (unanswered > 0)
        fail(0, "who asked did not hear a line");
}

static void unread(uint16_t port, size_t bytes, bool later)
{
    struct visitor visitor = {.fd = come(port)};
    struct pollfd polled = {.fd = visitor.fd, .events = POLLOUT};
    while (visitor.sent < bytes && poll(&polled, 1, STALLED_MS) == 1)
        send_some(&visitor, 0, bytes);
    say("%zu bytes sent, and none read", visitor.sent);
    until_input_ends();
    polled.events = POLLIN;
    while (later && !visitor.done) {
        if (poll(&polled, 1, PATIENCE_MS) != 1)
            fail(0, "no progress for %d seconds", PATIENCE_MS / 1000);
        receive_until_end(&visitor, 0);
    }
    close(visitor.fd);
    if (later)
        say("until the end: %zu bytes came back", visitor.received);
}

static void deaf(uint16_t port)
{
    room = 2048;
    int fd = come(port);
    size_t wanted;
    if (scanf("%zu", &wanted) != 1)
        fail(0, "standard input: not a number of bytes");
    while (wanted > 0) {
        char chunk[CHUNK];
        size_t most = wanted < sizeof chunk ? wanted : sizeof chunk;
        ssize_t got = recv(fd, chunk, most, 0);
        if (got <= 0)
            fail(got < 0 ? errno : 0, "%zu bytes are missing", wanted);
        fwrite(chunk, 1, (size_t)got, stdout);
        wanted -= (size_t)got;
    }
    close(fd);
}

static void hold(uint16_t port, size_t n)
{
    struct visitor *visitors = all_come(port, n);
    say("%zu visitors are here", n);
    until_input_ends();
    for (size_t v = 0; v < n; v++)
        close(visitors[v].fd);
    free(visitors);
}

int main(int argc, char **argv)
{
    const char *how = argc > 2 ? argv[2] : "";
    size_t n = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
    size_t bytes = argc > 4 ? strtoul(argv[4], NULL, 10) : 0;
    uint16_t port = argc > 1 ? (uint16_t)strtoul(argv[1], NULL, 10) : 0;

    const char *patience = getenv("PATIENCE");
    alarm(60 * (patience ? (unsigned)strtoul(patience, NULL, 10) : 1));

    if (argc == 5 && strcmp(how, "echo") == 0)
        echo(port, n, bytes, false);
    else if (argc == 5 && strcmp(how, "late") == 0)
        echo(port, n, bytes, true);
    else if (argc == 5 && strcmp(how, "narrow") == 0) {
        room = 2048;
        echo(port, n, bytes, true);
    } else if (argc == 5 && strcmp(how, "chat") == 0)
        chat(port, n, bytes);
    else if (argc == 5 && strcmp(how, "talk") == 0)
        talk(port, n, bytes);
    else if (argc == 5 && strcmp(how, "ask") == 0)
        ask(port, n, bytes);
    else if (argc == 4 && strcmp(how, "drip") == 0)
        drip(port, n);
    else if (argc == 4 && strcmp(how, "reset") == 0)
        reset(port, n);
    else if (argc == 4 && strcmp(how, "unread") == 0)
        unread(port, n, false);
    else if (argc == 4 && strcmp(how, "later") == 0)
        unread(port, n, true);
    else if (argc == 4 && strcmp(how, "until") == 0)
        until(port, n);
    else if (argc == 4 && strcmp(how, "address") == 0)
        address(port, n);
    else if (argc == 4 && strcmp(how, "hold") == 0)
        hold(port, n);
    else if (argc == 3 && strcmp(how, "deaf") == 0)
        deaf(port);
    else
        fail(0, "usage: client PORT echo|late|narrow|talk|chat|ask N M, or "
                "drip|reset|unread|later|until|address|hold N, or deaf");
    return 0;
}
