// exercise 3 - three visitors through one ring
//
//     03-poll-add [PORT]
//
// It greets one visitor and ends. Make it greet three, one after the other,
// with the one ring that is there. A POLL_ADD completes once, so each wait
// needs one of its own: user_data 1 for the first visitor, then 2, then 3. The
// visitors hear "hello, visitor 1", "hello, visitor 2", "hello, visitor 3".
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

    // TODO(exercise): three visitors, each with a POLL_ADD whose user_data is
    // the visitor's number. What when accept() finds nobody (EAGAIN)?
    arm(&ring, listener, 1);
    wait_ready(&ring);
    int visitor = accept(listener, NULL, NULL);
    if (visitor < 0)
        fail(errno, "accept");
    greet(visitor, "hello, visitor 1\n");

    io_uring_queue_exit(&ring);
    close(listener);
    return 0;
}
