// solution 9 - four accepts in flight
//
//     09-async-accept [PORT [VISITORS]]
//
// A slot belongs to the kernel from submit to CQE, and to the program from the
// CQE until it gives the slot to the next ACCEPT. So user_data is a pointer to
// the slot: it says whose ACCEPT has completed and where the address is. The
// slot is read first and given away after that.
//
// When the program ends, four ACCEPTs are still in flight.
// io_uring_queue_exit() closes the ring, and the kernel calls them off, in part
// after the function has returned. `slots` lives in main, so it is there until
// the program ends, and nobody reads it again. Memory that is to be used for
// something else would have to wait for the last CQE: chapter 14.
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

    struct slot slots[IN_FLIGHT];
    for (int i = 0; i < IN_FLIGHT; i++)
        ask_for_visitor(&ring, listener, &slots[i]);

    for (long greeted = 0; visitors == 0 || greeted < visitors;) {
        int ret = io_uring_submit_and_wait(&ring, 1);
        if (ret < 0 && ret != -EINTR)
            fail(-ret, "io_uring_submit_and_wait");

        unsigned ready = io_uring_cq_ready(&ring);
        struct io_uring_cqe *cqe;
        while (ready-- > 0 && io_uring_peek_cqe(&ring, &cqe) == 0) {
            struct slot *slot = io_uring_cqe_get_data(cqe);
            int visitor = cqe->res;
            io_uring_cqe_seen(&ring, cqe);
            if (visitor < 0 && visitor != -EAGAIN && !visitor_lost(-visitor))
                fail(-visitor, "ACCEPT");
            if (visitor >= 0) {
                greet_by_address(visitor, slot);
                greeted++;
            }
            ask_for_visitor(&ring, listener, slot);
        }
    }

    io_uring_queue_exit(&ring);
    close(listener);
    return 0;
}

// exercise.c as shipped: e4a70ca6743114701906f34a3522f056a2fd2ea8
