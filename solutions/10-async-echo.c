// solution 10 - a bug hunt
//
//     10-async-echo [PORT]
//
// There were two bugs, and both need a visitor who reads late. While the kernel
// takes all that is sent at once, a SEND completes before the next RECV gets
// anything, and takes all of it: nothing is wrong.
//
// The first: the buffer is the kernel's from the SEND's submission to its CQE,
// and a RECV into the same buffer was submitted together with it. As soon as a
// SEND has to wait, the next words are written over those that wait. It also
// puts a second SEND beside the first, and nothing says which goes first.
//
// The second: a SEND's res is a count. What it did not take was forgotten; so
// was all of it when it took nothing, -EAGAIN.
//
// One operation in flight for each connection rules out both: RECV, then SEND
// until all is sent, then RECV. Whoever wants to receive while sending needs
// a second buffer, and an order for the SENDs.
#include "accept.h"
#include "args.h"
#include "net.h"
#include "ring.h"
#include "say.h"
#include "user_data.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 64, BUFFER = 4096 };
enum { ACCEPT = 1, RECV, SEND };

struct conn {
    int fd;             // -1: the place is free
    unsigned in_flight; // operations whose CQE is still to come
    bool leaving;       // hang up when none is
    size_t start, end;  // the bytes of `buffer` that are still to be sent
    char buffer[BUFFER];
};

struct server {
    struct io_uring ring;
    int listener;
    struct conn conns[MOST];
};

static void ask_for_visitor(struct server *server)
{
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_accept(sqe, server->listener, NULL, NULL, 0);
    io_uring_sqe_set_data64(sqe, pack(ACCEPT, 0));
}

static void receive(struct server *server, uint32_t place)
{
    struct conn *conn = &server->conns[place];
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_recv(sqe, conn->fd, conn->buffer, BUFFER, 0);
    io_uring_sqe_set_data64(sqe, pack(RECV, place));
    conn->in_flight++;
}

static void send_rest(struct server *server, uint32_t place)
{
    struct conn *conn = &server->conns[place];
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_send(sqe, conn->fd, conn->buffer + conn->start,
                       conn->end - conn->start, MSG_NOSIGNAL);
    io_uring_sqe_set_data64(sqe, pack(SEND, place));
    conn->in_flight++;
}

static bool ask_again(int res)
{
    return res == -EAGAIN || res == -EINTR;
}

static void received(struct server *server, uint32_t place, int res)
{
    struct conn *conn = &server->conns[place];
    if (res > 0) {
        conn->start = 0;
        conn->end = (size_t)res;
        send_rest(server, place);
    } else if (ask_again(res)) {
        receive(server, place);
    } else {
        conn->leaving = true;
    }
}

static void sent(struct server *server, uint32_t place, int res)
{
    struct conn *conn = &server->conns[place];
    if (res > 0)
        conn->start += (size_t)res;
    if (res <= 0 && !ask_again(res))
        conn->leaving = true;
    else if (conn->start < conn->end)
        send_rest(server, place);
    else
        receive(server, place);
}

static void accepted(struct server *server, int res)
{
    if (res < 0 && !ask_again(res) && !visitor_lost(-res))
        fail(-res, "ACCEPT");
    uint32_t place = 0;
    while (place < MOST && server->conns[place].fd >= 0)
        place++;
    if (res >= 0 && place == MOST) {
        say("no place for another visitor");
        close(res);
    } else if (res >= 0) {
        server->conns[place] = (struct conn){.fd = res};
        receive(server, place);
    }
    ask_for_visitor(server);
}

int main(int argc, char **argv)
{
    static struct server server;
    for (uint32_t place = 0; place < MOST; place++)
        server.conns[place].fd = -1;
    server.listener = tcp_listen(port_argument(argc, argv), 0);
    ring_open(&server.ring, 256);
    ask_for_visitor(&server);

    for (;;) {
        int ret = io_uring_submit_and_wait(&server.ring, 1);
        if (ret < 0 && ret != -EINTR)
            fail(-ret, "io_uring_submit_and_wait");
        unsigned ready = io_uring_cq_ready(&server.ring);
        struct io_uring_cqe *cqe;
        while (ready-- > 0 && io_uring_peek_cqe(&server.ring, &cqe) == 0) {
            uint32_t kind = kind_of(cqe->user_data);
            uint32_t place = index_of(cqe->user_data);
            int res = cqe->res;
            io_uring_cqe_seen(&server.ring, cqe);
            if (kind == ACCEPT) {
                accepted(&server, res);
                continue;
            }
            struct conn *conn = &server.conns[place];
            conn->in_flight--;
            if (kind == RECV)
                received(&server, place, res);
            else
                sent(&server, place, res);
            if (conn->leaving && conn->in_flight == 0) {
                close(conn->fd);
                conn->fd = -1;
            }
        }
    }
}

// exercise.c as shipped: e36e60eaf210f82e928a1f66199dfa01cc04982f
