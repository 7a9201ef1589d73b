// exercise 13 - a deadline for the whole request
//
//     13-links-and-timeouts [PORT [VISITORS [MS]]]
//
// Sends back whole lines, and has four places. Each RECV has MS milliseconds.
// But a visitor who sends a byte now and then never runs out of time, and four
// of them keep everybody else out. Give the line MS milliseconds, from the
// moment in which the server begins to wait for it, however many RECVs it
// takes. The next line has as long again.
#include "accept.h"
#include "args.h"
#include "net.h"
#include "ring.h"
#include "say.h"
#include "user_data.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 4, LINE = 1024 };
enum { ACCEPT = 1, RECV, SEND, CLOCK, CLOSE };

// A place for a visitor. Until `in_flight` is 0 the buffer is the kernel's.
struct conn {
    bool taken;
    int fd;
    unsigned in_flight; // completions still to come
    uint32_t asked;     // RECV, SEND or CLOSE
    int res;            // ... and its result
    size_t have;        // bytes in `buffer`
    size_t line, sent;  // of them, the line to be sent back, and what was
    char buffer[LINE];
};

struct server {
    struct io_uring ring;
    struct __kernel_timespec patience;
    int listener;
    bool accepting;
    long to_come; // negative: no end
    unsigned open;
    struct conn conns[MOST];
};

static void asked(struct server *server, struct conn *conn, uint32_t kind,
                  struct io_uring_sqe *sqe)
{
    io_uring_sqe_set_data64(sqe, pack(kind, (uint32_t)(conn - server->conns)));
    conn->in_flight++;
    if (kind != CLOCK)
        conn->asked = kind;
}

// Links a clock to the SQE that came before.
static void with_clock(struct server *server, struct conn *conn,
                       struct io_uring_sqe *sqe)
{
    sqe->flags |= IOSQE_IO_LINK;
    struct io_uring_sqe *clock = ring_sqe(&server->ring);
    io_uring_prep_link_timeout(clock, &server->patience, 0);
    asked(server, conn, CLOCK, clock);
}

static void receive(struct server *server, struct conn *conn)
{
    ring_room(&server->ring, 2);
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_recv(sqe, conn->fd, conn->buffer + conn->have,
                       LINE - conn->have, 0);
    asked(server, conn, RECV, sqe);
    // TODO(exercise): a new clock for each RECV: that is the mistake. See
    // IORING_TIMEOUT_ABS, and where a line begins: in welcome() and sent().
    with_clock(server, conn, sqe);
}

static void send_rest(struct server *server, struct conn *conn)
{
    ring_room(&server->ring, 2);
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_send(sqe, conn->fd, conn->buffer + conn->sent,
                       conn->line - conn->sent, MSG_NOSIGNAL);
    asked(server, conn, SEND, sqe);
    with_clock(server, conn, sqe);
}

static void hang_up(struct server *server, struct conn *conn)
{
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_close(sqe, conn->fd);
    asked(server, conn, CLOSE, sqe);
}

// Is a whole line there? Then it is sent back. Otherwise more is received, as
// far as there is room for it.
static void look_for_line(struct server *server, struct conn *conn)
{
    char *end = memchr(conn->buffer, '\n', conn->have);
    conn->sent = 0;
    conn->line = end == NULL ? 0 : (size_t)(end + 1 - conn->buffer);
    if (conn->line > 0)
        send_rest(server, conn);
    else if (conn->have < LINE)
        receive(server, conn);
    else
        hang_up(server, conn);
}

static void received(struct server *server, struct conn *conn)
{
    if (conn->res == -EINTR || conn->res == -EAGAIN) {
        receive(server, conn);
    } else if (conn->res <= 0) {
        hang_up(server, conn); // also -ECANCELED: the clock ran out
    } else {
        conn->have += (size_t)conn->res;
        look_for_line(server, conn);
    }
}

static void sent(struct server *server, struct conn *conn)
{
    if (conn->res > 0)
        conn->sent += (size_t)conn->res;
    if (conn->res <= 0 && conn->res != -EINTR && conn->res != -EAGAIN) {
        hang_up(server, conn);
    } else if (conn->sent < conn->line) {
        send_rest(server, conn);
    } else {
        conn->have -= conn->line;
        memmove(conn->buffer, conn->buffer + conn->line, conn->have);
        look_for_line(server, conn);
    }
}

static void left(struct server *server, struct conn *conn)
{
    say("   a visitor has left, %u here now", --server->open);
    conn->taken = false;
}

static void welcome(struct server *server, int fd)
{
    struct conn *conn = server->conns;
    while (conn->taken)
        conn++;
    *conn = (struct conn){.taken = true, .fd = fd};
    server->to_come--;
    say("   a visitor has come, %u here now", ++server->open);
    receive(server, conn);
}

static void complete(struct server *server, uint64_t user_data, int res)
{
    uint32_t kind = kind_of(user_data);
    if (kind == ACCEPT) {
        server->accepting = false;
        if (res >= 0)
            welcome(server, res);
        else if (res != -EAGAIN && !visitor_lost(-res))
            fail(-res, "ACCEPT");
        return;
    }
    struct conn *conn = &server->conns[index_of(user_data)];
    if (kind != CLOCK)
        conn->res = res;
    if (--conn->in_flight > 0)
        return;
    if (conn->asked == RECV)
        received(server, conn);
    else if (conn->asked == SEND)
        sent(server, conn);
    else
        left(server, conn);
}

int main(int argc, char **argv)
{
    struct server server = {0};
    long ms = 2000;
    uint16_t port = timed_server_arguments(argc, argv, &server.to_come, &ms);
    if (server.to_come == 0)
        server.to_come = -1;
    server.patience.tv_sec = ms / 1000;
    server.patience.tv_nsec = ms % 1000 * 1000000;
    server.listener = tcp_listen(port, 0);
    ring_open(&server.ring, 8); // the CQ: 16, for 2 each and an ACCEPT
    say("%d places, %ld ms for a line", MOST, ms);

    while (server.to_come != 0 || server.open > 0) {
        if (!server.accepting && server.to_come != 0 && server.open < MOST) {
            struct io_uring_sqe *sqe = ring_sqe(&server.ring);
            io_uring_prep_accept(sqe, server.listener, NULL, NULL, 0);
            io_uring_sqe_set_data64(sqe, pack(ACCEPT, 0));
            server.accepting = true;
        }
        int ret = io_uring_submit_and_wait(&server.ring, 1);
        if (ret < 0 && ret != -EINTR)
            fail(-ret, "io_uring_submit_and_wait");
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
    return 0;
}
