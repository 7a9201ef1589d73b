// solution 6 - work, with a look at the door between two slices of it
//
//     06-peeking [PORT]
//
// Looking costs some nanoseconds, so it may be done two hundred times during
// the work, or two million times. And it is done only while there is work: once
// the sum is done, a look that finds nothing would be chapter 2's spin again,
// cheaper by call but not by CPU. Then the program sleeps in ring_wait().
#include "args.h"
#include "doors.h"
#include "ring.h"
#include "say.h"

#include <poll.h>

enum { DOORS = 3, BELOW = 2000000, SLICE = 10000 };

// The sum of the primes in [from, from + SLICE). One slice of the work.
static uint64_t sum_slice(uint64_t from)
{
    uint64_t sum = 0;
    for (uint64_t n = from < 2 ? 2 : from; n < from + SLICE; n++) {
        uint64_t divisor = 2;
        while (divisor * divisor <= n && n % divisor != 0)
            divisor++;
        if (divisor * divisor > n)
            sum += n;
    }
    return sum;
}

static void arm(struct io_uring *ring, struct door *door)
{
    struct io_uring_sqe *sqe = ring_sqe(ring);
    io_uring_prep_poll_add(sqe, door->listener, POLLIN);
    io_uring_sqe_set_data(sqe, door);
}

// Takes all completions that are there, in one go; also those that come while
// it walks, where the macro looks at the tail again (liburing 2.3 does). So
// what it has seen is counted. The CQEs stay valid until the
// io_uring_cq_advance(), and are not touched after it. Returns how many
// visitors were greeted.
static unsigned greet_ready(struct io_uring *ring)
{
    unsigned head, taken = 0, greeted = 0;
    struct io_uring_cqe *cqe;
    io_uring_for_each_cqe(ring, head, cqe)
    {
        struct door *door = io_uring_cqe_get_data(cqe);
        if (cqe->res < 0)
            fail(-cqe->res, "POLL_ADD");
        if (door_greet(door))
            greeted++;
        else
            arm(ring, door);
        taken++;
    }
    io_uring_cq_advance(ring, taken);
    if (taken > 0)
        say("took %u completions in one go", taken);
    if (greeted < taken)
        ring_submit(ring);
    return greeted;
}

int main(int argc, char **argv)
{
    struct door doors[DOORS];
    doors_open(doors, DOORS, doors_argument(argc, argv, DOORS));
    struct io_uring ring;
    ring_open(&ring, 4);
    for (unsigned i = 0; i < DOORS; i++)
        arm(&ring, &doors[i]);
    ring_submit(&ring);

    say("working");
    unsigned greeted = 0;
    uint64_t sum = 0;
    for (uint64_t from = 0; from < BELOW; from += SLICE) {
        sum += sum_slice(from);
        greeted += greet_ready(&ring);
    }
    say("done: the primes below %d sum to %llu", BELOW,
        (unsigned long long)sum);

    while (greeted < DOORS) {
        ring_wait(&ring);
        greeted += greet_ready(&ring);
    }

    io_uring_queue_exit(&ring);
    doors_close(doors, DOORS);
    return 0;
}

// exercise.c as shipped: 9040e0b1e4d095e706e2f39b8a3c85bb3688af6c
