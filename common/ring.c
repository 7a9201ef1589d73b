#include "ring.h"

#include "picture.h"
#include "say.h"

#include <errno.h>
#include <stdio.h>

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

// The switch kernel.io_uring_disabled: 0 lets everybody use io_uring, 1 only
// root and a group, 2 nobody. Linux before 6.6 has no such switch.
static int io_uring_disabled(void)
{
    FILE *sysctl = fopen("/proc/sys/kernel/io_uring_disabled", "r");
    if (sysctl == NULL)
        return 0;
    int value;
    if (fscanf(sysctl, "%d", &value) != 1)
        value = 0;
    fclose(sysctl);
    return value;
}

// Why the kernel refuses a ring, and what to do. NULL where nobody knows.
static const char *why_refused(int err)
{
    switch (err) {
    case EPERM:
        if (io_uring_disabled() != 0)
            return "io_uring is switched off on this machine; "
                   "as root: sysctl kernel.io_uring_disabled=0";
        return "a seccomp filter forbids io_uring, as containers do; "
               "docker run --security-opt seccomp=unconfined";
    case ENOSYS:
        return "this kernel has no io_uring (the course needs Linux 5.6), or "
               "a container hides it; see make doctor";
    case ENOMEM:
        return "no memory for the ring; before Linux 5.12 it counts as locked "
               "memory, see ulimit -l";
    case EMFILE:
        return "this process may open no more files; see ulimit -n";
    default:
        return NULL;
    }
}

void ring_open(struct io_uring *ring, unsigned entries)
{
    int ret = io_uring_queue_init(entries, ring, 0);
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
