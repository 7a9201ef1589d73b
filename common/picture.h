// picture.h - the ring picture: both queues as the shared memory shows them
//
// Here from the start of the course; no chapter teaches it. It needs no
// liburing: chapter 7 draws rings that it has made by hand.
#ifndef PICTURE_H
#define PICTURE_H

#include <stdint.h>

struct io_uring_sqe;
struct io_uring_cqe;

// Where a ring's parts are, and what its counters say now. The pointers stay
// the ring's own: nothing here is written or freed.
struct ring_view {
    struct {
        unsigned head, tail, entries; // entries is a power of two
        unsigned prepared;            // SQEs filled in behind the tail
        const unsigned *array;        // slot -> index into sqes
        const struct io_uring_sqe *sqes;
    } sq;
    struct {
        unsigned head, tail, entries;
        const struct io_uring_cqe *cqes;
    } cq;
};

// Draws both queues to standard output, at most 80 columns wide:
//   #  an entry from head to tail, which the other side may take
//   +  an SQE that is filled in, but that the tail does not include yet
//   H  the slot that the head counts next, T the one that the tail does
// `when` says at which moment of the program this is.
void draw_view(const char *when, const struct ring_view *view);

#endif
