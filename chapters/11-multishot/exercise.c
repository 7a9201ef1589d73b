// exercise 11 - what ends a multishot
//
//     11-multishot [PORT]
//
// An echo server. Its ACCEPT is submitted again when something went wrong with
// it. That is too often in one case: with no descriptor left it turns without
// end. And it is not often enough in another: sometimes the server falls deaf,
// and no error says why.
#include "accept.h"
#include "args.h"
#include "echo.h"
#include "net.h"
#include "ring.h"
#include "rlimit.h"
#include "say.h"
#include "user_data.h"

#include <errno.h>
#include <unistd.h>

enum { MOST = 1000, ACCEPT = ECHO_KINDS };

struct server {
    struct io_uring ring; // its CQ has 16 places, and that is no mistake
    struct echo echo;
    int listener;
    unsigned accepts;
};

static void ask_for_visitors(struct server *server)
{
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_multishot_accept(sqe, server->listener, NULL, NULL, 0);
    io_uring_sqe_set_data64(sqe, pack(ACCEPT, 0));
    say("   ACCEPT number %u", ++server->accepts);
}

static void welcome(struct server *server, int fd)
{
    if (server->echo.open < MOST)
        echo_welcome(&server->echo, fd);
    else
        close(fd);
}

// TODO(exercise): when has the ACCEPT ended? And when is it worth asking again?
static void accepted(struct server *server, int res, unsigned flags)
{
    (void)flags;
    if (res >= 0) {
        welcome(server, res);
        return;
    }
    if (res != -EAGAIN && !no_room(-res) && !visitor_lost(-res))
        fail(-res, "ACCEPT");
    ask_for_visitors(server);
}

// A connection has closed, and a descriptor is free.
static void left(struct server *server)
{
    // TODO(exercise): does that change anything for the ACCEPT?
    (void)server;
}

int main(int argc, char **argv)
{
    struct server server = {0};
    uint16_t port = port_argument(argc, argv);
    limit_descriptors(MOST);
    server.listener = tcp_listen(port, 0);
    ring_open(&server.ring, 8);
    echo_open(&server.echo, &server.ring, MOST);
    ask_for_visitors(&server);

    for (;;) {
        int ret = io_uring_submit_and_wait(&server.ring, 1);
        if (ret < 0 && ret != -EINTR)
            fail(-ret, "io_uring_submit_and_wait");

        unsigned ready = io_uring_cq_ready(&server.ring);
        struct io_uring_cqe *cqe;
        while (ready-- > 0 && io_uring_peek_cqe(&server.ring, &cqe) == 0) {
            uint64_t user_data = cqe->user_data;
            int res = cqe->res;
            unsigned flags = cqe->flags;
            io_uring_cqe_seen(&server.ring, cqe);
            if (kind_of(user_data) == ACCEPT)
                accepted(&server, res, flags);
            else if (echo_complete(&server.echo, user_data, res))
                left(&server);
        }
    }
}
