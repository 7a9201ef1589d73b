// solution 16 - a look that knows when there is something to fetch
//
//     16-setup-flags [PORT [VISITORS]]
//
// With DEFER_TASKRUN the kernel notes that a visitor has come, and does the
// rest (accepting them, writing the CQE) only when the program enters the ring
// to ask for completions. Between two slices the program only looked at memory,
// where nothing could appear. Once the work was done, ring_wait() entered, and
// all was well; so tests that came late saw nothing.
//
// io_uring_get_events() in look() would mend it, by a system call for each
// look. IORING_SETUP_TASKRUN_FLAG does better: the kernel sets a bit in the
// ring's shared memory (IORING_SQ_TASKRUN) when there is work to be done, and
// io_uring_peek_cqe() enters the kernel only when it sees that bit. (Without
// liburing, or with io_uring_for_each_cqe(), one must look at it oneself.)
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
                                              IORING_SETUP_DEFER_TASKRUN |
                                              IORING_SETUP_TASKRUN_FLAG};
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

// exercise.c as shipped: 8ce7e25f4631d66567f173d5f0fe1602d0315c44
