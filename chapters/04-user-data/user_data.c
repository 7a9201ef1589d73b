// user_data - three doors, one ring: whose completion is it?
//
//     user_data [PORT]
//
// Listens at three ports in a row. One POLL_ADD a door is submitted in their
// order; the completions come in the order of the visits. user_data, a pointer
// to the door, says which is which. Ends when each door has had its visitor.
#include "args.h"
#include "net.h"
#include "ring.h"
#include "say.h"

#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DOORS = 3 };

// A door is pointed to by the user_data of its poll, so it must stay where it
// is until that poll's CQE has come.
struct door {
    unsigned number; // from 0
    int listener;    // the door's own, until main closes it
};

// Prepares a poll of the door; submitting it is left to the caller.
static void arm(struct io_uring *ring, struct door *door)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    if (sqe == NULL)
        fail(0, "io_uring_get_sqe: the submission queue is full");
    io_uring_prep_poll_add(sqe, door->listener, POLLIN);
    io_uring_sqe_set_data(sqe, door);
}

// Submits what is prepared; the kernel must take all of it.
static void submit(struct io_uring *ring, int prepared)
{
    int ret = io_uring_submit(ring);
    if (ret != prepared)
        fail(ret < 0 ? -ret : 0, "io_uring_submit took %d of %d", ret,
             prepared);
}

int main(int argc, char **argv)
{
    // 1. Three doors. They live as long as main, longer than any poll.
    uint16_t port = doors_argument(argc, argv, DOORS);
    struct door doors[DOORS];
    for (unsigned i = 0; i < DOORS; i++) {
        doors[i].number = i;
        doors[i].listener =
            tcp_listen(port == 0 ? 0 : (uint16_t)(port + i), SOCK_NONBLOCK);
    }
    struct io_uring ring;
    ring_open(&ring, 4);
    say("1. %d doors and a ring of 4", DOORS);

    // 2. One SQE a door, each with a pointer to its door; one submit.
    for (unsigned i = 0; i < DOORS; i++) {
        say("2. a poll of door %u, user_data %p", i, (void *)&doors[i]);
        arm(&ring, &doors[i]);
    }
    draw_ring("before submit", &ring);
    submit(&ring, DOORS);

    // 3. Completions come in the order in which things happen.
    say("3. asleep until somebody is at a door");
    char order[DOORS * 2 + 1] = "";
    for (unsigned served = 0; served < DOORS;) {
        struct io_uring_cqe *cqe = ring_wait(&ring);
        struct door *door = io_uring_cqe_get_data(cqe);
        int res = cqe->res;
        io_uring_cqe_seen(&ring, cqe);
        say("   a CQE: user_data %p, door %u, res %s", (void *)door,
            door->number, poll_text(res));
        if (res < 0)
            fail(-res, "POLL_ADD");

        // 4. Greet the visitor; when nobody is there after all, ask again.
        int visitor = try_accept(door->listener);
        if (visitor < 0) {
            arm(&ring, door);
            submit(&ring, 1);
            continue;
        }
        char greeting[32];
        snprintf(greeting, sizeof greeting, "hello from door %u\n",
                 door->number);
        greet(visitor, greeting);
        snprintf(order + 2 * served, 3, " %u", door->number);
        served++;
    }

    // 5. One CQE for each SQE, and not in their order.
    say("5. order submitted: 0 1 2, order completed:%s", order);
    say("   CQEs left: %u", io_uring_cq_ready(&ring));
    io_uring_queue_exit(&ring);
    for (unsigned i = 0; i < DOORS; i++)
        close(doors[i].listener);
    return 0;
}
