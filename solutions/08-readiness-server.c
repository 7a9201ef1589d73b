// solution 8 - a chat
//
//     08-readiness-server [PORT]
//
// An echo may stop reading while its visitor does not listen. A chat may not:
// the speaker is not to blame for who does not listen. So each visitor has an
// outbox of a fixed size, and two polls instead of one: POLLIN is always under
// way, POLLOUT only while something waits in the outbox. When the outbox is
// full, something must give. Blocking all others is out of the question,
// growing the outbox has no end, so the visitor who does not listen is let go.
//
// With two polls a connection can have two completions to come. It is freed
// when both are home, not when it was let go: until then the kernel holds
// pointers to it.
#include "accept.h"
#include "args.h"
#include "net.h"
#include "ring.h"
#include "rlimit.h"
#include "say.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 1000, OUTBOX = 65536, LINE = 4096 };

struct conn;

// A poll that may be under way; its user_data points here.
struct watch {
    struct conn *conn;
    bool armed;
};

// A visitor. There may be two polls of it under way, one for each direction,
// so it is freed only when it is leaving and neither is armed.
struct conn {
    struct conn *next;
    int fd; // ours to close
    struct watch in, out;
    bool leaving;
    size_t waiting; // bytes of `outbox` that are still to be sent
    char outbox[OUTBOX];
};

struct server {
    struct io_uring ring;
    struct watch listener; // its conn is NULL
    int listener_fd;
    struct conn *conns;
    unsigned open;
    bool full; // no descriptor was left; wait until a visitor leaves
};

static void arm(struct server *server, struct watch *watch, int fd,
                unsigned events)
{
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_poll_add(sqe, fd, events);
    io_uring_sqe_set_data(sqe, watch);
    watch->armed = true;
}

// The polls of a connection that has been shut down complete by themselves;
// reap() frees it when they have.
static void let_go(struct conn *conn)
{
    conn->leaving = true;
    shutdown(conn->fd, SHUT_RDWR);
}

static void reap(struct server *server)
{
    struct conn **link = &server->conns;
    while (*link != NULL) {
        struct conn *conn = *link;
        if (!conn->leaving || conn->in.armed || conn->out.armed) {
            link = &conn->next;
            continue;
        }
        *link = conn->next;
        close(conn->fd);
        free(conn);
        server->open--;
        server->full = false;
        say("   a visitor has left, %u here now", server->open);
    }
}

// Sends what waits, as far as the visitor takes it, and asks to be told when
// they take more.
static void send_waiting(struct server *server, struct conn *conn)
{
    ssize_t sent = send(conn->fd, conn->outbox, conn->waiting, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        let_go(conn);
        return;
    }
    if (sent > 0) {
        conn->waiting -= (size_t)sent;
        memmove(conn->outbox, conn->outbox + sent, conn->waiting);
    }
    if (conn->waiting > 0 && !conn->out.armed)
        arm(server, &conn->out, conn->fd, POLLOUT);
}

// Puts the words into everybody's outbox but the speaker's. Whoever has let a
// whole outbox pile up does not listen: nobody waits for them.
static void say_to_others(struct server *server, struct conn *speaker,
                          const char *words, size_t size)
{
    for (struct conn *conn = server->conns; conn != NULL; conn = conn->next) {
        if (conn == speaker || conn->leaving)
            continue;
        if (OUTBOX - conn->waiting < size) {
            let_go(conn);
            continue;
        }
        memcpy(conn->outbox + conn->waiting, words, size);
        conn->waiting += size;
        send_waiting(server, conn);
    }
}

static void hear(struct server *server, struct conn *conn)
{
    char words[LINE];
    ssize_t got = recv(conn->fd, words, sizeof words, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
        let_go(conn);
        return;
    }
    if (got > 0)
        say_to_others(server, conn, words, (size_t)got);
    arm(server, &conn->in, conn->fd, POLLIN);
}

static void welcome(struct server *server)
{
    int fd = accept4(server->listener_fd, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0) {
        server->full = no_room(errno);
        if (server->full && server->open > 0)
            return;
        if (errno != EAGAIN && !visitor_lost(errno))
            fail(errno, "accept");
        return;
    }
    struct conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL) {
        close(fd);
        return;
    }
    conn->fd = fd;
    conn->in.conn = conn->out.conn = conn;
    conn->next = server->conns;
    server->conns = conn;
    server->open++;
    say("   a visitor has come, %u here now", server->open);
    arm(server, &conn->in, fd, POLLIN);
}

int main(int argc, char **argv)
{
    struct server server = {0};
    raise_descriptor_limit();
    server.listener_fd = tcp_listen(port_argument(argc, argv), SOCK_NONBLOCK);
    struct io_uring_params params = {.flags = IORING_SETUP_CQSIZE,
                                     .cq_entries = 4096};
    ring_open_params(&server.ring, 256, &params);
    say("a chat of at most %d visitors, %zu bytes for each", MOST,
        sizeof(struct conn));

    for (;;) {
        if (!server.listener.armed && !server.full && server.open < MOST)
            arm(&server, &server.listener, server.listener_fd, POLLIN);
        int ret = io_uring_submit_and_wait(&server.ring, 1);
        if (ret < 0 && ret != -EINTR)
            fail(-ret, "io_uring_submit_and_wait");

        unsigned ready = io_uring_cq_ready(&server.ring);
        struct io_uring_cqe *cqe;
        while (ready-- > 0 && io_uring_peek_cqe(&server.ring, &cqe) == 0) {
            struct watch *watch = io_uring_cqe_get_data(cqe);
            int res = cqe->res;
            io_uring_cqe_seen(&server.ring, cqe);
            watch->armed = false;
            struct conn *conn = watch->conn;
            if (res < 0)
                fail(-res, "POLL_ADD");
            if (conn == NULL)
                welcome(&server);
            else if (!conn->leaving && watch == &conn->in)
                hear(&server, conn);
            else if (!conn->leaving)
                send_waiting(&server, conn);
        }
        reap(&server);
    }
}

// exercise.c as shipped: dba26c1d46b8c23f510d0e0f73948d6bfbd34878
