// solution 5 - twenty doors through a ring of four
//
//     05-batching [PORT]
//
// A ring's size bounds how many SQEs can be handed over in one call. It does
// not bound how many requests are under way: twenty polls wait in the kernel
// although the ring has four slots. The fifth io_uring_get_sqe() returns NULL,
// a submit empties the queue, and so four calls take sixteen doors and a last
// one takes the rest.
//
// When all twenty visitors come at once, the CQ holds eight completions and
// the kernel keeps twelve (IORING_FEAT_NODROP, Linux 5.5). They follow as soon
// as the eight have been taken and the program calls the kernel again. A submit
// may fail meanwhile, with EBUSY, says io_uring_setup(2); on Debian's 5.10 and
// on 6.18 it did not.
#include "args.h"
#include "doors.h"
#include "ring.h"
#include "say.h"

#include <errno.h>
#include <poll.h>

enum { DOORS = 20 };

// Submits what is prepared. The result is a count: 0 and more is how many SQEs
// the kernel took, and they need not be all. After EBUSY they stay prepared:
// first completions are to be taken.
static void submit(struct io_uring *ring)
{
    int ret = io_uring_submit(ring);
    if (ret == -EBUSY && io_uring_sq_space_left(ring) > 0)
        return;
    if (ret < 0)
        fail(-ret, "io_uring_submit");
}

// An SQE to fill in. Where the queue is full, what is in it is submitted, which
// makes room: once taken, an SQE's slot is free, however long its poll waits.
static struct io_uring_sqe *next_sqe(struct io_uring *ring)
{
    struct io_uring_sqe *sqe;
    while ((sqe = io_uring_get_sqe(ring)) == NULL)
        submit(ring);
    return sqe;
}

static void arm(struct io_uring *ring, struct door *door)
{
    struct io_uring_sqe *sqe = next_sqe(ring);
    io_uring_prep_poll_add(sqe, door->listener, POLLIN);
    io_uring_sqe_set_data(sqe, door);
}

int main(int argc, char **argv)
{
    struct door doors[DOORS];
    doors_open(doors, DOORS, doors_argument(argc, argv, DOORS));
    struct io_uring ring;
    ring_open(&ring, 4);
    say("arming %d doors through a ring of 4", DOORS);
    for (unsigned i = 0; i < DOORS; i++)
        arm(&ring, &doors[i]);

    // The last ones are still only prepared.
    submit(&ring);

    say("asleep until somebody is at a door");
    for (unsigned served = 0; served < DOORS;) {
        struct io_uring_cqe *cqe = ring_wait(&ring);
        struct door *door = io_uring_cqe_get_data(cqe);
        int res = cqe->res;
        io_uring_cqe_seen(&ring, cqe);
        if (res < 0)
            fail(-res, "POLL_ADD");
        if (door_greet(door))
            served++;
        else
            arm(&ring, door);
        submit(&ring);
    }
    say("all %d visitors greeted", DOORS);

    io_uring_queue_exit(&ring);
    doors_close(doors, DOORS);
    return 0;
}

// exercise.c as shipped: 4e20674fc5d934fb9991dceaf1039edd417d678c
