// accept.h - what the errors of accept mean for a server. Taught by chapter 8.
#ifndef ACCEPT_H
#define ACCEPT_H

#include <stdbool.h>

// What an error of accept (positive) says. visitor_lost: only that this visitor
// cannot be had; the next one can. no_room: there is no descriptor or memory
// now; the visitor stays in the backlog. accept(2)
bool visitor_lost(int err);
bool no_room(int err);

#endif
