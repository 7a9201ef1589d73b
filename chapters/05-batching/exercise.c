// exercise 5 - twenty doors through a ring of four
//
//     05-batching [PORT]
//
// Twenty doors are to be armed, and the submission queue holds four SQEs: as
// it stands, the program ends at the fifth. Arm all twenty, with five calls
// that submit at the most, and greet one visitor at each door. All twenty may
// come at once, and the completion queue holds eight.
#include "args.h"
#include "doors.h"
#include "ring.h"
#include "say.h"

#include <errno.h>
#include <poll.h>

enum { DOORS = 20 };

// An SQE to fill in.
static struct io_uring_sqe *next_sqe(struct io_uring *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    // TODO(exercise): the submission queue is full. What makes room in it?
    if (sqe == NULL)
        fail(0, "io_uring_get_sqe: the submission queue is full");
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

    // TODO(exercise): are all doors armed now?
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
        // EBUSY: completions are to be taken first. io_uring_setup(2)
        int ret = io_uring_submit(&ring);
        if (ret < 0 && ret != -EBUSY)
            fail(-ret, "io_uring_submit");
    }
    say("all %d visitors greeted", DOORS);

    io_uring_queue_exit(&ring);
    doors_close(doors, DOORS);
    return 0;
}
