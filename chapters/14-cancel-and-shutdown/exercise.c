// exercise 14 - cancel what one visitor waits for
//
//     14-cancel-and-shutdown [PORT]
//
// A visitor says something, then waits for news, and so on. Commands come from
// standard input: "news WORDS" is for one of those who wait for news (which of
// them, the kernel says; they may even have hung up, for they wait at a pipe),
// and "cancel N" calls off what visitor N waits for. As it stands, that closes
// their descriptor, which calls off nothing: the operation goes on, and so does
// the connection.
#include "args.h"
#include "net.h"
#include "ring.h"
#include "say.h"
#include "user_data.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 100, LINE = 256 };
enum { ACCEPT = 1, COMMAND, RECV, NEWS, CLOSE, CANCEL };

// A visitor, by their number. Their buffer is the kernel's, and their
// descriptor stays open, until what they wait for has completed.
struct conn {
    int fd;
    uint32_t waits_for; // RECV, NEWS or CLOSE; 0: they have left
    char buffer[LINE];
};

struct server {
    struct io_uring ring;
    int listener;
    int news[2]; // a pipe
    char command[LINE];
    uint32_t came;
    struct conn conns[MOST + 1]; // from 1 on
};

static void ask_for_visitor(struct server *server)
{
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_accept(sqe, server->listener, NULL, NULL, 0);
    io_uring_sqe_set_data64(sqe, pack(ACCEPT, 0));
}

static void ask_for_command(struct server *server)
{
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_read(sqe, STDIN_FILENO, server->command, LINE - 1, 0);
    io_uring_sqe_set_data64(sqe, pack(COMMAND, 0));
}

// What visitor `number` waits for next. NEWS is a SPLICE, from the pipe to
// their socket. A worker thread of the kernel's waits in it.
static void ask(struct server *server, uint32_t kind, uint32_t number)
{
    struct conn *conn = &server->conns[number];
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    if (kind == RECV)
        io_uring_prep_recv(sqe, conn->fd, conn->buffer, LINE, 0);
    else if (kind == NEWS)
        io_uring_prep_splice(sqe, server->news[0], -1, conn->fd, -1, LINE, 0);
    else
        io_uring_prep_close(sqe, conn->fd);
    io_uring_sqe_set_data64(sqe, pack(kind, number));
    conn->waits_for = kind;
}

// TODO(exercise): cancel what the visitor waits for, and leave the rest to its
// completion. When the CANCEL completes, say what it has found:
//
//     0           "   visitor 1: called off"
//     -ENOENT     "   visitor 1: too late, it is done (ENOENT)"
//     -EALREADY   "   visitor 1: being done, it ends by itself (EALREADY)"
static void cancel(struct server *server, uint32_t number)
{
    ask(server, CLOSE, number);
    say("   visitor %u: called off", number);
}

// One command for each READ: where it brings several lines, the first counts.
static void obey(struct server *server)
{
    unsigned number;
    if (sscanf(server->command, "cancel %u", &number) == 1) {
        if (number < 1 || number > server->came)
            say("   no visitor %u", number);
        else if (server->conns[number].waits_for == 0)
            say("   visitor %u has left already", number);
        else
            cancel(server, number);
    } else if (strncmp(server->command, "news ", 5) == 0) {
        size_t size = strlen(server->command + 5);
        if (write(server->news[1], server->command + 5, size) < 0)
            fail(errno, "write");
    }
}

static void complete(struct server *server, uint64_t user_data, int res)
{
    uint32_t kind = kind_of(user_data), number = index_of(user_data);
    switch (kind) {
    case ACCEPT:
        if (res >= 0) {
            server->conns[++server->came].fd = res;
            say("   visitor %u has come", server->came);
            ask(server, RECV, server->came);
        }
        if (server->came < MOST)
            ask_for_visitor(server);
        break;
    case COMMAND:
        if (res > 0) {
            server->command[res] = '\0';
            obey(server);
        }
        if (res > 0 || res == -EINTR || res == -EAGAIN)
            ask_for_command(server);
        break;
    case RECV:
        if (res > 0)
            say("   visitor %u waits for news", number);
        ask(server, res > 0 ? NEWS : CLOSE, number);
        break;
    case NEWS:
        ask(server, res > 0 ? RECV : CLOSE, number);
        break;
    case CLOSE:
        if (res < 0) // has somebody else closed it?
            fail(-res, "CLOSE of visitor %u", number);
        server->conns[number].waits_for = 0;
        say("   visitor %u has left", number);
        break;
    case CANCEL:
        // TODO(exercise)
        break;
    }
}

int main(int argc, char **argv)
{
    struct server server = {0};
    server.listener = tcp_listen(port_argument(argc, argv), 0);
    if (pipe2(server.news, O_CLOEXEC) < 0)
        fail(errno, "pipe2");
    ring_open(&server.ring, 256);
    ask_for_visitor(&server);
    ask_for_command(&server);
    for (;;) {
        int ret = io_uring_submit_and_wait(&server.ring, 1);
        if (ret < 0 && ret != -EINTR)
            fail(-ret, "io_uring_submit_and_wait");
        unsigned ready = io_uring_cq_ready(&server.ring);
        struct io_uring_cqe *cqe;
        while (ready-- > 0 && io_uring_peek_cqe(&server.ring, &cqe) == 0) {
            uint64_t user_data = cqe->user_data;
            int res = cqe->res;
            io_uring_cqe_seen(&server.ring, cqe);
            complete(&server, user_data, res);
        }
    }
}
