#include "ring.h"

#include "picture.h"
#include "refusal.h"
#include "say.h"

#include <errno.h>

void draw_ring(const char *when, struct io_uring *ring)
{
    // liburing hands out SQEs up to sqe_tail and moves the shared tail there
    // when it submits.
    unsigned tail = io_uring_smp_load_acquire(ring->sq.ktail);
    struct ring_view view = {
        .sq.head = io_uring_smp_load_acquire(ring->sq.khead),
        .sq.tail = tail,
        .sq.entries = ring->sq.ring_entries,
        .sq.prepared = ring->sq.sqe_tail - tail,
        .sq.array = ring->sq.array,
        .sq.sqes = ring->sq.sqes,
        .cq.head = *ring->cq.khead,
        .cq.tail = io_uring_smp_load_acquire(ring->cq.ktail),
        .cq.entries = ring->cq.ring_entries,
        .cq.cqes = ring->cq.cqes,
    };
    draw_view(when, &view);
}

void ring_open(struct io_uring *ring, unsigned entries)
{
    struct io_uring_params params = {0};
    ring_open_params(ring, entries, &params);
}

void ring_open_params(struct io_uring *ring, unsigned entries,
                      struct io_uring_params *params)
{
    int ret = io_uring_queue_init_params(entries, ring, params);
    if (ret < 0)
        fail_with(-ret, why_refused(-ret), "io_uring_queue_init");
}

struct io_uring_cqe *ring_wait(struct io_uring *ring)
{
    struct io_uring_cqe *cqe;
    int ret;
    do
        ret = io_uring_wait_cqe(ring, &cqe);
    while (ret == -EINTR);
    if (ret < 0)
        fail(-ret, "io_uring_wait_cqe");
    return cqe;
}

void ring_submit(struct io_uring *ring)
{
    int ret;
    do
        ret = io_uring_submit(ring);
    while (ret == -EINTR);
    if (ret < 0)
        fail(-ret, "io_uring_submit");
}

struct io_uring_sqe *ring_sqe(struct io_uring *ring)
{
    struct io_uring_sqe *sqe;
    while ((sqe = io_uring_get_sqe(ring)) == NULL)
        ring_submit(ring);
    return sqe;
}

void ring_room(struct io_uring *ring, unsigned n)
{
    while (io_uring_sq_space_left(ring) < n)
        ring_submit(ring);
}
