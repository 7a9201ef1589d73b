// multishot - one ACCEPT, many visitors
//
//     multishot [PORT [VISITORS]]
//
// Sends back what each visitor sends. One ACCEPT is submitted, and it completes
// once for each visitor, until a completion without IORING_CQE_F_MORE says that
// it has ended. Runs for ever, or until VISITORS have come and gone.
#include "accept.h"
#include "args.h"
#include "echo.h"
#include "feature.h"
#include "net.h"
#include "ring.h"
#include "say.h"
#include "user_data.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

// How many completions there will be is no longer the program's choice, but
// their number is bounded: a completion of the ACCEPT brings a descriptor, and
// the process may have MOST of those; a connection has one operation in flight,
// and there are MOST places for them. With the last of the ACCEPT and that of
// the CANCEL the CQ holds all: 2 * (MOST + 1).
enum { MOST = 16383 };

// What was asked for, besides what echo.h asks for.
enum { ACCEPT = ECHO_KINDS, CANCEL };

struct server {
    struct io_uring ring;
    struct echo echo;
    int listener;
    bool accepting;    // an ACCEPT is in flight: its last completion is to come
    bool full;         // no descriptor was left; wait until a connection closes
    long to_come;      // visitors still wanted; negative: no end
    unsigned accepts;  // ACCEPTs submitted
    unsigned visitors; // ... and whom they brought
};

// No descriptor, no visitor: the kernel itself stops accepting.
static void limit_descriptors(unsigned most)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        fail(errno, "getrlimit");
    limit.rlim_cur = limit.rlim_max < most ? limit.rlim_max : most;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        fail(errno, "setrlimit");
}

static void ask_for_visitors(struct server *server)
{
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_multishot_accept(sqe, server->listener, NULL, NULL, 0);
    io_uring_sqe_set_data64(sqe, pack(ACCEPT, 0));
    server->accepting = true;
    server->accepts++;
}

// Ends the ACCEPT. Until its last completion it may bring more visitors.
static void call_off(struct server *server)
{
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_cancel64(sqe, pack(ACCEPT, 0), 0);
    io_uring_sqe_set_data64(sqe, pack(CANCEL, 0));
}

// One slot for the address would serve all visitors, and the next may have come
// before we have read it. So the socket is asked.
static void welcome(struct server *server, int fd)
{
    struct sockaddr_in from;
    socklen_t size = sizeof from;
    if (getpeername(fd, (struct sockaddr *)&from, &size) == 0)
        say("   ... from 127.0.0.1:%d", ntohs(from.sin_port));
    else
        say("   ... who has left already (%s)", result_text(-errno));

    // CLOSE frees the descriptor before we have seen that the place is free.
    if (server->echo.open == MOST) {
        say("   no place for descriptor %d: it is closed", fd);
        close(fd);
        return;
    }
    server->visitors++;
    echo_welcome(&server->echo, fd);
    if (server->to_come > 0 && --server->to_come == 0 && server->accepting)
        call_off(server);
}

static void accepted(struct server *server, int res, unsigned flags)
{
    // Without MORE it has ended, whether it brought somebody or not.
    server->accepting = flags & IORING_CQE_F_MORE;
    say("   ACCEPT: res %s, %s", result_text(res),
        server->accepting ? "MORE will come" : "the last");
    if (res >= 0) {
        welcome(server, res);
    } else if (no_room(-res) && server->echo.open > 0) {
        say("   no descriptor left: whoever comes now waits in the backlog");
        server->full = true;
    } else if (res != -ECANCELED && res != -EAGAIN && !visitor_lost(-res)) {
        fail(-res, "ACCEPT");
    }
}

static void complete(struct server *server, uint64_t user_data, int res,
                     unsigned flags)
{
    switch (kind_of(user_data)) {
    case ACCEPT:
        accepted(server, res, flags);
        break;
    case CANCEL: // the ACCEPT's last completion tells
        break;
    default:
        if (echo_complete(&server->echo, user_data, res))
            server->full = false;
    }
}

int main(int argc, char **argv)
{
    // 1. As many descriptors as places, and a CQ for all that can complete.
    struct server server = {0};
    uint16_t port = server_arguments(argc, argv, &server.to_come);
    if (server.to_come == 0)
        server.to_come = -1;
    need_feature(FEATURE_MULTISHOT_ACCEPT);
    limit_descriptors(MOST);
    server.listener = tcp_listen(port, 0);
    struct io_uring_params params = {.flags = IORING_SETUP_CQSIZE,
                                     .cq_entries = 2 * (MOST + 1)};
    ring_open_params(&server.ring, 256, &params);
    echo_open(&server.echo, &server.ring, MOST);

    while (server.to_come != 0 || server.accepting || server.echo.open > 0) {
        // 2. Ask for visitors, unless an ACCEPT does so still.
        if (!server.accepting && !server.full && server.to_come != 0)
            ask_for_visitors(&server);

        // 3. Submit what was asked for, and sleep until something has happened.
        int ret = io_uring_submit_and_wait(&server.ring, 1);
        if (ret < 0 && ret != -EINTR)
            fail(-ret, "io_uring_submit_and_wait");

        // 4. Whose completion is it? And, of the ACCEPT: is it the last?
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

    // 5. The ACCEPT has ended, and everybody has left.
    say("5. ACCEPTs submitted: %u, visitors: %u", server.accepts,
        server.visitors);
    io_uring_queue_exit(&server.ring);
    close(server.listener);
    echo_close(&server.echo);
    return 0;
}
