// exercise 7 - the program's side of the completion queue
//
//     07-rings-by-hand
//
// Two functions are missing: cq_peek() and cq_seen(), which liburing calls
// io_uring_peek_cqe() and io_uring_cqe_seen(). The program runs a thousand NOPs
// through a ring of 2, one to four at a time, so the four slots of its CQ are
// used over and over. Then it hands your functions a queue whose counters
// stand at the end of 32 bits.
#include "raw_ring.h"
#include "say.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

enum { NOPS = 1000 };

// The oldest CQE, still in its slot, or NULL when the queue is empty. Does not
// take it out: the same call again returns the same CQE.
static struct io_uring_cqe *cq_peek(struct raw_ring *ring)
{
    // TODO(exercise): compare our head with the kernel's tail (with acquire);
    // the slot of a counter is counter & (ring->cq_entries - 1).
    (void)ring;
    return NULL;
}

// Gives the oldest CQE back: its slot is the kernel's again.
static void cq_seen(struct raw_ring *ring)
{
    // TODO(exercise): move our head (with release).
    (void)ring;
}

// Takes the next CQE out. It must be there, and carry this user_data.
static void expect(struct raw_ring *ring, unsigned user_data)
{
    struct io_uring_cqe *cqe = cq_peek(ring);
    if (cqe == NULL)
        fail(0, "CQE %u: cq_peek() returned NULL, but it is there", user_data);
    if (cqe->user_data != user_data)
        fail(0, "CQE %u: cq_peek() returned the one with user_data %llu",
             user_data, (unsigned long long)cqe->user_data);
    if (cq_peek(ring) != cqe)
        fail(0, "CQE %u: a second cq_peek() returned another", user_data);
    if (cqe < ring->cqes || cqe >= ring->cqes + ring->cq_entries)
        fail(0, "CQE %u: cq_peek() returned a copy, not the slot", user_data);
    say("CQE %u", user_data);
    unsigned head = *ring->cq_head;
    cq_seen(ring);
    if (*ring->cq_head != head + 1)
        fail(0,
             "CQE %u: cq_seen() moved the head from %u to %u; it counts up "
             "by one and is never masked",
             user_data, head, *ring->cq_head);
}

static void expect_empty(struct raw_ring *ring, const char *when)
{
    if (cq_peek(ring) != NULL)
        fail(0, "%s, cq_peek() returned a CQE, but there is none", when);
}

// Batches of 1, 2, 3, 4, 1, 2 ...: the head and the tail stand at every slot.
static void run_nops(struct raw_ring *ring)
{
    unsigned done = 0;
    for (unsigned batch = 1; done < NOPS; batch = batch % 4 + 1) {
        for (unsigned i = 0; i < batch; i++) {
            struct io_uring_sqe *sqe = raw_ring_next(ring);
            if (sqe == NULL)
                fail(0, "the submission queue is full");
            sqe->opcode = IORING_OP_NOP;
            sqe->user_data = done + i;
            raw_ring_push(ring);
            raw_ring_enter(ring, 1, 0);
        }
        raw_ring_enter(ring, 0, batch);
        for (unsigned i = 0; i < batch; i++)
            expect(ring, done + i);
        expect_empty(ring, "after a batch");
        done += batch;
    }
}

// No kernel here: a queue of four as it stands after 2^32 - 1 completions. The
// next ones are in slots 3, 0 and 1, and the tail has passed the end.
static void run_past_the_end(void)
{
    _Atomic unsigned head = UINT_MAX, tail = 2;
    struct io_uring_cqe *cqes = calloc(4, sizeof *cqes);
    if (cqes == NULL)
        fail(errno, "calloc");
    cqes[3].user_data = 0;
    cqes[0].user_data = 1;
    cqes[1].user_data = 2;
    cqes[2].user_data = 99;
    struct raw_ring ring = {
        .cq_head = &head, .cq_tail = &tail, .cq_entries = 4, .cqes = cqes};
    for (unsigned i = 0; i < 3; i++)
        expect(&ring, i);
    expect_empty(&ring, "past the end of 32 bits");
    if (head != 2)
        fail(0, "past the end of 32 bits, the head is %u, not 2", head);
    free(cqes);
}

int main(void)
{
    struct raw_ring ring;
    raw_ring_open(&ring, 2);
    expect_empty(&ring, "in the beginning");
    run_nops(&ring);
    say("%d completions, in order", NOPS);
    raw_ring_close(&ring);

    run_past_the_end();
    say("and past the end of 32 bits");
    return 0;
}
