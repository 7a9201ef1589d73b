// exercise 9 - four accepts in flight
//
//     09-async-accept [PORT [VISITORS]]
//
// With one ACCEPT in flight, the second of two visitors who come together waits
// for the next turn. Keep four in flight. The kernel writes each visitor's
// address while the ACCEPT is in flight, so each needs a slot of its own: as it
// stands, all four share one, and visitors are told each other's address.
#include "accept.h"
#include "args.h"
#include "net.h"
#include "ring.h"
#include "say.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { IN_FLIGHT = 4 };

// Where the kernel writes who came. From submit to CQE it is the kernel's.
struct slot {
    struct sockaddr_in from;
    socklen_t size;
};

static void ask_for_visitor(struct io_uring *ring, int listener,
                            struct slot *slot)
{
    slot->size = sizeof slot->from;
    struct io_uring_sqe *sqe = ring_sqe(ring);
    io_uring_prep_accept(sqe, listener, (struct sockaddr *)&slot->from,
                         &slot->size, 0);
    io_uring_sqe_set_data(sqe, slot);
}

// Tells the visitor where they come from: "hello, 127.0.0.1:40112".
static void greet_by_address(int visitor, const struct slot *slot)
{
    char greeting[64];
    snprintf(greeting, sizeof greeting, "hello, 127.0.0.1:%d\n",
             ntohs(slot->from.sin_port));
    greet(visitor, greeting);
}

int main(int argc, char **argv)
{
    long visitors;
    uint16_t port = server_arguments(argc, argv, &visitors);
    int listener = tcp_listen(port, 0);
    struct io_uring ring;
    ring_open(&ring, IN_FLIGHT);

    // TODO(exercise): a slot for each ACCEPT in flight.
    struct slot slot;
    for (int i = 0; i < IN_FLIGHT; i++)
        ask_for_visitor(&ring, listener, &slot);

    for (long greeted = 0; visitors == 0 || greeted < visitors;) {
        int ret = io_uring_submit_and_wait(&ring, 1);
        if (ret < 0 && ret != -EINTR)
            fail(-ret, "io_uring_submit_and_wait");

        unsigned ready = io_uring_cq_ready(&ring);
        struct io_uring_cqe *cqe;
        while (ready-- > 0 && io_uring_peek_cqe(&ring, &cqe) == 0) {
            // TODO(exercise): whose slot has been filled? Read it, then give
            // it to the next ACCEPT.
            int visitor = cqe->res;
            io_uring_cqe_seen(&ring, cqe);
            if (visitor < 0 && visitor != -EAGAIN && !visitor_lost(-visitor))
                fail(-visitor, "ACCEPT");
            ask_for_visitor(&ring, listener, &slot);
            if (visitor < 0)
                continue;
            greet_by_address(visitor, &slot);
            greeted++;
        }
    }

    io_uring_queue_exit(&ring);
    close(listener);
    return 0;
}
