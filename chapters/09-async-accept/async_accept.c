// async_accept - do not ask when you can accept: ask for the accept
//
//     async_accept [PORT [VISITORS]]
//
// Greets visitors. One ACCEPT is always in flight; its CQE's res is the new
// socket. The listener blocks, for it is the ring that waits and not the
// thread. Runs for ever, or until VISITORS have been greeted.
#include "accept.h"
#include "args.h"
#include "feature.h"
#include "net.h"
#include "ring.h"
#include "say.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

// Where the kernel writes who came. From submit to CQE both fields are the
// kernel's, so they must stay where they are and nobody else may use them.
struct slot {
    struct sockaddr_in from;
    socklen_t size; // in: how much room there is; out: how much was needed
};

// Prepares an ACCEPT that writes into the slot.
static void ask_for_visitor(struct io_uring *ring, int listener,
                            struct slot *slot)
{
    slot->size = sizeof slot->from;
    struct io_uring_sqe *sqe = ring_sqe(ring);
    io_uring_prep_accept(sqe, listener, (struct sockaddr *)&slot->from,
                         &slot->size, 0);
    io_uring_sqe_set_data(sqe, slot);
}

int main(int argc, char **argv)
{
    // 1. A listener that blocks, and a ring.
    long visitors;
    uint16_t port = server_arguments(argc, argv, &visitors);
    need_feature(FEATURE_ACCEPT);
    int listener = tcp_listen(port, 0);
    struct io_uring ring;
    ring_open(&ring, 2);

    // 2. Ask for the first visitor. Nothing is submitted yet.
    struct slot slot;
    ask_for_visitor(&ring, listener, &slot);
    say("2. an ACCEPT is prepared");
    draw_ring("before submit", &ring);

    for (long greeted = 0; visitors == 0 || greeted < visitors;) {
        // 3. One call: submit the ACCEPT, and sleep until it has completed.
        int ret = io_uring_submit_and_wait(&ring, 1);
        if (ret < 0 && ret != -EINTR)
            fail(-ret, "io_uring_submit_and_wait");
        struct io_uring_cqe *cqe;
        if (io_uring_peek_cqe(&ring, &cqe) != 0)
            continue; // a signal woke us

        // 4. res is what accept() would have returned: the visitor's socket.
        int visitor = cqe->res;
        io_uring_cqe_seen(&ring, cqe);
        if (visitor < 0 && visitor != -EAGAIN && !visitor_lost(-visitor))
            fail(-visitor, "ACCEPT");
        if (visitor >= 0) {
            say("4. ACCEPT: res %d, a visitor from 127.0.0.1:%d", visitor,
                ntohs(slot.from.sin_port));
            greeted++;
        }

        // 5. The slot is ours again, and read: the next ACCEPT may have it.
        if (visitors == 0 || greeted < visitors)
            ask_for_visitor(&ring, listener, &slot);
        if (visitor >= 0)
            greet(visitor, "hello from chapter 9\n");
    }

    io_uring_queue_exit(&ring);
    close(listener);
    return 0;
}
