#include "pool.h"

#include "say.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

void pool_open(struct pool *pool, struct io_uring *ring, unsigned count,
               unsigned on_offer)
{
    *pool = (struct pool){.count = count, .ring_size = on_offer};
    pool->buffers = calloc(count, sizeof *pool->buffers);
    if (pool->buffers == NULL)
        fail(errno, "calloc");
    for (; pool->at_home < count; pool->at_home++)
        pool->home[pool->at_home] = (uint16_t)pool->at_home;

    while (pool->ring_size > count / 2)
        pool->ring_size /= 2;
    size_t page = (size_t)getpagesize();
    size_t size = pool->ring_size * sizeof(struct io_uring_buf);
    pool->ring = aligned_alloc(page, (size + page - 1) / page * page);
    if (pool->ring == NULL)
        fail(errno, "aligned_alloc");
    struct io_uring_buf_reg registration = {
        .ring_addr = (uintptr_t)pool->ring,
        .ring_entries = pool->ring_size,
        .bgid = POOL_GROUP,
    };
    int ret = io_uring_register_buf_ring(ring, &registration, 0);
    if (ret < 0)
        fail(-ret, "io_uring_register_buf_ring");
    io_uring_buf_ring_init(pool->ring);
}

void pool_close(struct pool *pool)
{
    free(pool->ring);
    free(pool->buffers);
}

void pool_offer(struct pool *pool)
{
    int added = 0, mask = io_uring_buf_ring_mask(pool->ring_size);
    while (pool->on_offer < pool->ring_size && pool->at_home > 0) {
        uint16_t id = pool->home[--pool->at_home];
        io_uring_buf_ring_add(pool->ring, pool->buffers[id].bytes, POOL_SIZE,
                              id, mask, added++);
        pool->on_offer++;
    }
    io_uring_buf_ring_advance(pool->ring, added);
}

uint16_t pool_taken(struct pool *pool, unsigned flags)
{
    pool->on_offer--;
    return (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT);
}

void pool_give_back(struct pool *pool, uint16_t id)
{
    pool->home[pool->at_home++] = id;
}

unsigned pool_away(const struct pool *pool)
{
    return pool->count - pool->at_home - pool->on_offer;
}
