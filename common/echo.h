// echo.h - echo connections on a ring: receive, send, hang up. Taught by
// chapter 10, where the same code is written out.
#ifndef ECHO_H
#define ECHO_H

#include <liburing.h>

enum { ECHO_BUFFER = 4096 };

// What was asked for: the upper half of user_data; the lower is the place of
// the connection in echo.conns. A program's own kinds begin at ECHO_KINDS.
enum { ECHO_RECV = 1, ECHO_SEND, ECHO_CLOSE, ECHO_KINDS };

// A connection. From echo_welcome() to the CLOSE's completion exactly one
// operation is in flight, and while that is a RECV or a SEND, the buffer is the
// kernel's: nobody reads it, writes it or gives its place away before the CQE.
struct conn {
    int fd;             // the CLOSE in the end closes it
    uint32_t next_free; // while the place is free
    size_t start, end;  // the bytes of `buffer` that are received, not yet sent
    size_t echoed;
    char buffer[ECHO_BUFFER];
};

struct echo {
    struct io_uring *ring; // the caller's
    struct conn *conns;    // `most` of them
    uint32_t most;
    uint32_t open; // connections
    uint32_t used; // places that were ever used
    uint32_t free; // a free one of them; `most`: none
};

// Makes room for `most` connections and says what they may cost. The memory is
// used when a place is first used. Fails the program where there is none.
void echo_open(struct echo *echo, struct io_uring *ring, uint32_t most);

// Only when no operation is in flight any more.
void echo_close(struct echo *echo);

// A new connection, of which there must not be `most` already. The descriptor
// is closed by the ring when the visitor has left.
void echo_welcome(struct echo *echo, int fd);

// Moves a connection on by one completion of kind ECHO_RECV, ECHO_SEND or
// ECHO_CLOSE. True when that was its last: a descriptor has become free.
bool echo_complete(struct echo *echo, uint64_t user_data, int res);

#endif
