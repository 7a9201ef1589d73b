// overflow - what it costs when completions do not fit into the CQ
//
//     overflow
//
// Chapter 14's claims, asked of this kernel: 4,096 NOPs at once through a CQ
// that holds them all, and through one of 64, in turns, and the medians. Every
// CQE must come once, in order, and be told of by IORING_SQ_CQ_OVERFLOW before.
#include "clock.h"
#include "ring.h"
#include "say.h"

#include <stdbool.h>
#include <stdlib.h>

enum { NOPS = 4096, ROUNDS = 101, SMALL = 64 };

static double round_ns(struct io_uring *ring, bool small)
{
    double start = now_ms(CLOCK_MONOTONIC);
    for (uint64_t i = 0; i < NOPS; i++) {
        struct io_uring_sqe *sqe = ring_sqe(ring);
        io_uring_prep_nop(sqe);
        io_uring_sqe_set_data64(sqe, i);
    }
    ring_submit(ring);
    if (io_uring_cq_has_overflow(ring) != small)
        fail(0, "overflow is %s", small ? "not seen" : "seen");
    struct io_uring_cqe *cqe;
    uint64_t came = 0;
    for (; io_uring_peek_cqe(ring, &cqe) == 0; came++) {
        if (cqe->user_data != came)
            fail(0, "CQE %llu came as number %llu",
                 (unsigned long long)cqe->user_data, (unsigned long long)came);
        io_uring_cqe_seen(ring, cqe);
    }
    if (came != NOPS || *ring->cq.koverflow != 0)
        fail(0, "%llu of %d CQEs came, koverflow %u", (unsigned long long)came,
             NOPS, *ring->cq.koverflow);
    return (now_ms(CLOCK_MONOTONIC) - start) * 1e6 / NOPS;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(void)
{
    unsigned sizes[2] = {NOPS, SMALL};
    struct io_uring rings[2];
    double ns[2][ROUNDS];
    for (int i = 0; i < 2; i++) {
        struct io_uring_params params = {.flags = IORING_SETUP_CQSIZE,
                                         .cq_entries = sizes[i]};
        ring_open_params(&rings[i], SMALL, &params);
    }
    for (int r = 0; r < ROUNDS; r++)
        for (int i = 0; i < 2; i++)
            ns[i][r] = round_ns(&rings[i], i == 1);
    for (int i = 0; i < 2; i++) {
        qsort(ns[i], ROUNDS, sizeof ns[i][0], by_size);
        say("a CQ of %u: %.0f ns each", sizes[i], ns[i][ROUNDS / 2]);
        io_uring_queue_exit(&rings[i]);
    }
    say("all came, in order; overflow costs %.2f times as much",
        ns[1][ROUNDS / 2] / ns[0][ROUNDS / 2]);
    return 0;
}
