// raw_ring.h - a ring without liburing. Taught by chapter 7, where the same
// code is written out; here for its exercise.
#ifndef RAW_RING_H
#define RAW_RING_H

#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stddef.h>

// Pointers into the memory that the kernel and we share. Each counter is
// written by one side only and never goes back; its slot is counter & mask.
struct raw_ring {
    int fd;
    void *memory; // both queues, but for the SQEs; raw_ring_close() unmaps it
    size_t memory_size;

    _Atomic unsigned *sq_head; // the kernel's: it has taken SQEs up to here
    _Atomic unsigned *sq_tail; // ours: we have put in SQEs up to here
    unsigned sq_entries;
    unsigned *sq_array;        // slot -> which of the sqes
    struct io_uring_sqe *sqes; // raw_ring_close() unmaps them

    _Atomic unsigned *cq_head; // ours: we have taken CQEs up to here
    _Atomic unsigned *cq_tail; // the kernel's: it has put in CQEs up to here
    unsigned cq_entries;       // a power of two
    struct io_uring_cqe *cqes;
};

// Sets up a ring of `entries` SQEs and twice as many CQEs, or fails the program
// with the cause. The caller closes it. io_uring_setup(2)
void raw_ring_open(struct raw_ring *ring, unsigned entries);
void raw_ring_close(struct raw_ring *ring);

// The SQE at the tail, cleared, or NULL where the queue is full. The kernel
// learns of it by raw_ring_push().
struct io_uring_sqe *raw_ring_next(struct raw_ring *ring);
void raw_ring_push(struct raw_ring *ring);

// Hands over `submit` SQEs and sleeps until `wait` CQEs are there. A signal
// that ends the sleep is no error: then there may be fewer. Any other error
// fails the program. io_uring_enter(2)
void raw_ring_enter(struct raw_ring *ring, unsigned submit, unsigned wait);

#endif
