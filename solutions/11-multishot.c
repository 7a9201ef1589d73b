// solution 11 - what ends a multishot
//
//     11-multishot [PORT]
//
// Whether the ACCEPT has ended says one thing alone: a completion without
// IORING_CQE_F_MORE. res does not. An error has no MORE, but a visitor may come
// without it as well: the last that an ACCEPT could bring before the CQ was
// full. Whoever asks again after errors only is deaf from then on.
//
// Whether to ask again is a second question. Without a descriptor the answer
// would be the same, at once, for ever; so we wait for what frees one.
//
// Each turn of the loop asks both, from two facts: is an ACCEPT in flight, and
// is there a descriptor? So no path through the code can forget it.
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
    bool accepting; // an ACCEPT is in flight: its last completion is to come
    bool full;      // no descriptor was left; wait until a connection closes
    unsigned accepts;
};

static void ask_for_visitors(struct server *server)
{
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_multishot_accept(sqe, server->listener, NULL, NULL, 0);
    io_uring_sqe_set_data64(sqe, pack(ACCEPT, 0));
    server->accepting = true;
    say("   ACCEPT number %u", ++server->accepts);
}

static void welcome(struct server *server, int fd)
{
    if (server->echo.open < MOST)
        echo_welcome(&server->echo, fd);
    else
        close(fd);
}

static void accepted(struct server *server, int res, unsigned flags)
{
    server->accepting = flags & IORING_CQE_F_MORE;
    if (res >= 0)
        welcome(server, res);
    else if (no_room(-res) && server->echo.open > 0)
        server->full = true;
    else if (res != -EAGAIN && !visitor_lost(-res))
        fail(-res, "ACCEPT");
}

int main(int argc, char **argv)
{
    struct server server = {0};
    uint16_t port = port_argument(argc, argv);
    limit_descriptors(MOST);
    server.listener = tcp_listen(port, 0);
    ring_open(&server.ring, 8);
    echo_open(&server.echo, &server.ring, MOST);

    for (;;) {
        if (!server.accepting && !server.full)
            ask_for_visitors(&server);
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
                server.full = false;
        }
    }
}
// exercise.c as shipped: c52689f996f6e3773000059ba02c6c8837e72d25
