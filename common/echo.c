#include "echo.h"

#include "ring.h"
#include "say.h"
#include "user_data.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

void echo_open(struct echo *echo, struct io_uring *ring, uint32_t most)
{
    *echo = (struct echo){.ring = ring, .most = most, .free = most};
    echo->conns = calloc(most, sizeof *echo->conns);
    if (echo->conns == NULL)
        fail(errno, "calloc");
    say("1. at most %u connections, %zu bytes for each: %zu KB", most,
        sizeof(struct conn), most * sizeof(struct conn) / 1024);
}

void echo_close(struct echo *echo)
{
    free(echo->conns);
}

static uint32_t place_of(const struct echo *echo, const struct conn *conn)
{
    return (uint32_t)(conn - echo->conns);
}

static void receive(struct echo *echo, struct conn *conn)
{
    struct io_uring_sqe *sqe = ring_sqe(echo->ring);
    io_uring_prep_recv(sqe, conn->fd, conn->buffer, ECHO_BUFFER, 0);
    io_uring_sqe_set_data64(sqe, pack(ECHO_RECV, place_of(echo, conn)));
}

static void send_rest(struct echo *echo, struct conn *conn)
{
    struct io_uring_sqe *sqe = ring_sqe(echo->ring);
    io_uring_prep_send(sqe, conn->fd, conn->buffer + conn->start,
                       conn->end - conn->start, MSG_NOSIGNAL);
    io_uring_sqe_set_data64(sqe, pack(ECHO_SEND, place_of(echo, conn)));
}

static void hang_up(struct echo *echo, struct conn *conn)
{
    struct io_uring_sqe *sqe = ring_sqe(echo->ring);
    io_uring_prep_close(sqe, conn->fd);
    io_uring_sqe_set_data64(sqe, pack(ECHO_CLOSE, place_of(echo, conn)));
}

// Nothing happened: the same may be asked for again.
static bool ask_again(int res)
{
    return res == -EAGAIN || res == -EINTR;
}

void echo_welcome(struct echo *echo, int fd)
{
    uint32_t place = echo->free;
    if (place != echo->most)
        echo->free = echo->conns[place].next_free;
    else
        place = echo->used++;
    struct conn *conn = &echo->conns[place];
    conn->fd = fd;
    conn->echoed = 0;
    echo->open++;
    say("   a visitor on descriptor %d, %u here now", fd, echo->open);
    receive(echo, conn);
}

static void received(struct echo *echo, struct conn *conn, int res)
{
    if (res > 0) {
        conn->start = 0;
        conn->end = (size_t)res;
        send_rest(echo, conn);
    } else if (ask_again(res)) {
        receive(echo, conn);
    } else {
        hang_up(echo, conn); // their end (0), or an error
    }
}

// A send may take less than it was given: the rest is sent next. Only then is
// more received, so a visitor who does not listen is not listened to.
static void sent(struct echo *echo, struct conn *conn, int res)
{
    if (res > 0) {
        conn->start += (size_t)res;
        conn->echoed += (size_t)res;
    }
    if (res <= 0 && !ask_again(res))
        hang_up(echo, conn);
    else if (conn->start < conn->end)
        send_rest(echo, conn);
    else
        receive(echo, conn);
}

// The last completion of this connection: its place is free.
static void closed(struct echo *echo, struct conn *conn)
{
    say("   descriptor %d has left, %zu bytes echoed", conn->fd, conn->echoed);
    conn->next_free = echo->free;
    echo->free = place_of(echo, conn);
    echo->open--;
}

bool echo_complete(struct echo *echo, uint64_t user_data, int res)
{
    struct conn *conn = &echo->conns[index_of(user_data)];
    switch (kind_of(user_data)) {
    case ECHO_RECV:
        received(echo, conn, res);
        return false;
    case ECHO_SEND:
        sent(echo, conn, res);
        return false;
    default:
        closed(echo, conn);
        return true;
    }
}
