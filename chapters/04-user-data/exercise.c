// exercise 4 - a second kind of event: nobody has come for a while
//
//     04-user-data [PORT]
//
// Three doors, each polled again after every visitor, and no end. Give it one:
// a TIMEOUT goes into the same ring, and when nobody has come for 1000 ms, the
// program says so and ends. Now a CQE may be a door's or the clock's, so
// user_data becomes a kind and an index, packed into 64 bits.
#include "args.h"
#include "doors.h"
#include "ring.h"
#include "say.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

enum { DOORS = 3, QUIET_MS = 1000 };

enum kind { KIND_DOOR = 1, KIND_TIMEOUT = 2 };

// TODO(exercise): the kind in the upper 32 bits, the index in the lower 32.
static uint64_t pack(enum kind kind, uint32_t index)
{
    (void)kind;
    return index;
}

static void arm_door(struct io_uring *ring, const struct door *door)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    if (sqe == NULL)
        fail(0, "io_uring_get_sqe: the submission queue is full");
    io_uring_prep_poll_add(sqe, door->listener, POLLIN);
    io_uring_sqe_set_data64(sqe, pack(KIND_DOOR, door->number));
}

static void submit(struct io_uring *ring)
{
    int ret = io_uring_submit(ring);
    if (ret < 0)
        fail(-ret, "io_uring_submit");
}

int main(int argc, char **argv)
{
    struct door doors[DOORS];
    doors_open(doors, DOORS, doors_argument(argc, argv, DOORS));
    struct io_uring ring;
    ring_open(&ring, 4);
    for (unsigned i = 0; i < DOORS; i++)
        arm_door(&ring, &doors[i]);
    submit(&ring);
    say("asleep until somebody is at a door");

    for (;;) {
        struct io_uring_cqe *cqe = ring_wait(&ring);
        uint64_t user_data = cqe->user_data;
        int res = cqe->res;
        io_uring_cqe_seen(&ring, cqe);
        say("a CQE: user_data 0x%llx, res %s", (unsigned long long)user_data,
            result_text(res));

        // TODO(exercise): when it is the timeout's: has somebody come since it
        // was armed? Then arm it again. Else say "nobody came for 1000 ms" and
        // leave the loop.
        const struct door *door = &doors[user_data];
        if (res < 0)
            fail(-res, "POLL_ADD");
        door_greet(door);
        arm_door(&ring, door);
        submit(&ring);
    }

    io_uring_queue_exit(&ring);
    doors_close(doors, DOORS);
    return 0;
}
