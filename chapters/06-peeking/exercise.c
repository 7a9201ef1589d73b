// exercise 6 - work, with a look at the door between two slices of it
//
//     06-peeking [PORT]
//
// The program has a sum to do, which takes a second or so, and three doors. As
// it stands, it does the sum first, and visitors wait. Make it look between
// two slices of the work whether somebody has come, without a system call, and
// greet them at once. When the sum is done, and only then, it may sleep. It
// ends when each door has had its visitor.
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

// TODO(exercise): takes all completions that are there, in one go: walk them
// with io_uring_for_each_cqe(), greet at each door, and give them all back with
// one io_uring_cq_advance(). Returns how many visitors were greeted. Says
// "took N completions in one go" when there were any, and sleeps never.
static unsigned greet_ready(struct io_uring *ring)
{
    (void)ring;
    return 0;
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
        // TODO(exercise): has somebody come meanwhile?
        sum += sum_slice(from);
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
