// solution 3 - three visitors through one ring
//
//     03-poll-add [PORT]
//
// A POLL_ADD says once that the listener is readable, and is then gone: the
// kernel keeps nothing, and the next wait must be asked for. So the poll stands
// inside the loop. When accept() finds nobody after all, the loop goes round
// with the same number: that visitor is still to come.
#include "args.h"
#include "net.h"
#include "ring.h"
#include "say.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

// Asks the ring to say when the listener is readable.
static void arm(struct io_uring *ring, int listener, uint64_t user_data)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    if (sqe == NULL)
        fail(0, "io_uring_get_sqe: the submission queue is full");
    io_uring_prep_poll_add(sqe, listener, POLLIN);
    io_uring_sqe_set_data64(sqe, user_data);
    int ret = io_uring_submit(ring);
    if (ret != 1)
        fail(ret < 0 ? -ret : 0, "io_uring_submit took %d of 1", ret);
}

// Waits for the next CQE, says what it says, gives it back to the kernel, and
// returns its user_data.
static uint64_t wait_ready(struct io_uring *ring)
{
    struct io_uring_cqe *cqe = ring_wait(ring);
    uint64_t user_data = cqe->user_data;
    say("a CQE: user_data 0x%llx, res %s", (unsigned long long)user_data,
        poll_text(cqe->res));
    if (cqe->res < 0)
        fail(-cqe->res, "POLL_ADD");
    io_uring_cqe_seen(ring, cqe);
    return user_data;
}

int main(int argc, char **argv)
{
    int listener = tcp_listen(port_argument(argc, argv), SOCK_NONBLOCK);
    struct io_uring ring;
    ring_open(&ring, 2);
    say("a ring of 2");

    uint64_t number = 1;
    while (number <= 3) {
        arm(&ring, listener, number);
        if (wait_ready(&ring) != number)
            fail(0, "this CQE is not visitor %d's", (int)number);
        int visitor = accept(listener, NULL, NULL);
        if (visitor < 0 && errno != EAGAIN && errno != ECONNABORTED)
            fail(errno, "accept");
        if (visitor < 0)
            continue;
        char greeting[32];
        snprintf(greeting, sizeof greeting, "hello, visitor %d\n", (int)number);
        greet(visitor, greeting);
        number++;
    }

    io_uring_queue_exit(&ring);
    close(listener);
    return 0;
}

// exercise.c as shipped: df38ebf87731c612e2bec8c40cd47e8c227cbd9e
