// solution 12 - a bug hunt
//
//     12-provided-buffers [PORT]
//
// A buffer was away for ever when its SEND failed: the visitor had reset the
// connection, the server hung up, and nobody gave the buffer back. Each visitor
// who went like that took one along; after the eighth, every RECV found none,
// and everybody waited in line for a buffer that could not come.
//
// There was a second path, which this machine's kernel may never take: a RECV
// that fails, or brings the end, may have taken a buffer all the same. Its
// completion says so: IORING_CQE_F_BUFFER. Looking at res instead leaks the
// buffer where the flag is set. And giving "it" back where the flag is not set
// gives back buffer 0, which is somebody else's.
//
// So the flag decides what is taken, and one function, let_go_of_buffer(), is
// on every path that leads away from a buffer.
#include "args.h"
#include "arrivals.h"
#include "pool.h"
#include "ring.h"
#include "say.h"
#include "user_data.h"

#include <errno.h>
#include <sys/socket.h>

enum { MOST = 1023, BUFFERS = 8 };
enum { RECV = 1, SEND, CLOSE };

// A connection: one operation is in flight, or it waits in line. From a RECV
// that has brought something to the end of the SENDs it has a buffer.
struct conn {
    int fd;
    bool taken;      // this place is somebody's
    bool has_buffer; // and `id` says which
    uint16_t id;
};

struct server {
    struct io_uring ring;
    struct arrivals arrivals;
    struct pool pool;
    struct conn conns[MOST];
    unsigned open;
    unsigned head, tail;     // of `line`
    uint32_t line[MOST + 1]; // who waits to receive
};

static uint32_t place_of(const struct server *server, const struct conn *conn)
{
    return (uint32_t)(conn - server->conns);
}

static void receive(struct server *server, struct conn *conn)
{
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_recv(sqe, conn->fd, NULL, POOL_SIZE, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = POOL_GROUP;
    io_uring_sqe_set_data64(sqe, pack(RECV, place_of(server, conn)));
}

static void send_rest(struct server *server, struct conn *conn)
{
    struct buffer *buffer = &server->pool.buffers[conn->id];
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_send(sqe, conn->fd, buffer->bytes + buffer->start,
                       (size_t)(buffer->end - buffer->start), MSG_NOSIGNAL);
    io_uring_sqe_set_data64(sqe, pack(SEND, place_of(server, conn)));
}

static void hang_up(struct server *server, struct conn *conn)
{
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_close(sqe, conn->fd);
    io_uring_sqe_set_data64(sqe, pack(CLOSE, place_of(server, conn)));
}

static void wait_in_line(struct server *server, struct conn *conn)
{
    server->line[server->tail++ & MOST] = place_of(server, conn);
}

static void call_up(struct server *server)
{
    unsigned n = server->pool.on_offer;
    while (n-- > 0 && server->head != server->tail)
        receive(server, &server->conns[server->line[server->head++ & MOST]]);
}

static bool ask_again(int res)
{
    return res == -ENOBUFS || res == -EAGAIN || res == -EINTR;
}

static void welcome(struct server *server, int fd)
{
    struct conn *conn = server->conns;
    while (conn->taken)
        conn++;
    *conn = (struct conn){.fd = fd, .taken = true};
    server->open++;
    say("   a visitor on descriptor %d, %u here now", fd, server->open);
    wait_in_line(server, conn);
}

static void let_go_of_buffer(struct server *server, struct conn *conn)
{
    if (conn->has_buffer)
        pool_give_back(&server->pool, conn->id);
    conn->has_buffer = false;
}

static void received(struct server *server, struct conn *conn, int res,
                     unsigned flags)
{
    if (flags & IORING_CQE_F_BUFFER) {
        conn->id = pool_taken(&server->pool, flags);
        conn->has_buffer = true;
    }
    if (res > 0) {
        server->pool.buffers[conn->id].start = 0;
        server->pool.buffers[conn->id].end = (uint16_t)res;
        send_rest(server, conn);
        return;
    }
    let_go_of_buffer(server, conn);
    if (ask_again(res))
        wait_in_line(server, conn);
    else
        hang_up(server, conn);
}

static void sent(struct server *server, struct conn *conn, int res)
{
    struct buffer *buffer = &server->pool.buffers[conn->id];
    if (res > 0)
        buffer->start += (uint16_t)res;
    if (res <= 0 && !ask_again(res)) {
        let_go_of_buffer(server, conn);
        hang_up(server, conn);
    } else if (buffer->start < buffer->end) {
        send_rest(server, conn);
    } else {
        let_go_of_buffer(server, conn);
        wait_in_line(server, conn);
    }
}

static void closed(struct server *server, struct conn *conn)
{
    conn->taken = false;
    server->open--;
    say("   descriptor %d has left, %u here now, buffers away: %u", conn->fd,
        server->open, pool_away(&server->pool));
    arrivals_left(&server->arrivals);
}

static void complete(struct server *server, uint64_t user_data, int res,
                     unsigned flags)
{
    struct conn *conn = &server->conns[index_of(user_data)];
    int fd;
    switch (kind_of(user_data)) {
    case RECV:
        received(server, conn, res, flags);
        break;
    case SEND:
        sent(server, conn, res);
        break;
    case CLOSE:
        closed(server, conn);
        break;
    default:
        fd = arrivals_complete(&server->arrivals, user_data, res, flags,
                               server->open);
        if (fd >= 0)
            welcome(server, fd);
    }
}

int main(int argc, char **argv)
{
    static struct server server;
    uint16_t port = port_argument(argc, argv);
    arrivals_open(&server.arrivals, &server.ring, port, MOST, 0);
    struct io_uring_params params = {.flags = IORING_SETUP_CQSIZE,
                                     .cq_entries = 2 * (MOST + 1)};
    ring_open_params(&server.ring, 64, &params);
    pool_open(&server.pool, &server.ring, BUFFERS, BUFFERS);

    for (;;) {
        arrivals_ask(&server.arrivals);
        pool_offer(&server.pool);
        call_up(&server);
        bool more = server.head != server.tail && server.pool.on_offer > 0;
        int ret = io_uring_submit_and_wait(&server.ring, more ? 0 : 1);
        if (ret < 0 && ret != -EINTR)
            fail(-ret, "io_uring_submit_and_wait");

        unsigned ready = io_uring_cq_ready(&server.ring);
        struct io_uring_cqe *cqe;
        while (ready-- > 0 && io_uring_peek_cqe(&server.ring, &cqe) == 0) {
            uint64_t user_data = cqe->user_data;
            int res = cqe->res;
            unsigned flags = cqe->flags;
            io_uring_cqe_seen(&server.ring, cqe);
            complete(&server, user_data, res, flags);
        }
    }
}
// exercise.c as shipped: 4d49fb7746f7749dd94cb5393709554a93111793
