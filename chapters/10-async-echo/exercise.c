// exercise 10 - a bug hunt
//
//     10-async-echo [PORT]
//
// An echo server for 64 visitors at once. It keeps a RECV in flight all the
// time, "because waiting for the SEND is a waste". A quick test is happy with
// it. Under load it corrupts what it echoes. Find out why, and mend it.
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

static void send_back(struct server *server, uint32_t place, int size)
{
    struct conn *conn = &server->conns[place];
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_send(sqe, conn->fd, conn->buffer, (size_t)size, MSG_NOSIGNAL);
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
    if (res <= 0 && !ask_again(res)) {
        conn->leaving = true;
        return;
    }
    if (res > 0)
        send_back(server, place, res);
    receive(server, place); // the next words may come while these are sent
}

// TODO(exercise): a quick test finds nothing wrong with this server. A client
// that reads late gets wrong bytes, and too few. Find out why, and mend it.
static void sent(struct server *server, uint32_t place, int res)
{
    if (res < 0 && !ask_again(res))
        server->conns[place].leaving = true;
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
