// direct.h - the ring's own table of files. Taught by chapter 15.
#ifndef DIRECT_H
#define DIRECT_H

#include <liburing.h>

// The listener's slot; its visitors get others.
enum { LISTENER = 0 };

// Registers a table with slots for the listener and for `most` visitors, or for
// as many as the kernel allows: as many as the process may have descriptors.
// The listener moves in, its descriptor is closed. Returns how many visitors
// there is room for. Fails the program where there cannot be a table.
// io_uring_register_files_sparse(3)
unsigned register_table(struct io_uring *ring, unsigned most, int listener);

// Says that what the SQE calls a descriptor is a slot of the table, and packs
// its user_data.
void in_slot(struct io_uring_sqe *sqe, uint32_t kind, unsigned slot);

#endif
