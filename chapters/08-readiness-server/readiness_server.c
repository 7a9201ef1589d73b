// readiness_server - one thread, one ring, thousands of visitors
//
//     readiness_server [PORT [VISITORS]]
//
// Sends back what each visitor sends. An event loop on POLL_ADD: a turn of the
// loop submits what was prepared and sleeps, in one call, then acts on every
// completion that is there. Runs for ever, or until VISITORS have come and
// gone.
#include "args.h"
#include "net.h"
#include "ring.h"
#include "say.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

// With one poll for each connection and one for the listener, there are never
// more than MOST + 1 completions: a CQ of that size cannot overflow.
enum { MOST = 4095, BUFFER = 4096 };

// A connection is pointed to by its poll's user_data. It always has exactly
// one poll under way, but while its CQE is handled; it is freed only then.
struct conn {
    int fd;            // ours to close
    size_t start, end; // the bytes of `buffer` that are read and not yet sent
    size_t echoed;
    char buffer[BUFFER];
};

struct server {
    struct io_uring ring;
    int listener; // its poll's user_data points here
    bool polled;  // ... and is under way
    bool full;    // no descriptor was left; wait until a connection closes
    long to_come; // visitors still to be accepted; negative: no end
    unsigned open;
    unsigned long turns, completions;
};

// One descriptor for each connection: as many as this process may have.
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        fail(errno, "getrlimit");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        fail(errno, "setrlimit");
}

static void poll_for(struct server *server, int fd, unsigned events, void *data)
{
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_poll_add(sqe, fd, events);
    io_uring_sqe_set_data(sqe, data);
}

static void let_go(struct server *server, struct conn *conn)
{
    say("   descriptor %d has left, %zu bytes echoed", conn->fd, conn->echoed);
    close(conn->fd);
    free(conn);
    server->open--;
    server->full = false;
}

// A non-blocking call found nothing to do: that is no reason to let go.
static bool try_later(int err)
{
    return err == EAGAIN || err == EWOULDBLOCK || err == EINTR;
}

// The connection is ready. Reads only when all that was read before has been
// sent: a visitor who does not listen is not listened to, and the buffer is
// all the memory they get.
static void serve(struct server *server, struct conn *conn)
{
    if (conn->start == conn->end) {
        ssize_t got = recv(conn->fd, conn->buffer, BUFFER, 0);
        if (got == 0 || (got < 0 && !try_later(errno))) {
            let_go(server, conn);
            return;
        }
        conn->start = 0;
        conn->end = got < 0 ? 0 : (size_t)got;
    }
    if (conn->start < conn->end) {
        ssize_t sent = send(conn->fd, conn->buffer + conn->start,
                            conn->end - conn->start, MSG_NOSIGNAL);
        if (sent < 0 && !try_later(errno)) {
            let_go(server, conn);
            return;
        }
        if (sent > 0) {
            conn->start += (size_t)sent;
            conn->echoed += (size_t)sent;
        }
    }
    bool waiting = conn->start < conn->end;
    poll_for(server, conn->fd, waiting ? POLLOUT : POLLIN, conn);
}

static void welcome(struct server *server, int fd)
{
    struct conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL) {
        say("   no memory for the visitor on descriptor %d", fd);
        close(fd);
        return;
    }
    conn->fd = fd;
    server->open++;
    say("   a visitor on descriptor %d, %u here now", fd, server->open);
    poll_for(server, fd, POLLIN, conn);
}

// Errors of accept() that say only that this visitor cannot be had. accept(2)
static bool visitor_lost(int err)
{
    switch (err) {
    case ECONNABORTED:
    case EPERM: // a firewall's rules
    case EINTR:
    // errors of the network that were waiting on the new connection
    case ENETDOWN:
    case EPROTO:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
        return true;
    default:
        return false;
    }
}

// No descriptor or no memory now: the visitor stays in the backlog.
static bool no_room(int err)
{
    return err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM;
}

// The listener is ready. Takes everybody out of the backlog for whom there is
// room. Without a descriptor the rest stay there, and we stop asking.
static void accept_all(struct server *server)
{
    while (server->to_come != 0 && server->open < MOST) {
        int fd = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK);
        if (fd >= 0) {
            server->to_come--;
            welcome(server, fd);
        } else if (no_room(errno)) {
            if (server->open == 0)
                fail(errno, "accept, with nobody here who could leave");
            say("   no descriptor left: whoever comes now waits in the "
                "backlog");
            server->full = true;
            return;
        } else {
            if (!visitor_lost(errno) && !try_later(errno))
                fail(errno, "accept");
            return;
        }
    }
}

int main(int argc, char **argv)
{
    // 1. The listener, and a ring that has room for all that can complete.
    struct server server = {.to_come = -1};
    long visitors;
    uint16_t port = server_arguments(argc, argv, &visitors);
    if (visitors > 0)
        server.to_come = visitors;
    raise_descriptor_limit();
    server.listener = tcp_listen(port, SOCK_NONBLOCK);
    struct io_uring_params params = {.flags = IORING_SETUP_CQSIZE,
                                     .cq_entries = MOST + 1};
    ring_open_params(&server.ring, 256, &params);
    say("1. at most %d connections, %zu bytes for each: %zu KB", MOST,
        sizeof(struct conn), MOST * sizeof(struct conn) / 1024);

    while (server.to_come != 0 || server.open > 0) {
        // 2. Ask for visitors, while there is room for them.
        if (!server.polled && !server.full && server.to_come != 0 &&
            server.open < MOST) {
            poll_for(&server, server.listener, POLLIN, &server.listener);
            server.polled = true;
        }

        // 3. Submit what was prepared and sleep until something has happened.
        int ret = io_uring_submit_and_wait(&server.ring, 1);
        if (ret < 0 && ret != -EINTR)
            fail(-ret, "io_uring_submit_and_wait");
        server.turns++;

        // 4. Act on every completion that is there; what completes meanwhile
        //    is for the next turn, or busy visitors would keep us here. Each is
        //    given back first, so that what we ask for finds room in the CQ.
        unsigned ready = io_uring_cq_ready(&server.ring);
        struct io_uring_cqe *cqe;
        while (ready-- > 0 && io_uring_peek_cqe(&server.ring, &cqe) == 0) {
            void *data = io_uring_cqe_get_data(cqe);
            int res = cqe->res;
            io_uring_cqe_seen(&server.ring, cqe);
            server.completions++;
            if (data != &server.listener) {
                if (res < 0)
                    let_go(&server, data);
                else
                    serve(&server, data);
                continue;
            }
            if (res < 0)
                fail(-res, "POLL_ADD of the listener");
            server.polled = false;
            accept_all(&server);
        }
    }

    // 5. Everybody has left, and no poll is under way.
    say("5. %lu completions in %lu turns of the loop", server.completions,
        server.turns);
    io_uring_queue_exit(&server.ring);
    close(server.listener);
    return 0;
}
