// direct_descriptors - descriptors and buffers that live in the ring
//
//     direct_descriptors [PORT [VISITORS]]
//
// Sends back what each visitor sends. The connections are slots of the ring's
// own file table and never descriptors of the process; so is the listener, and
// a file that is read at the start into a registered buffer. Runs for ever, or
// until VISITORS have come and gone.
#include "accept.h"
#include "args.h"
#include "feature.h"
#include "net.h"
#include "ring.h"
#include "rlimit.h"
#include "say.h"
#include "user_data.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

// With one operation in flight for each connection and one ACCEPT, there are
// never more than MOST + 1 completions: a CQ of that size cannot overflow.
enum { MOST = 16383, BUFFER = 4096, LISTENER = 0, FILE_SLOT = 1 };

// What was asked for: the upper half of user_data. The lower is the slot; with
// START it is the operation.
enum { ACCEPT = 1, RECV, SEND, CLOSE, START, SHUTDOWN };

// A connection. Its slot in the ring's table is its place in server.conns.
// Exactly one operation is in flight for it, and while that is a RECV or a
// SEND, the buffer is the kernel's. It ends when its CLOSE is asked for: the
// kernel frees the slot before we see that CQE, and may have given it to the
// next visitor by then, so the CQE only counts.
struct conn {
    size_t start, end; // the bytes of `buffer` that are received, not yet sent
    size_t echoed;
    char buffer[BUFFER];
};

// The table has `most` + 1 slots, and slot 0 is the listener's. An ACCEPT is in
// flight only while a slot is free for whom it brings: without one the kernel
// would accept the visitor, find no slot (-ENFILE), and hang up on them.
struct server {
    struct io_uring ring;
    bool accepting; // an ACCEPT is in flight
    long to_come;   // visitors still to be accepted; negative: no end
    unsigned most;
    unsigned open; // slots that are taken, until their CLOSE's CQE
    struct conn *conns;
};

static unsigned slot_of(const struct server *server, const struct conn *conn)
{
    return (unsigned)(conn - server->conns);
}

// --- setting up -------------------------------------------------------------

// A table with nothing in it but the listener. The kernel allows it as many
// slots as the process may have descriptors, though it needs none of those.
// Returns how many visitors there is room for.
static unsigned register_table(struct io_uring *ring, unsigned most,
                               int listener)
{
    raise_descriptor_limit();
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        fail(errno, "getrlimit");
    if (limit.rlim_cur <= most)
        most = (unsigned)limit.rlim_cur - 1;
    int ret = io_uring_register_files_sparse(ring, most + 1);
    if (ret < 0)
        fail(-ret, "io_uring_register_files_sparse");

    // The ring holds the socket from now on.
    ret = io_uring_register_files_update(ring, LISTENER, &listener, 1);
    if (ret < 0)
        fail(-ret, "io_uring_register_files_update");
    close(listener);
    return most;
}

// Opens a file into a slot, reads it into registered buffer 0, closes it: one
// chain. The READ can name the file before it is open, for we chose the slot.
// A file shorter than the buffer would break a plain link after the READ, and
// the slot would stay taken: a hard link holds.
static void ask_for_file(struct io_uring *ring, const char *path, char *buffer,
                         unsigned size)
{
    struct io_uring_sqe *sqe = ring_sqe(ring);
    io_uring_prep_openat_direct(sqe, AT_FDCWD, path, O_RDONLY, 0, FILE_SLOT);
    io_uring_sqe_set_data64(sqe, pack(START, IORING_OP_OPENAT));
    sqe->flags |= IOSQE_IO_LINK;

    sqe = ring_sqe(ring);
    io_uring_prep_read_fixed(sqe, FILE_SLOT, buffer, size, 0, 0);
    io_uring_sqe_set_data64(sqe, pack(START, IORING_OP_READ_FIXED));
    sqe->flags |= IOSQE_FIXED_FILE | IOSQE_IO_HARDLINK;

    sqe = ring_sqe(ring);
    io_uring_prep_close_direct(sqe, FILE_SLOT);
    io_uring_sqe_set_data64(sqe, pack(START, IORING_OP_CLOSE));
}

// How long the backlog may get, as the kernel's own file says.
static long longest_backlog(struct io_uring *ring)
{
    const char *path = "/proc/sys/net/core/somaxconn";
    char text[64] = "";
    struct iovec memory = {text, sizeof text};
    int ret = io_uring_register_buffers(ring, &memory, 1);
    if (ret < 0)
        fail(-ret, "io_uring_register_buffers");
    ask_for_file(ring, path, text, sizeof text - 1);
    draw_ring("before submit", ring);
    do
        ret = io_uring_submit_and_wait(ring, 3);
    while (ret == -EINTR);
    if (ret < 0)
        fail(-ret, "io_uring_submit_and_wait");
    for (int i = 0; i < 3; i++) {
        struct io_uring_cqe *cqe = ring_wait(ring);
        if (cqe->res < 0)
            fail(-cqe->res, "%s", path);
        io_uring_cqe_seen(ring, cqe);
    }
    io_uring_unregister_buffers(ring); // `text` ends here
    return strtol(text, NULL, 10);
}

// --- asking -----------------------------------------------------------------

// What the SQE calls a descriptor is a slot of the table.
static void in_slot(struct io_uring_sqe *sqe, uint32_t kind, unsigned slot)
{
    sqe->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data64(sqe, pack(kind, slot));
}

// io_uring_prep_accept_direct() of liburing before 2.4 cannot say "any slot".
static void ask_for_visitor(struct server *server)
{
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_accept(sqe, LISTENER, NULL, NULL, 0);
    sqe->file_index = IORING_FILE_INDEX_ALLOC;
    in_slot(sqe, ACCEPT, LISTENER);
    server->accepting = true;
}

static void receive(struct server *server, struct conn *conn)
{
    unsigned slot = slot_of(server, conn);
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_recv(sqe, (int)slot, conn->buffer, BUFFER, 0);
    in_slot(sqe, RECV, slot);
}

static void send_rest(struct server *server, struct conn *conn)
{
    unsigned slot = slot_of(server, conn);
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_send(sqe, (int)slot, conn->buffer + conn->start,
                       conn->end - conn->start, MSG_NOSIGNAL);
    in_slot(sqe, SEND, slot);
}

// CLOSE frees the slot at once. The socket that was in it may stay for as long
// as anything submitted before is in flight (Linux 6.12 and older), and an
// ACCEPT nearly always is. So the visitor is told first.
static void hang_up(struct server *server, struct conn *conn)
{
    unsigned slot = slot_of(server, conn);
    say("   the visitor in slot %u has left, %zu bytes echoed", slot,
        conn->echoed);
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_shutdown(sqe, (int)slot, SHUT_RDWR);
    in_slot(sqe, SHUTDOWN, slot);
}

static void free_slot(struct server *server, unsigned slot)
{
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_close_direct(sqe, slot);
    io_uring_sqe_set_data64(sqe, pack(CLOSE, slot));
}

// --- completions ------------------------------------------------------------

// Nothing happened: the same may be asked for again.
static bool ask_again(int res)
{
    return res == -EAGAIN || res == -EINTR;
}

static void accepted(struct server *server, int res)
{
    server->accepting = false;
    if (res < 0 && !ask_again(res) && !visitor_lost(-res))
        fail_with(-res, res == -ENFILE ? "has a slot been lost?" : NULL,
                  "ACCEPT");
    if (res < 0)
        return;
    struct conn *conn = &server->conns[res];
    conn->echoed = 0;
    server->to_come--;
    server->open++;
    say("   a visitor in slot %d, %u here now", res, server->open);
    if (server->open == server->most)
        say("   no slot left: the others wait in the backlog");
    receive(server, conn);
}

static void received(struct server *server, struct conn *conn, int res)
{
    if (res > 0) {
        conn->start = 0;
        conn->end = (size_t)res;
        send_rest(server, conn);
    } else if (ask_again(res)) {
        receive(server, conn);
    } else {
        hang_up(server, conn); // their end (0), or an error
    }
}

static void sent(struct server *server, struct conn *conn, int res)
{
    if (res > 0) {
        conn->start += (size_t)res;
        conn->echoed += (size_t)res;
    }
    if (res <= 0 && !ask_again(res))
        hang_up(server, conn);
    else if (conn->start < conn->end)
        send_rest(server, conn);
    else
        receive(server, conn);
}

// A slot that was not freed is lost for as long as the ring lives.
static void closed(struct server *server, unsigned slot, int res)
{
    if (res < 0)
        fail(-res, "CLOSE of slot %u", slot);
    server->open--;
}

static void complete(struct server *server, uint64_t user_data, int res)
{
    unsigned slot = index_of(user_data);
    switch (kind_of(user_data)) {
    case ACCEPT:
        accepted(server, res);
        break;
    case RECV:
        received(server, &server->conns[slot], res);
        break;
    case SEND:
        sent(server, &server->conns[slot], res);
        break;
    case SHUTDOWN: // fails when the visitor was quicker: as good
        free_slot(server, slot);
        break;
    case CLOSE:
        closed(server, slot, res);
        break;
    }
}

int main(int argc, char **argv)
{
    // 1. A listener and a ring, as before. Then what is new: the table, with
    //    the listener in it, and the ring's own descriptor registered, too.
    struct server server = {0};
    uint16_t port = server_arguments(argc, argv, &server.to_come);
    if (server.to_come == 0)
        server.to_come = -1;
    need_feature(FEATURE_RING_FD);
    need_feature(FEATURE_DIRECT_ALLOC);
    int listener = tcp_listen(port, 0);
    struct io_uring_params params = {.flags = IORING_SETUP_CQSIZE,
                                     .cq_entries = MOST + 1};
    ring_open_params(&server.ring, 256, &params);
    server.most = register_table(&server.ring, MOST, listener);
    int ret = io_uring_register_ring_fd(&server.ring);
    if (ret < 0)
        fail(-ret, "io_uring_register_ring_fd");
    server.conns = calloc(server.most + 1, sizeof *server.conns);
    if (server.conns == NULL)
        fail(errno, "calloc");
    say("1. at most %u connections, %zu bytes for each: %zu KB", server.most,
        sizeof(struct conn), server.most * sizeof(struct conn) / 1024);

    // 2. A file, read through a registered buffer; never a descriptor of ours.
    say("2. a file is opened, read and closed in slot %d", FILE_SLOT);
    say("   the backlog holds up to %ld visitors",
        longest_backlog(&server.ring));

    while (server.to_come != 0 || server.open > 0) {
        // 3. Keep an ACCEPT in flight while a slot is free for its visitor.
        if (!server.accepting && server.to_come != 0 &&
            server.open < server.most)
            ask_for_visitor(&server);

        // 4. Submit what was asked for, and sleep until something has happened.
        ret = io_uring_submit_and_wait(&server.ring, 1);
        if (ret < 0 && ret != -EINTR)
            fail(-ret, "io_uring_submit_and_wait");

        // 5. Each completion moves its connection one step on.
        unsigned ready = io_uring_cq_ready(&server.ring);
        struct io_uring_cqe *cqe;
        while (ready-- > 0 && io_uring_peek_cqe(&server.ring, &cqe) == 0) {
            uint64_t user_data = cqe->user_data;
            int res = cqe->res;
            io_uring_cqe_seen(&server.ring, cqe);
            complete(&server, user_data, res);
        }
    }

    // 6. The ring goes, and with it whatever is in its table.
    io_uring_queue_exit(&server.ring);
    free(server.conns);
    return 0;
}
