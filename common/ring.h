// ring.h - a ring of liburing's: set-up, waiting, and its picture
#ifndef RING_H
#define RING_H

#include <liburing.h>

// Draws the ring as its shared memory is now. Here from the start of the
// course. `when` says at which moment of the program this is.
void draw_ring(const char *when, struct io_uring *ring);

// A ring for at most `entries` SQEs at once (a power of two; the CQ holds
// twice as many). The caller ends it with io_uring_queue_exit(3). Where the
// kernel refuses one, the program ends with the cause and what to do.
// Taught by chapter 3. io_uring_queue_init(3)
void ring_open(struct io_uring *ring, unsigned entries);

// The same with io_uring_setup(2)'s parameters: flags, and the CQ's size.
void ring_open_params(struct io_uring *ring, unsigned entries,
                      struct io_uring_params *params);

// Sleeps until there is a CQE and returns it. It stays the ring's: it is valid
// until io_uring_cqe_seen(3). A signal meanwhile is no error. Any other error
// ends the program. Taught by chapter 3. io_uring_wait_cqe(3)
struct io_uring_cqe *ring_wait(struct io_uring *ring);

// Submits what is prepared. A signal meanwhile is no error; any other ends the
// program. Taught by chapter 5. io_uring_submit(3)
void ring_submit(struct io_uring *ring);

// An SQE to fill in: set its user_data, too. Where the queue is full, what is
// in it is submitted first. Taught by chapter 5's exercise. io_uring_get_sqe(3)
struct io_uring_sqe *ring_sqe(struct io_uring *ring);

// Makes sure that the next n SQEs of ring_sqe(), no more than the queue has
// slots, are submitted together. SQEs that are linked must be: a submit between
// them ends the chain. Taught by chapter 13.
void ring_room(struct io_uring *ring, unsigned n);

#endif
