// epoll_server - the echo server that `make bench` compares the others with
//
//     epoll_server [PORT [VISITORS]]
//
// Sends back what each visitor sends, with epoll, and with the same guarantees
// as the servers of the chapters: no byte is lost, a visitor who does not
// listen is not listened to, memory has a bound. Runs for ever, or until
// VISITORS have come and gone.
#include "accept.h"
#include "args.h"
#include "net.h"
#include "rlimit.h"
#include "say.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 16383, BUFFER = 4096, EVENTS = 512, ROUNDS = 16 };

// An event's data is the place of its connection, or this.
enum { LISTENER = MOST };

// Set once for a connection, and never changed.
static const uint32_t conn_events =
    EPOLLIN | EPOLLOUT | EPOLLRDHUP | (uint32_t)EPOLLET;

// A connection. One epoll_wait tells of a descriptor once at most, and closing
// takes it out of the set: so when let_go() gives the place away, no event of
// this turn is still to come for it.
struct conn {
    int fd;             // ours to close
    uint32_t next_free; // while the place is free
    size_t start, end;  // the bytes of `buffer` that are read and not yet sent
    size_t echoed;
    char buffer[BUFFER];
};

struct server {
    int epoll, listener;
    bool listening; // the listener's events are asked for
    bool full;      // no descriptor was left; wait until a connection closes
    long to_come;   // visitors still to be accepted; negative: no end
    unsigned open;  // connections
    unsigned used;  // places that were ever used
    uint32_t free;  // a free one of them; MOST: none
    struct conn *conns;
};

// Adding a descriptor fails where the system has no room for one more.
static int watch(struct server *server, int how, int fd, uint32_t events,
                 uint32_t place)
{
    struct epoll_event event = {.events = events, .data.u32 = place};
    int ret = epoll_ctl(server->epoll, how, fd, &event);
    if (ret < 0 && errno != ENOMEM && errno != ENOSPC)
        fail(errno, "epoll_ctl");
    return ret;
}

static void let_go(struct server *server, struct conn *conn)
{
    say("   descriptor %d has left, %zu bytes echoed", conn->fd, conn->echoed);
    close(conn->fd);
    conn->next_free = server->free;
    server->free = (uint32_t)(conn - server->conns);
    server->open--;
    server->full = false;
}

// The connection is ready. Edge-triggered: that is told once, so we go on until
// the socket has no more, or takes no more. A short read says so too, unless
// the visitor has hung up: the end itself is still to be read. Reads only when
// all that was read before has been sent: a visitor who does not listen is not
// listened to. After ROUNDS the others have their turn, and MOD makes the
// kernel tell again what is still ready.
static void serve(struct server *server, struct conn *conn, uint32_t events)
{
    bool hung_up = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    for (int round = 0; round < ROUNDS; round++) {
        bool more = true;
        if (conn->start == conn->end) {
            ssize_t got =
                TEMP_FAILURE_RETRY(recv(conn->fd, conn->buffer, BUFFER, 0));
            if (got < 0 && errno == EAGAIN)
                return;
            if (got <= 0) {
                let_go(server, conn);
                return;
            }
            conn->start = 0;
            conn->end = (size_t)got;
            more = got == BUFFER || hung_up;
        }
        ssize_t sent =
            TEMP_FAILURE_RETRY(send(conn->fd, conn->buffer + conn->start,
                                    conn->end - conn->start, MSG_NOSIGNAL));
        if (sent < 0 && errno != EAGAIN) {
            let_go(server, conn);
            return;
        }
        if (sent > 0) {
            conn->start += (size_t)sent;
            conn->echoed += (size_t)sent;
        }
        if (conn->start < conn->end || !more)
            return;
    }
    watch(server, EPOLL_CTL_MOD, conn->fd, conn_events,
          (uint32_t)(conn - server->conns));
}

static void welcome(struct server *server, int fd)
{
    uint32_t place = server->free;
    if (place != MOST)
        server->free = server->conns[place].next_free;
    else
        place = server->used++;
    struct conn *conn = &server->conns[place];
    conn->fd = fd;
    conn->start = conn->end = conn->echoed = 0;
    server->open++;
    say("   a visitor on descriptor %d, %u here now", fd, server->open);
    if (watch(server, EPOLL_CTL_ADD, fd, conn_events, place) < 0)
        let_go(server, conn);
}

// Takes everybody out of the backlog for whom there is room. Without a
// descriptor the rest stay there.
static void accept_all(struct server *server)
{
    while (server->to_come != 0 && server->open < MOST) {
        int fd = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK);
        if (fd >= 0) {
            server->to_come--;
            welcome(server, fd);
        } else if (no_room(errno)) {
            if (server->open == 0)
                fail(errno, "accept, with nobody here who could leave");
            say("   no descriptor left: whoever comes now waits in the "
                "backlog");
            server->full = true;
            return;
        } else {
            if (errno != EAGAIN && !visitor_lost(errno))
                fail(errno, "accept");
            return;
        }
    }
}

// Level-triggered: it is listened to only while a visitor could be taken, or
// its event would come again and again.
static void listen_while_there_is_room(struct server *server)
{
    bool room = !server->full && server->to_come != 0 && server->open < MOST;
    if (room != server->listening)
        watch(server, EPOLL_CTL_MOD, server->listener, room ? EPOLLIN : 0,
              LISTENER);
    server->listening = room;
}

int main(int argc, char **argv)
{
    // 1. The listener, the set, and places for connections. They cost memory
    //    when they are first used.
    struct server server = {.free = MOST};
    uint16_t port = server_arguments(argc, argv, &server.to_come);
    if (server.to_come == 0)
        server.to_come = -1;
    raise_descriptor_limit();
    server.listener = tcp_listen(port, SOCK_NONBLOCK);
    server.epoll = epoll_create1(0);
    if (server.epoll < 0)
        fail(errno, "epoll_create1");
    if (watch(&server, EPOLL_CTL_ADD, server.listener, 0, LISTENER) < 0)
        fail(errno, "epoll_ctl");
    server.conns = calloc(MOST, sizeof *server.conns);
    if (server.conns == NULL)
        fail(errno, "calloc");
    say("1. at most %d connections, %zu bytes for each: %zu KB", MOST,
        sizeof(struct conn), MOST * sizeof(struct conn) / 1024);

    while (server.to_come != 0 || server.open > 0) {
        // 2. Sleep until something is ready, and act on all that is.
        listen_while_there_is_room(&server);
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(server.epoll, events, EVENTS, -1);
        if (ready < 0 && errno != EINTR)
            fail(errno, "epoll_wait");
        for (int i = 0; i < ready; i++) {
            if (events[i].data.u32 == LISTENER)
                accept_all(&server);
            else
                serve(&server, &server.conns[events[i].data.u32],
                      events[i].events);
        }
    }

    close(server.epoll);
    close(server.listener);
    free(server.conns);
    return 0;
}
