#include "clock.h"

#include "say.h"

#include <errno.h>

double now_ms(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t) < 0)
        fail(errno, "clock_gettime");
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}
