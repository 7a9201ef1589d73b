// clock.h - time. Taught by chapter 1.
#ifndef CLOCK_H
#define CLOCK_H

#include <time.h>

// A clock's reading in milliseconds. CLOCK_MONOTONIC is the time that passes;
// CLOCK_THREAD_CPUTIME_ID moves only while this thread is on a CPU.
// Fails the program for a clock that does not exist. clock_gettime(2)
double now_ms(clockid_t clock);

#endif
