// solution 4 - a second kind of event: nobody has come for a while
//
//     04-user-data [PORT]
//
// A pointer in user_data says whose completion it is only while all requests
// are of one kind. With two kinds the number is cut in two: 32 bits say what
// was asked for, 32 bits which one of that kind. The two functions that pack
// and unpack stand side by side, and nothing else knows the layout.
//
// A timeout completes with -ETIME when its time is up: that is its success.
// Restarting the clock at each visitor is not needed: it is enough to
// remember that somebody came, and to ask for another 1000 ms when it expires.
#include "args.h"
#include "doors.h"
#include "ring.h"
#include "say.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

enum { DOORS = 3, QUIET_MS = 1000 };

enum kind { KIND_DOOR = 1, KIND_TIMEOUT = 2 };

static uint64_t pack(enum kind kind, uint32_t index)
{
    return (uint64_t)kind << 32 | index;
}

static enum kind unpack(uint64_t user_data, uint32_t *index)
{
    *index = (uint32_t)user_data;
    return (enum kind)(user_data >> 32);
}

static struct io_uring_sqe *get_sqe(struct io_uring *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    if (sqe == NULL)
        fail(0, "io_uring_get_sqe: the submission queue is full");
    return sqe;
}

static void arm_door(struct io_uring *ring, const struct door *door)
{
    struct io_uring_sqe *sqe = get_sqe(ring);
    io_uring_prep_poll_add(sqe, door->listener, POLLIN);
    io_uring_sqe_set_data64(sqe, pack(KIND_DOOR, door->number));
}

// The kernel reads the time when the SQE is submitted, so `quiet` must live
// until then, and here it lives for ever.
static void arm_timeout(struct io_uring *ring)
{
    static struct __kernel_timespec quiet = {.tv_sec = QUIET_MS / 1000};
    struct io_uring_sqe *sqe = get_sqe(ring);
    io_uring_prep_timeout(sqe, &quiet, 0, 0);
    io_uring_sqe_set_data64(sqe, pack(KIND_TIMEOUT, 0));
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
    arm_timeout(&ring);
    submit(&ring);
    say("asleep until somebody is at a door");

    bool somebody = false;
    for (;;) {
        struct io_uring_cqe *cqe = ring_wait(&ring);
        uint64_t user_data = cqe->user_data;
        int res = cqe->res;
        io_uring_cqe_seen(&ring, cqe);
        say("a CQE: user_data 0x%llx, res %s", (unsigned long long)user_data,
            result_text(res));

        uint32_t index;
        if (unpack(user_data, &index) == KIND_TIMEOUT) {
            if (res != -ETIME)
                fail(-res, "TIMEOUT");
            if (!somebody)
                break;
            somebody = false;
            arm_timeout(&ring);
        } else {
            if (res < 0)
                fail(-res, "POLL_ADD");
            if (door_greet(&doors[index]))
                somebody = true;
            arm_door(&ring, &doors[index]);
        }
        submit(&ring);
    }
    say("nobody came for %d ms", QUIET_MS);

    io_uring_queue_exit(&ring);
    doors_close(doors, DOORS);
    return 0;
}

// exercise.c as shipped: dd321128f46fbba3bcce268c02ee4af65ca99051
