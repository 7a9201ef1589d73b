// exercise 8 - a chat
//
//     08-readiness-server [PORT]
//
// The event loop is chapter 8's; as it stands, it is an echo. Make it a chat:
// what one visitor says, all others hear, and the speaker does not. A visitor
// who never reads must not stop the rest: at most OUTBOX bytes wait for them,
// and whoever lets more pile up is let go.
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

// TODO(exercise): what did send() not take? Keep it in conn->outbox, and have
// POLLOUT (the watch `out`) say when it is worth trying again.
static void send_waiting(struct server *server, struct conn *conn)
{
    (void)server;
    (void)conn;
}

// TODO(exercise): say it to all others, and not to the speaker. A visitor who
// never reads must not stop the rest, and must not cost more than an outbox.
static void say_to_others(struct server *server, struct conn *speaker,
                          const char *words, size_t size)
{
    (void)server;
    if (send(speaker->fd, words, size, MSG_NOSIGNAL) < 0)
        let_go(speaker);
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
