// pool.h - a pool of buffers from which the kernel takes. Taught by chapter 12,
// where the same code is written out.
#ifndef POOL_H
#define POOL_H

#include <liburing.h>

enum { POOL_MOST = 16384, POOL_SIZE = 1024, POOL_GROUP = 0 };

struct buffer {
    uint16_t next;       // in a queue of the caller's
    uint16_t start, end; // the bytes that are received, not yet sent
    char bytes[POOL_SIZE];
};

// Each buffer is in one of three places:
//
// - at home. Nobody uses it.
// - on offer, in the ring that the kernel takes from. It is the kernel's, until
//   a completion with IORING_CQE_F_BUFFER names it, whatever that one's res is.
// - away: the caller's, until it is given back.
struct pool {
    struct buffer *buffers;         // `count` of them
    struct io_uring_buf_ring *ring; // shared with the kernel
    unsigned count, ring_size, on_offer, at_home;
    uint16_t home[POOL_MOST]; // the first `at_home` are; last in, first out
};

// `count` buffers, from 2 to POOL_MOST; half of them are on offer at most, and
// no more than `on_offer`, a power of two. Fails the program where it cannot.
void pool_open(struct pool *pool, struct io_uring *ring, unsigned count,
               unsigned on_offer);

// After io_uring_queue_exit(3): until then buffers may be the kernel's.
void pool_close(struct pool *pool);

// Puts buffers from home on offer, as many as there is room for.
void pool_offer(struct pool *pool);

// A completion with IORING_CQE_F_BUFFER: its buffer, away from here on.
uint16_t pool_taken(struct pool *pool, unsigned flags);

// What was away is at home.
void pool_give_back(struct pool *pool, uint16_t id);

// How many are away.
unsigned pool_away(const struct pool *pool);

#endif
