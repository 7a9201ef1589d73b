// solution 15 - a CLOSE that does not depend on the answer
//
//     15-direct-descriptors [PORT]
//
// SEND, SHUTDOWN and CLOSE were a chain with IOSQE_IO_LINK, and such a chain
// breaks when a part of it fails. Who reset their connection had asked, so they
// were answered; the SEND failed (-EPIPE or -ECONNRESET); SHUTDOWN and CLOSE
// were cancelled (-ECANCELED), and nobody looked at the res of the CLOSE.
// `open` went down all the same, so the program believed that the slot was
// free. With descriptors of the process it would have been the same leak, and
// EMFILE in the end.
//
// The second link is a fault, too, if not one that can be seen on Linux 6.18: a
// SHUTDOWN of who has reset fails (-ENOTCONN), and its link holds all the same.
// But io_uring_enter(2) says that any error breaks a chain.
//
// IOSQE_IO_HARDLINK keeps the order and does not break: the CLOSE is done
// whatever has become of SEND and SHUTDOWN. And because a slot that stays taken
// would be missed only days later, a CLOSE that fails ends the program.
//
// With no link at all the chain is no chain: a worker thread does the SHUTDOWN,
// and the CLOSE overtakes it. It then ends the connection of whoever has the
// slot next, before they have their answer.
#include "args.h"
#include "net.h"
#include "ring.h"
#include "say.h"
#include "user_data.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 64, LISTENER = 0 };

enum { ACCEPT = 1, RECV, SEND, SHUTDOWN, CLOSE };

// A visitor: slot n of the table is conns[n]. While an operation is in flight,
// both buffers are the kernel's.
struct conn {
    char question[256], answer[64];
};

struct server {
    struct io_uring ring;
    bool accepting;
    unsigned open; // visitors
    struct conn conns[MOST + 1];
};

static void in_slot(struct io_uring_sqe *sqe, uint32_t kind, unsigned slot)
{
    sqe->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data64(sqe, pack(kind, slot));
}

static void ask_for_visitor(struct server *server)
{
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_accept(sqe, LISTENER, NULL, NULL, 0);
    sqe->file_index = IORING_FILE_INDEX_ALLOC;
    in_slot(sqe, ACCEPT, LISTENER);
    server->accepting = true;
}

static void ask_for_question(struct server *server, unsigned slot)
{
    struct conn *conn = &server->conns[slot];
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_recv(sqe, (int)slot, conn->question, sizeof conn->question,
                       0);
    in_slot(sqe, RECV, slot);
}

// A chain, as chapter 13 has it: room for both, one submission.
static void hang_up(struct server *server, unsigned slot)
{
    ring_room(&server->ring, 2);
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_shutdown(sqe, (int)slot, SHUT_RDWR);
    in_slot(sqe, SHUTDOWN, slot);
    sqe->flags |= IOSQE_IO_HARDLINK; // first the end, then the slot is free

    sqe = ring_sqe(&server->ring);
    io_uring_prep_close_direct(sqe, slot);
    io_uring_sqe_set_data64(sqe, pack(CLOSE, slot));
}

// The answer and the end are one chain. MSG_WAITALL: no short send.
static void answer(struct server *server, unsigned slot, int length)
{
    struct conn *conn = &server->conns[slot];
    int size = snprintf(conn->answer, sizeof conn->answer,
                        "that was %d bytes long; goodbye\n", length);
    ring_room(&server->ring, 3);
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_send(sqe, (int)slot, conn->answer, (size_t)size,
                       MSG_NOSIGNAL | MSG_WAITALL);
    in_slot(sqe, SEND, slot);
    sqe->flags |= IOSQE_IO_HARDLINK; // first the answer, then the end
    hang_up(server, slot);
}

static void accepted(struct server *server, int res)
{
    server->accepting = false;
    if (res < 0 && res != -EAGAIN && res != -EINTR && res != -ECONNABORTED)
        fail_with(-res, "has a slot been lost?", "ACCEPT");
    if (res < 0)
        return;
    server->open++;
    say("   a visitor in slot %d, %u here now", res, server->open);
    ask_for_question(server, (unsigned)res);
}

static void received(struct server *server, unsigned slot, int res)
{
    if (res > 0)
        answer(server, slot, res);
    else if (res == -EAGAIN || res == -EINTR)
        ask_for_question(server, slot);
    else
        hang_up(server, slot); // their end (0), or an error
}

static void complete(struct server *server, uint64_t user_data, int res)
{
    unsigned slot = index_of(user_data);
    switch (kind_of(user_data)) {
    case ACCEPT:
        accepted(server, res);
        break;
    case RECV:
        received(server, slot, res);
        break;
    case SEND:
    case SHUTDOWN:
        break; // who has left hears neither; the CLOSE follows either way
    case CLOSE:
        if (res < 0)
            fail(-res, "CLOSE of slot %u", slot);
        server->open--;
        say("   the visitor in slot %u has left", slot);
        break;
    }
}

int main(int argc, char **argv)
{
    static struct server server;
    int listener = tcp_listen(port_argument(argc, argv), 0);
    ring_open(&server.ring, 256);
    int ret = io_uring_register_files_sparse(&server.ring, MOST + 1);
    if (ret < 0)
        fail(-ret, "io_uring_register_files_sparse");
    ret = io_uring_register_files_update(&server.ring, LISTENER, &listener, 1);
    if (ret < 0)
        fail(-ret, "io_uring_register_files_update");
    close(listener);

    for (;;) {
        if (!server.accepting && server.open < MOST)
            ask_for_visitor(&server);
        ret = io_uring_submit_and_wait(&server.ring, 1);
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

// exercise.c as shipped: 0500444af9678a8cd31f1ea4e7ec9c314bb20c7c
