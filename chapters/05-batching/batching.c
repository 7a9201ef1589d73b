// batching - many SQEs, one system call
//
//     batching [PORT]
//
// Listens at eight ports in a row and arms all eight with one submit, which
// fills a ring of 8; greets a visitor at each. Then the price list: what one
// operation costs when 1, 2, 4 ... 64 of them share a system call.
#include "args.h"
#include "clock.h"
#include "doors.h"
#include "ring.h"
#include "say.h"

#include <poll.h>

enum { DOORS = 8, MOST = 64, NOPS = 4096, ROUNDS = 3, SIZES = 7 };

// Prepares a poll of the door. NULL where the submission queue is full.
static struct io_uring_sqe *arm(struct io_uring *ring, struct door *door)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    if (sqe == NULL)
        return NULL;
    io_uring_prep_poll_add(sqe, door->listener, POLLIN);
    io_uring_sqe_set_data(sqe, door);
    return sqe;
}

// Runs NOPS operations that do nothing, `batch` of them to a system call.
// Returns nanoseconds for each, and counts the calls.
static double ns_per_nop(struct io_uring *ring, unsigned batch, unsigned *calls)
{
    *calls = 0;
    double began = now_ms(CLOCK_MONOTONIC);
    for (unsigned done = 0; done < NOPS; done += batch) {
        for (unsigned i = 0; i < batch; i++) {
            struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
            if (sqe == NULL)
                fail(0, "io_uring_get_sqe: the submission queue is full");
            io_uring_prep_nop(sqe);
            io_uring_sqe_set_data64(sqe, i);
        }
        int ret = io_uring_submit_and_wait(ring, batch);
        ++*calls;
        if (ret != (int)batch)
            fail(ret < 0 ? -ret : 0, "submitted %d of %u", ret, batch);
        if (io_uring_cq_ready(ring) != batch)
            fail(0, "%u of %u completed", io_uring_cq_ready(ring), batch);
        io_uring_cq_advance(ring, batch);
    }
    return (now_ms(CLOCK_MONOTONIC) - began) * 1e6 / NOPS;
}

static void print_price_list(void)
{
    struct io_uring ring;
    ring_open(&ring, MOST);
    double best[SIZES] = {0};
    unsigned calls[SIZES];
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < SIZES; i++) {
            double ns = ns_per_nop(&ring, 1U << i, &calls[i]);
            if (round == 0 || ns < best[i])
                best[i] = ns;
        }
    io_uring_queue_exit(&ring);

    say("   batch   calls for %d   ns each", NOPS);
    for (int i = 0; i < SIZES; i++)
        say("   %5u   %14u   %7.0f", 1U << i, calls[i], best[i]);
    say("   one by one costs %.1f times as much as %d at a time",
        best[0] / best[SIZES - 1], MOST);
}

int main(int argc, char **argv)
{
    // 1. Eight doors, and a ring of 8.
    struct door doors[DOORS];
    doors_open(doors, DOORS, doors_argument(argc, argv, DOORS));
    struct io_uring ring;
    ring_open(&ring, DOORS);
    say("1. %d doors and a ring of %d", DOORS, DOORS);

    // 2. Fill the submission queue. A ninth entry is not to be had.
    for (unsigned i = 0; i < DOORS; i++)
        if (arm(&ring, &doors[i]) == NULL)
            fail(0, "io_uring_get_sqe: the submission queue is full");
    draw_ring("with a full submission queue", &ring);
    if (io_uring_get_sqe(&ring) != NULL)
        fail(0, "a ring of %d has lent a ninth SQE", DOORS);
    say("2. the ninth io_uring_get_sqe() returned NULL");

    // 3. One system call takes them all.
    int ret = io_uring_submit(&ring);
    say("3. io_uring_submit() = %d", ret);
    if (ret != DOORS)
        fail(ret < 0 ? -ret : 0, "io_uring_submit took %d of %d", ret, DOORS);

    // 4. A visitor at each door. Where nobody is after all, ask again.
    say("4. asleep until somebody is at a door");
    for (unsigned served = 0; served < DOORS;) {
        struct io_uring_cqe *cqe = ring_wait(&ring);
        struct door *door = io_uring_cqe_get_data(cqe);
        int res = cqe->res;
        io_uring_cqe_seen(&ring, cqe);
        if (res < 0)
            fail(-res, "POLL_ADD");
        if (door_greet(door))
            served++;
        else if (arm(&ring, door) == NULL || io_uring_submit(&ring) != 1)
            fail(0, "door %u cannot be armed again", door->number);
    }
    io_uring_queue_exit(&ring);
    doors_close(doors, DOORS);

    // 5. What batching buys.
    say("5. the price list");
    print_price_list();
    return 0;
}
