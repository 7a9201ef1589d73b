// async_echo - a connection as a state machine, driven by completions
//
//     async_echo [PORT [VISITORS]]
//
// Sends back what each visitor sends. Accepting, receiving, sending and closing
// are all operations on the ring; the only system call left in the loop is the
// one that submits and waits. Runs for ever, or until VISITORS have come and
// gone.
#include "accept.h"
#include "args.h"
#include "feature.h"
#include "net.h"
#include "ring.h"
#include "rlimit.h"
#include "say.h"
#include "user_data.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

// With one operation in flight for each connection and one ACCEPT, there are
// never more than MOST + 1 completions: a CQ of that size cannot overflow.
enum { MOST = 16383, BUFFER = 4096 };

// What was asked for: the upper half of user_data. The lower is the place of
// the connection in server.conns.
enum { ACCEPT = 1, RECV, SEND, CLOSE };

// A connection. From welcome() to the CLOSE's completion exactly one operation
// is in flight, and while that is a RECV or a SEND, the buffer is the kernel's:
// nobody reads it, writes it or gives its place away before the CQE.
struct conn {
    int fd;             // the CLOSE in the end closes it
    uint32_t next_free; // while the place is free
    size_t start, end;  // the bytes of `buffer` that are received, not yet sent
    size_t echoed;
    char buffer[BUFFER];
};

struct server {
    struct io_uring ring;
    int listener;
    bool accepting; // an ACCEPT is in flight
    bool full;      // no descriptor was left; wait until a connection closes
    long to_come;   // visitors still to be accepted; negative: no end
    unsigned open;  // connections
    unsigned used;  // places that were ever used
    uint32_t free;  // a free one of them; MOST: none
    struct conn *conns;
};

static uint32_t place_of(const struct server *server, const struct conn *conn)
{
    return (uint32_t)(conn - server->conns);
}

// --- asking -----------------------------------------------------------------

static void ask_for_visitor(struct server *server)
{
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_accept(sqe, server->listener, NULL, NULL, 0);
    io_uring_sqe_set_data64(sqe, pack(ACCEPT, 0));
    server->accepting = true;
}

static void receive(struct server *server, struct conn *conn)
{
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_recv(sqe, conn->fd, conn->buffer, BUFFER, 0);
    io_uring_sqe_set_data64(sqe, pack(RECV, place_of(server, conn)));
}

static void send_rest(struct server *server, struct conn *conn)
{
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_send(sqe, conn->fd, conn->buffer + conn->start,
                       conn->end - conn->start, MSG_NOSIGNAL);
    io_uring_sqe_set_data64(sqe, pack(SEND, place_of(server, conn)));
}

static void hang_up(struct server *server, struct conn *conn)
{
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_close(sqe, conn->fd);
    io_uring_sqe_set_data64(sqe, pack(CLOSE, place_of(server, conn)));
}

// --- completions ------------------------------------------------------------

// Nothing happened: the same may be asked for again.
static bool ask_again(int res)
{
    return res == -EAGAIN || res == -EINTR;
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
    conn->echoed = 0;
    server->open++;
    say("   a visitor on descriptor %d, %u here now", fd, server->open);
    receive(server, conn);
}

// Without a descriptor the visitors stay in the backlog, and we stop asking.
static void accepted(struct server *server, int res)
{
    server->accepting = false;
    if (res >= 0) {
        server->to_come--;
        welcome(server, res);
    } else if (no_room(-res) && server->open > 0) {
        say("   no descriptor left: whoever comes now waits in the backlog");
        server->full = true;
    } else if (!ask_again(res) && !visitor_lost(-res)) {
        fail(-res, "ACCEPT");
    }
}

static void received(struct server *server, struct conn *conn, int res)
{
    if (res > 0) {
        conn->start = 0;
        conn->end = (size_t)res;
        send_rest(server, conn);
    } else if (ask_again(res)) {
        receive(server, conn);
    } else {
        hang_up(server, conn); // their end (0), or an error
    }
}

// A send may take less than it was given: the rest is sent next. Only then is
// more received, so a visitor who does not listen is not listened to.
static void sent(struct server *server, struct conn *conn, int res)
{
    if (res > 0) {
        conn->start += (size_t)res;
        conn->echoed += (size_t)res;
    }
    if (res <= 0 && !ask_again(res))
        hang_up(server, conn);
    else if (conn->start < conn->end)
        send_rest(server, conn);
    else
        receive(server, conn);
}

// The last completion of this connection: its place is free.
static void closed(struct server *server, struct conn *conn)
{
    say("   descriptor %d has left, %zu bytes echoed", conn->fd, conn->echoed);
    conn->next_free = server->free;
    server->free = place_of(server, conn);
    server->open--;
    server->full = false;
}

static void complete(struct server *server, uint64_t user_data, int res)
{
    struct conn *conn = &server->conns[index_of(user_data)];
    switch (kind_of(user_data)) {
    case ACCEPT:
        accepted(server, res);
        break;
    case RECV:
        received(server, conn, res);
        break;
    case SEND:
        sent(server, conn, res);
        break;
    case CLOSE:
        closed(server, conn);
        break;
    }
}

int main(int argc, char **argv)
{
    // 1. A listener that blocks, a ring, and places for connections. They cost
    //    memory when they are first used.
    struct server server = {.free = MOST};
    uint16_t port = server_arguments(argc, argv, &server.to_come);
    if (server.to_come == 0)
        server.to_come = -1;
    need_feature(FEATURE_RECV);
    raise_descriptor_limit();
    server.listener = tcp_listen(port, 0);
    struct io_uring_params params = {.flags = IORING_SETUP_CQSIZE,
                                     .cq_entries = MOST + 1};
    ring_open_params(&server.ring, 256, &params);
    server.conns = calloc(MOST, sizeof *server.conns);
    if (server.conns == NULL)
        fail(errno, "calloc");
    say("1. at most %d connections, %zu bytes for each: %zu KB", MOST,
        sizeof(struct conn), MOST * sizeof(struct conn) / 1024);

    while (server.to_come != 0 || server.open > 0) {
        // 2. Keep an ACCEPT in flight while there is room.
        if (!server.accepting && !server.full && server.to_come != 0 &&
            server.open < MOST)
            ask_for_visitor(&server);

        // 3. Submit what was asked for, and sleep until something has happened.
        int ret = io_uring_submit_and_wait(&server.ring, 1);
        if (ret < 0 && ret != -EINTR)
            fail(-ret, "io_uring_submit_and_wait");

        // 4. Each completion moves its connection one step on.
        unsigned ready = io_uring_cq_ready(&server.ring);
        struct io_uring_cqe *cqe;
        while (ready-- > 0 && io_uring_peek_cqe(&server.ring, &cqe) == 0) {
            uint64_t user_data = cqe->user_data;
            int res = cqe->res;
            io_uring_cqe_seen(&server.ring, cqe);
            complete(&server, user_data, res);
        }
    }

    io_uring_queue_exit(&server.ring);
    close(server.listener);
    free(server.conns);
    return 0;
}
