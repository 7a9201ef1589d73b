// provided_buffers - one pool of buffers for all connections
//
//     provided_buffers [PORT [VISITORS]]        BUFFERS=8: so many in the pool
//
// Sends back what each visitor sends. A RECV names no buffer: the kernel picks
// one from the pool when something has come. It is given back when all that was
// in it has been sent. Runs for ever, or until VISITORS have come and gone.
#include "args.h"
#include "arrivals.h"
#include "feature.h"
#include "ring.h"
#include "say.h"
#include "user_data.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

// To each descriptor belong three completions at most, to each buffer on offer
// one, and three to accepting: a CQ of 65536 cannot overflow.
enum { MOST = 16383, COMPLETIONS = 65536 };
enum { BUFFERS = 16384, SIZE = 1024, ON_OFFER = 512, GROUP = 0 };

// Who holds so many buffers gets no more until all of them are sent.
enum { ENOUGH = 2 };

// What was asked for: the upper half of user_data. The lower is the place of
// the connection in server.conns.
enum { RECV = 1, SEND, CANCEL, CLOSE };

struct buffer {
    uint16_t next;       // in the queue of a connection
    uint16_t start, end; // the bytes that are received, not yet sent
    char bytes[SIZE];
};

// The pool. Each buffer is in one of three places:
//
// - at home. Nobody uses it.
// - on offer, in the ring that the kernel takes from. It is the kernel's, until
//   a completion with IORING_CQE_F_BUFFER names it, whatever that one's res is.
// - away: in the queue of one connection, until a SEND has taken its last byte,
//   or the connection ends.
struct pool {
    struct buffer *buffers;         // `count` of them
    struct io_uring_buf_ring *ring; // shared with the kernel
    unsigned count, ring_size, on_offer, at_home;
    uint16_t home[BUFFERS]; // the first `at_home` are; last in, first out
};

// A connection. In flight are at most one RECV, one SEND and one CANCEL of the
// RECV; then, after the last completion of RECV and SEND, a CLOSE. With that
// one's completion the place is free.
//
// Only the first buffer of the queue is being sent, so the bytes keep their
// order. Who has an empty queue and no RECV in flight stands in server.line.
struct conn {
    int fd;               // the CLOSE in the end closes it
    uint32_t next_free;   // while the place is free
    uint16_t first, last; // the queue, in the order of the bytes
    uint16_t held;        // how many buffers there are in it
    bool receiving;       // a RECV is in flight: its last completion is to come
    bool stopping;        // ... and has been called off
    bool much;            // they send much: one buffer at a time from now on
    bool sending;         // a SEND is in flight
    bool ended;           // nothing more is to be received
    size_t echoed;
};

struct server {
    struct io_uring ring;
    struct arrivals arrivals;
    struct pool pool;
    struct conn *conns;
    uint32_t open, used, free; // connections; places ever used; a free one
    unsigned stopping;         // RECVs that have been called off
    unsigned long without;     // RECVs that found no buffer
    unsigned head, tail;       // of `line`, as of a ring's queue
    uint32_t line[MOST + 1];   // who waits to receive, in the order of coming
};

// --- the pool ---------------------------------------------------------------

static void open_pool(struct pool *pool, struct io_uring *ring, unsigned count)
{
    pool->buffers = calloc(count, sizeof *pool->buffers);
    if (pool->buffers == NULL)
        fail(errno, "calloc");
    for (pool->count = count; pool->at_home < count; pool->at_home++)
        pool->home[pool->at_home] = (uint16_t)pool->at_home;

    // At most half of the pool lies on offer: nobody can take it all at once.
    pool->ring_size = ON_OFFER;
    while (pool->ring_size > count / 2)
        pool->ring_size /= 2;
    size_t page = (size_t)getpagesize();
    size_t size = pool->ring_size * sizeof(struct io_uring_buf);
    pool->ring = aligned_alloc(page, (size + page - 1) / page * page);
    if (pool->ring == NULL)
        fail(errno, "aligned_alloc");
    struct io_uring_buf_reg registration = {
        .ring_addr = (uintptr_t)pool->ring,
        .ring_entries = pool->ring_size,
        .bgid = GROUP,
    };
    int ret = io_uring_register_buf_ring(ring, &registration, 0);
    if (ret < 0)
        fail(-ret, "io_uring_register_buf_ring");
    io_uring_buf_ring_init(pool->ring);
}

// Puts buffers from home on offer until the ring is full. With the advance they
// are the kernel's: its tail is shared memory, and no call is needed.
static void offer(struct pool *pool)
{
    int added = 0, mask = io_uring_buf_ring_mask(pool->ring_size);
    while (pool->on_offer < pool->ring_size && pool->at_home > 0) {
        uint16_t id = pool->home[--pool->at_home];
        io_uring_buf_ring_add(pool->ring, pool->buffers[id].bytes, SIZE, id,
                              mask, added++);
        pool->on_offer++;
    }
    io_uring_buf_ring_advance(pool->ring, added);
}

static void give_back(struct pool *pool, uint16_t id)
{
    pool->home[pool->at_home++] = id;
}

// --- asking -----------------------------------------------------------------

static uint32_t place_of(const struct server *server, const struct conn *conn)
{
    return (uint32_t)(conn - server->conns);
}

static void receive(struct server *server, struct conn *conn)
{
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    if (conn->much)
        io_uring_prep_recv(sqe, conn->fd, NULL, SIZE, 0);
    else
        io_uring_prep_recv_multishot(sqe, conn->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = GROUP;
    io_uring_sqe_set_data64(sqe, pack(RECV, place_of(server, conn)));
    conn->receiving = true;
}

// Its CANCEL's completion says nothing that the RECV's last one does not.
static void stop_receiving(struct server *server, struct conn *conn)
{
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_cancel64(sqe, pack(RECV, place_of(server, conn)), 0);
    io_uring_sqe_set_data64(sqe, pack(CANCEL, place_of(server, conn)));
    conn->stopping = conn->much = true;
    server->stopping++;
}

static void send_first(struct server *server, struct conn *conn)
{
    struct buffer *buffer = &server->pool.buffers[conn->first];
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_send(sqe, conn->fd, buffer->bytes + buffer->start,
                       (size_t)(buffer->end - buffer->start), MSG_NOSIGNAL);
    io_uring_sqe_set_data64(sqe, pack(SEND, place_of(server, conn)));
    conn->sending = true;
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

// For each buffer on offer, who has waited longest may receive.
static void call_up(struct server *server)
{
    unsigned n = server->pool.on_offer;
    while (n-- > 0 && server->head != server->tail)
        receive(server, &server->conns[server->line[server->head++ & MOST]]);
}

// --- completions ------------------------------------------------------------

// Whatever has happened to a connection, its state says what is asked for next.
static void go_on(struct server *server, struct conn *conn)
{
    bool enough = conn->ended || conn->held >= ENOUGH;
    if (conn->held > 0 && !conn->sending)
        send_first(server, conn);
    if (conn->receiving && enough && !conn->stopping)
        stop_receiving(server, conn);
    if (!conn->receiving && !conn->ended && conn->held == 0)
        wait_in_line(server, conn);
    if (!conn->receiving && conn->ended && conn->held == 0)
        hang_up(server, conn);
}

// No reason to let go: it is for later, or we have called it off ourselves.
static bool ask_again(int res)
{
    return res == -ENOBUFS || res == -ECANCELED || res == -EAGAIN ||
           res == -EINTR;
}

static void welcome(struct server *server, int fd)
{
    uint32_t place = server->free;
    if (place != MOST)
        server->free = server->conns[place].next_free;
    else
        place = server->used++;
    struct conn *conn = &server->conns[place];
    *conn = (struct conn){.fd = fd};
    server->open++;
    say("   a visitor on descriptor %d, %u here now", fd, server->open);
    go_on(server, conn);
}

// A buffer for the end of the queue.
static void append(struct server *server, struct conn *conn, uint16_t id,
                   int bytes)
{
    server->pool.buffers[id].start = 0;
    server->pool.buffers[id].end = (uint16_t)bytes;
    if (conn->held++ == 0)
        conn->first = id;
    else
        server->pool.buffers[conn->last].next = id;
    conn->last = id;
}

static void received(struct server *server, struct conn *conn, int res,
                     unsigned flags)
{
    if (!(flags & IORING_CQE_F_MORE)) {
        server->stopping -= conn->stopping;
        conn->receiving = conn->stopping = false;
    }
    if (flags & IORING_CQE_F_BUFFER) {
        uint16_t id = (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT);
        server->pool.on_offer--;
        if (res > 0 && !conn->ended)
            append(server, conn, id, res);
        else
            give_back(&server->pool, id);
    }
    server->without += res == -ENOBUFS;
    if (res == 0 || (res < 0 && !ask_again(res)))
        conn->ended = true; // their end, or an error
    go_on(server, conn);
}

static void drop_first(struct server *server, struct conn *conn)
{
    uint16_t id = conn->first;
    conn->first = server->pool.buffers[id].next;
    conn->held--;
    give_back(&server->pool, id);
}

static void sent(struct server *server, struct conn *conn, int res)
{
    struct buffer *buffer = &server->pool.buffers[conn->first];
    conn->sending = false;
    if (res > 0) {
        buffer->start += (uint16_t)res;
        conn->echoed += (size_t)res;
    }
    if (buffer->start == buffer->end)
        drop_first(server, conn);
    if (res <= 0 && !ask_again(res)) {
        conn->ended = true; // nobody hears us any more
        while (conn->held > 0)
            drop_first(server, conn);
    }
    go_on(server, conn);
}

static void closed(struct server *server, struct conn *conn)
{
    say("   descriptor %d has left, %zu bytes echoed", conn->fd, conn->echoed);
    conn->next_free = server->free;
    server->free = place_of(server, conn);
    server->open--;
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
    case CANCEL:
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
    // 1. A listener and a ring, as in chapter 11; places; and the pool.
    struct server server = {.free = MOST};
    long visitors;
    uint16_t port = server_arguments(argc, argv, &visitors);
    unsigned count =
        (unsigned)environment_number("BUFFERS", 4, BUFFERS, BUFFERS);
    need_feature(FEATURE_MULTISHOT_RECV);
    arrivals_open(&server.arrivals, &server.ring, port, MOST, visitors);
    struct io_uring_params params = {.flags = IORING_SETUP_CQSIZE,
                                     .cq_entries = COMPLETIONS};
    ring_open_params(&server.ring, 256, &params);
    server.conns = calloc(MOST, sizeof *server.conns);
    if (server.conns == NULL)
        fail(errno, "calloc");
    open_pool(&server.pool, &server.ring, count);
    say("1. at most %d connections, %zu bytes each, and %u buffers: %zu KB",
        MOST, sizeof(struct conn), count,
        (MOST * sizeof(struct conn) + count * sizeof(struct buffer)) / 1024);
    say("   %u buffers are on offer, so nobody holds more than %u",
        server.pool.ring_size, server.pool.ring_size + ENOUGH - 1);

    while (arrivals_expected(&server.arrivals) || server.open > 0) {
        arrivals_ask(&server.arrivals);

        // 2. Put on offer what is at home; but not while a RECV that has been
        //    called off could take it. Then, who has waited longest?
        if (server.stopping == 0)
            offer(&server.pool);
        call_up(&server);

        // 3. Submit, and sleep; but nobody waits while a buffer is on offer.
        bool more = server.head != server.tail && server.pool.on_offer > 0;
        int ret = io_uring_submit_and_wait(&server.ring, more ? 0 : 1);
        if (ret < 0 && ret != -EINTR)
            fail(-ret, "io_uring_submit_and_wait");

        // 4. Each completion moves its connection on.
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

    // 5. Everybody has left, and no buffer is away.
    say("5. %u of %u buffers are away; %lu RECVs found none",
        count - server.pool.at_home - server.pool.on_offer, count,
        server.without);
    io_uring_unregister_buf_ring(&server.ring, GROUP);
    io_uring_queue_exit(&server.ring);
    arrivals_close(&server.arrivals);
    free(server.pool.ring);
    free(server.pool.buffers);
    free(server.conns);
    return 0;
}
