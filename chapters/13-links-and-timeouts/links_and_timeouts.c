// links_and_timeouts - operations that wait for each other and for the clock
//
//     links_and_timeouts [PORT [VISITORS [MS]]]
//
// Sends back what each visitor sends. Each RECV and each SEND is linked to a
// clock: who says nothing, or takes nothing, for MS milliseconds (2,000 when
// left out) is let go. Who was silent hears a farewell first: one chain of a
// SEND, its clock and a CLOSE. Runs for ever, or until VISITORS have come and
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
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// Each connection has at most the three operations of a farewell in flight, and
// there is one ACCEPT: a CQ of that size cannot overflow.
enum { CQ_ENTRIES = 32768, MOST = (CQ_ENTRIES - 1) / 3, BUFFER = 4096 };

// What was asked for: the upper half of user_data. The lower is the place of
// the connection in server.conns.
enum { ACCEPT = 1, RECV, SEND, CLOCK, CLOSE };

static const char *const names[] = {
    [RECV] = "RECV",
    [SEND] = "SEND",
    [CLOCK] = "LINK_TIMEOUT",
    [CLOSE] = "CLOSE",
};

static const char farewell[] = "you are silent: goodbye\n";

// A connection. It goes on when all that it has asked for is home: until
// `in_flight` is 0, the buffer is the kernel's and the place is not given away.
// The CQEs that come before the last are noted in `res` and `closed`.
struct conn {
    int fd;             // a CLOSE in the end closes it
    uint32_t next_free; // while the place is free
    size_t start, end;  // the bytes of `buffer` that are received, not yet sent
    size_t echoed;
    enum { RECEIVING, SENDING, FAREWELL, CLOSING } state;
    unsigned in_flight; // completions still to come
    int res;            // of the RECV or SEND
    bool closed;        // the CLOSE was done
    char buffer[BUFFER];
};

struct server {
    struct io_uring ring;
    struct __kernel_timespec patience; // read by the kernel at each submit
    int listener;
    bool accepting; // an ACCEPT is in flight
    bool full;      // no descriptor was left; wait until a connection closes
    long to_come;   // visitors still to be accepted; negative: no end
    unsigned open;  // connections
    unsigned used;  // places that were ever used
    uint32_t free;  // a free one of them; MOST: none
    struct conn *conns;
};

// --- asking -----------------------------------------------------------------

static void ask_for_visitor(struct server *server)
{
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_accept(sqe, server->listener, NULL, NULL, 0);
    io_uring_sqe_set_data64(sqe, pack(ACCEPT, 0));
    server->accepting = true;
}

// The SQE is filled in: whose is it? Its completion is awaited from here on.
static void asked(struct server *server, struct conn *conn, uint32_t kind,
                  struct io_uring_sqe *sqe)
{
    io_uring_sqe_set_data64(sqe, pack(kind, (uint32_t)(conn - server->conns)));
    conn->in_flight++;
}

// Links a clock to the SQE that came before: when it runs out, that operation
// is cancelled; when the operation completes first, the clock is.
static struct io_uring_sqe *with_clock(struct server *server, struct conn *conn,
                                       struct io_uring_sqe *sqe)
{
    sqe->flags |= IOSQE_IO_LINK;
    struct io_uring_sqe *clock = ring_sqe(&server->ring);
    io_uring_prep_link_timeout(clock, &server->patience, 0);
    asked(server, conn, CLOCK, clock);
    return clock;
}

static void receive(struct server *server, struct conn *conn)
{
    conn->state = RECEIVING;
    ring_room(&server->ring, 2);
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_recv(sqe, conn->fd, conn->buffer, BUFFER, 0);
    asked(server, conn, RECV, sqe);
    with_clock(server, conn, sqe);
}

static void send_rest(struct server *server, struct conn *conn)
{
    conn->state = SENDING;
    ring_room(&server->ring, 2);
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_send(sqe, conn->fd, conn->buffer + conn->start,
                       conn->end - conn->start, MSG_NOSIGNAL);
    asked(server, conn, SEND, sqe);
    with_clock(server, conn, sqe);
}

static void hang_up(struct server *server, struct conn *conn)
{
    conn->state = CLOSING;
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_close(sqe, conn->fd);
    asked(server, conn, CLOSE, sqe);
}

// The CLOSE begins when the SEND is done, all of it: with MSG_WAITALL a short
// send is an error, and breaks the chain.
static void say_farewell(struct server *server, struct conn *conn)
{
    conn->state = FAREWELL;
    ring_room(&server->ring, 3);
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_send(sqe, conn->fd, farewell, strlen(farewell),
                       MSG_NOSIGNAL | MSG_WAITALL);
    asked(server, conn, SEND, sqe);
    with_clock(server, conn, sqe)->flags |= IOSQE_IO_LINK;
    sqe = ring_sqe(&server->ring);
    io_uring_prep_close(sqe, conn->fd);
    asked(server, conn, CLOSE, sqe);
}

// --- completions ------------------------------------------------------------

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
    conn->closed = false;
    server->open++;
    say("   a visitor on descriptor %d, %u here now", fd, server->open);
    receive(server, conn);
}

// Nothing happened: the same may be asked for again.
static bool ask_again(int res)
{
    return res == -EAGAIN || res == -EINTR;
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

// The RECV and its clock are home.
static void received(struct server *server, struct conn *conn)
{
    if (conn->res > 0) {
        conn->start = 0;
        conn->end = (size_t)conn->res;
        send_rest(server, conn);
    } else if (conn->res == -ECANCELED) {
        say_farewell(server, conn); // by the clock, and nobody else
    } else if (ask_again(conn->res)) {
        receive(server, conn);
    } else {
        hang_up(server, conn); // their end (0), or an error
    }
}

// The SEND and its clock are home. Nobody who does not take what was sent last
// would take a farewell.
static void sent(struct server *server, struct conn *conn)
{
    if (conn->res > 0) {
        conn->start += (size_t)conn->res;
        conn->echoed += (size_t)conn->res;
    }
    if (conn->res <= 0 && !ask_again(conn->res))
        hang_up(server, conn);
    else if (conn->start < conn->end)
        send_rest(server, conn);
    else
        receive(server, conn);
}

// The last completion is home: the place is free. But for a broken chain, whose
// CLOSE was not done.
static void left(struct server *server, struct conn *conn)
{
    if (!conn->closed) {
        hang_up(server, conn);
        return;
    }
    say("   descriptor %d has left, %zu bytes echoed", conn->fd, conn->echoed);
    conn->next_free = server->free;
    server->free = (uint32_t)(conn - server->conns);
    server->open--;
    server->full = false;
}

// One completion of a connection. The SEND's or RECV's res says what happened.
// The clock's does not: it may run out in the moment in which bytes come. Its
// completion is counted, and so is each of the others.
static void complete(struct server *server, struct conn *conn, uint32_t kind,
                     int res)
{
    conn->in_flight--;
    if (kind == RECV || kind == SEND)
        conn->res = res;
    if (kind == CLOSE)
        conn->closed = res != -ECANCELED;
    bool usual = kind == CLOCK ? res == -ECANCELED : res != -ECANCELED;
    if (conn->state == FAREWELL || !usual)
        say("   descriptor %d: %s res %s", conn->fd, names[kind],
            result_text(res));
    if (conn->in_flight > 0)
        return;
    if (conn->state == RECEIVING)
        received(server, conn);
    else if (conn->state == SENDING)
        sent(server, conn);
    else
        left(server, conn);
}

int main(int argc, char **argv)
{
    // 1. A listener that blocks, a ring, and places for connections.
    struct server server = {.free = MOST};
    long ms = 2000;
    uint16_t port = timed_server_arguments(argc, argv, &server.to_come, &ms);
    if (server.to_come == 0)
        server.to_come = -1;
    server.patience.tv_sec = ms / 1000;
    server.patience.tv_nsec = ms % 1000 * 1000000;
    need_feature(FEATURE_LINK_TIMEOUT);
    need_feature(FEATURE_RECV);
    raise_descriptor_limit();
    server.listener = tcp_listen(port, 0);
    struct io_uring_params params = {.flags = IORING_SETUP_CQSIZE,
                                     .cq_entries = CQ_ENTRIES};
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

        // 4. When all that a connection has asked for is home, it goes on.
        unsigned ready = io_uring_cq_ready(&server.ring);
        struct io_uring_cqe *cqe;
        while (ready-- > 0 && io_uring_peek_cqe(&server.ring, &cqe) == 0) {
            uint64_t user_data = cqe->user_data;
            int res = cqe->res;
            io_uring_cqe_seen(&server.ring, cqe);
            if (kind_of(user_data) == ACCEPT)
                accepted(&server, res);
            else
                complete(&server, &server.conns[index_of(user_data)],
                         kind_of(user_data), res);
        }
    }

    io_uring_queue_exit(&server.ring);
    close(server.listener);
    free(server.conns);
    return 0;
}
