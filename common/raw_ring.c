#include "raw_ring.h"

#include "refusal.h"
#include "say.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *map(int fd, size_t size, off_t what)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_POPULATE, fd, what);
    if (memory == MAP_FAILED)
        fail(errno, "mmap of the ring");
    return memory;
}

void raw_ring_open(struct raw_ring *ring, unsigned entries)
{
    struct io_uring_params params = {0};
    ring->fd = (int)syscall(SYS_io_uring_setup, entries, &params);
    int err = errno;
    if (ring->fd < 0)
        fail_with(err, why_refused(err), "io_uring_setup");
    if ((params.features & IORING_FEAT_SINGLE_MMAP) == 0)
        fail(0, "this kernel maps its two queues apart (Linux before 5.4)");

    // One mapping holds both queues; it must reach to the end of the longer.
    size_t sq_size = params.sq_off.array + params.sq_entries * sizeof(unsigned);
    size_t cq_size =
        params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
    ring->memory_size = sq_size > cq_size ? sq_size : cq_size;
    ring->memory = map(ring->fd, ring->memory_size, IORING_OFF_SQ_RING);
    ring->sqes =
        map(ring->fd, params.sq_entries * sizeof *ring->sqes, IORING_OFF_SQES);

    // The kernel has told where in it everything is.
    char *base = ring->memory;
    ring->sq_head = (_Atomic unsigned *)(base + params.sq_off.head);
    ring->sq_tail = (_Atomic unsigned *)(base + params.sq_off.tail);
    ring->sq_array = (unsigned *)(base + params.sq_off.array);
    ring->sq_entries = params.sq_entries;
    ring->cq_head = (_Atomic unsigned *)(base + params.cq_off.head);
    ring->cq_tail = (_Atomic unsigned *)(base + params.cq_off.tail);
    ring->cqes = (struct io_uring_cqe *)(base + params.cq_off.cqes);
    ring->cq_entries = params.cq_entries;
}

void raw_ring_close(struct raw_ring *ring)
{
    munmap(ring->sqes, ring->sq_entries * sizeof *ring->sqes);
    munmap(ring->memory, ring->memory_size);
    close(ring->fd);
}

struct io_uring_sqe *raw_ring_next(struct raw_ring *ring)
{
    unsigned tail = atomic_load_explicit(ring->sq_tail, memory_order_relaxed);
    unsigned head = atomic_load_explicit(ring->sq_head, memory_order_acquire);
    if (tail - head == ring->sq_entries)
        return NULL;
    unsigned slot = tail & (ring->sq_entries - 1);
    ring->sq_array[slot] = slot;
    return memset(&ring->sqes[slot], 0, sizeof *ring->sqes);
}

// Release: whoever sees the new tail sees the SQE that was written before it.
void raw_ring_push(struct raw_ring *ring)
{
    unsigned tail = atomic_load_explicit(ring->sq_tail, memory_order_relaxed);
    atomic_store_explicit(ring->sq_tail, tail + 1, memory_order_release);
}

void raw_ring_enter(struct raw_ring *ring, unsigned submit, unsigned wait)
{
    unsigned flags = wait > 0 ? IORING_ENTER_GETEVENTS : 0;
    long ret;
    do
        ret =
            syscall(SYS_io_uring_enter, ring->fd, submit, wait, flags, NULL, 0);
    while (ret < 0 && errno == EINTR && submit > 0);
    if (ret < 0 && errno != EINTR)
        fail(errno, "io_uring_enter");
    if (ret >= 0 && ret != submit)
        fail(0, "io_uring_enter took %ld of %u", ret, submit);
}
