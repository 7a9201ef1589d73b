// user_data.h - a kind and an index in a CQE's 64 bits. Taught by chapter 4's
// exercise.
#ifndef USER_DATA_H
#define USER_DATA_H

#include <stdint.h>

// What was asked for goes into the upper 32 bits, for which one into the lower.
// These three functions are all that knows it.
static inline uint64_t pack(uint32_t kind, uint32_t index)
{
    return (uint64_t)kind << 32 | index;
}

static inline uint32_t kind_of(uint64_t user_data)
{
    return (uint32_t)(user_data >> 32);
}

static inline uint32_t index_of(uint64_t user_data)
{
    return (uint32_t)user_data;
}

#endif
