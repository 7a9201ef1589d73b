// arrivals.h - visitors, brought by one multishot ACCEPT. Taught by chapter 11,
// where the same code is written out.
#ifndef ARRIVALS_H
#define ARRIVALS_H

#include <liburing.h>
#include <stdbool.h>

// What is asked for here, as kinds in user_data. A program's own are smaller.
enum { ARRIVALS_ACCEPT = 256, ARRIVALS_CANCEL };

struct arrivals {
    struct io_uring *ring; // the caller's
    int listener;          // ours, until arrivals_close()
    unsigned most;         // places for visitors
    bool accepting; // an ACCEPT is in flight: its last completion is to come
    bool full;      // no descriptor was left; wait until one is free
    long to_come;   // visitors still wanted; negative: no end
};

// Listens at the port. `visitors` as server_arguments() gives it: 0 for no end.
// From here on the process may have `most` descriptors, which bounds the
// completions too. The ring may be opened later.
void arrivals_open(struct arrivals *arrivals, struct io_uring *ring,
                   uint16_t port, unsigned most, long visitors);

void arrivals_close(struct arrivals *arrivals);

// Asks for visitors, unless an ACCEPT does so still or there is no use in it.
// To be called once a turn.
void arrivals_ask(struct arrivals *arrivals);

// Whether somebody may come yet.
bool arrivals_expected(const struct arrivals *arrivals);

// A completion of kind ARRIVALS_ACCEPT or ARRIVALS_CANCEL, while `open`
// visitors are here. The descriptor of a new one, the caller's to close; or -1.
int arrivals_complete(struct arrivals *arrivals, uint64_t user_data, int res,
                      unsigned flags, unsigned open);

// A descriptor has become free.
void arrivals_left(struct arrivals *arrivals);

#endif
