// exercise 16 - a bug hunt: the visitors who are never seen
//
//     16-setup-flags [PORT [VISITORS]]
//
// Sums up primes, and between two slices of the work looks at the completion
// queue for visitors, as chapter 6's exercise did. It served them for years.
// Then somebody read that DEFER_TASKRUN is faster. Since then the looks find
// nobody, for as long as there is work; no error is reported.
//
// TODO(exercise): find out what the looks are waiting for, and mend it. The
// flag is to stay, and looks that find nothing are still to be no system calls.
#include "args.h"
#include "net.h"
#include "ring.h"
#include "say.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BELOW = 4000000, SLICE = 20000 };

struct server {
    struct io_uring ring;
    int listener;
    long greeted;
};

// The sum of the primes in [from, from + SLICE). One slice of the work.
static uint64_t sum_slice(uint64_t from)
{
    uint64_t sum = 0;
    for (uint64_t n = from < 2 ? 2 : from; n < from + SLICE; n++) {
        uint64_t divisor = 2;
        while (divisor * divisor <= n && n % divisor != 0)
            divisor++;
        if (divisor * divisor > n)
            sum += n;
    }
    return sum;
}

static void ask_for_visitor(struct server *server)
{
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_accept(sqe, server->listener, NULL, NULL, 0);
    io_uring_sqe_set_data64(sqe, 0);
    ring_submit(&server->ring);
}

// Greets whoever has come. Finds nobody: returns at once.
static void look(struct server *server)
{
    struct io_uring_cqe *cqe;
    while (io_uring_peek_cqe(&server->ring, &cqe) == 0) {
        int visitor = cqe->res;
        io_uring_cqe_seen(&server->ring, cqe);
        if (visitor >= 0) {
            greet(visitor, "hello from chapter 16\n");
            server->greeted++;
        } else if (visitor != -EAGAIN && visitor != -EINTR &&
                   visitor != -ECONNABORTED) {
            fail(-visitor, "ACCEPT");
        }
        ask_for_visitor(server);
    }
}

int main(int argc, char **argv)
{
    long visitors;
    struct server server = {0};
    server.listener = tcp_listen(server_arguments(argc, argv, &visitors), 0);
    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER |
                                              IORING_SETUP_DEFER_TASKRUN};
    ring_open_params(&server.ring, 4, &params);
    ask_for_visitor(&server);

    say("working");
    uint64_t sum = 0;
    for (uint64_t from = 0; from < BELOW; from += SLICE) {
        sum += sum_slice(from);
        look(&server);
    }
    say("done: the primes below %d sum to %llu", BELOW,
        (unsigned long long)sum);

    // Nothing to do any more: now it may sleep.
    while (visitors == 0 || server.greeted < visitors) {
        ring_wait(&server.ring);
        look(&server);
    }
    io_uring_queue_exit(&server.ring);
    close(server.listener);
    return 0;
}
