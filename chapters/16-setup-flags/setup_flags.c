// setup_flags - a ring's set-up decides who does the work, and when
//
//     setup_flags [PORT [VISITORS [FLAGS]]]
//
// Sends back what each visitor sends, with provided buffers and direct
// descriptors. FLAGS is none (when left out), coop, defer, sqpoll or strict. In
// strict the kernel kills whoever serves for any system call but read, write
// and exit, and they go on serving. Runs for ever, or until VISITORS (0: no
// end) have come and gone.
#include "accept.h"
#include "args.h"
#include "direct.h"
#include "feature.h"
#include "net.h"
#include "pool.h"
#include "ring.h"
#include "say.h"
#include "user_data.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

// With one operation in flight for each connection and one ACCEPT, there are
// never more than MOST + 1 completions: a CQ of that size cannot overflow.
// There is a buffer for each of them, too, so nobody waits for another's.
enum { MOST = 16383, ON_OFFER = 512 };

// A kernel thread that polls goes to sleep after so many milliseconds without
// work. For strict: longer than any silence, here four hours.
enum { IDLE_MS = 100, SILENCE_MS = 4 * 60 * 60 * 1000 };

// What was asked for: the upper half of user_data. The lower is the slot.
enum { ACCEPT = 1, RECV, SEND, SHUTDOWN, CLOSE };

// A connection; slot n of the ring's table is conns[n]. Exactly one operation
// is in flight for it. A RECV has no buffer until its CQE names one, which is
// the connection's until the last of it is sent; then it is given back. So a
// connection never has more than one. It ends when its CLOSE is asked for; that
// CQE only counts (chapter 15).
struct conn {
    uint16_t buffer; // its id, from the RECV's CQE to the last SEND's
    size_t echoed;
};

struct server {
    struct io_uring ring;
    struct pool pool;
    bool accepting;      // an ACCEPT is in flight
    long to_come;        // visitors still to be accepted; negative: no end
    unsigned most, open; // slots for visitors; how many of them are taken
    bool served;         // strict: to the end
    struct conn *conns;
};

// --- what a ring is set up with ---------------------------------------------

struct setup {
    const char *name;
    unsigned flags;
    enum feature feature;
    unsigned idle_ms; // of the kernel thread
    bool strict;
    const char *says;
};

static const struct setup setups[] = {
    {"none", 0, FEATURE_CLOSE, 0, false,
     "each completion makes the thread enter the kernel at once"},
    {"coop", IORING_SETUP_COOP_TASKRUN, FEATURE_COOP_TASKRUN, 0, false,
     "completions wait until the thread enters the kernel"},
    {"defer", IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
     FEATURE_DEFER_TASKRUN, 0, false,
     "completions wait until the thread asks for them"},
    {"sqpoll", IORING_SETUP_SQPOLL, FEATURE_SQPOLL, IDLE_MS, false,
     "a kernel thread takes the SQEs and does the work"},
    {"strict", IORING_SETUP_SQPOLL, FEATURE_SQPOLL, SILENCE_MS, true,
     "a kernel thread does it all, and the program may not call"},
};
enum { SETUPS = sizeof setups / sizeof *setups };

// --- asking -----------------------------------------------------------------

static void ask_for_visitor(struct server *server)
{
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_accept(sqe, LISTENER, NULL, NULL, 0);
    sqe->file_index = IORING_FILE_INDEX_ALLOC;
    in_slot(sqe, ACCEPT, LISTENER);
    server->accepting = true;
}

// Whatever is at home is on offer before a RECV can look for it.
static void receive(struct server *server, unsigned slot)
{
    pool_offer(&server->pool);
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_recv(sqe, (int)slot, NULL, POOL_SIZE, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = POOL_GROUP;
    in_slot(sqe, RECV, slot);
}

static struct buffer *buffer_of(struct server *server, unsigned slot)
{
    return &server->pool.buffers[server->conns[slot].buffer];
}

static void send_rest(struct server *server, unsigned slot)
{
    struct buffer *buffer = buffer_of(server, slot);
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_send(sqe, (int)slot, buffer->bytes + buffer->start,
                       (size_t)(buffer->end - buffer->start), MSG_NOSIGNAL);
    in_slot(sqe, SEND, slot);
}

// A CLOSE alone may leave the visitor waiting for the end (chapter 15).
static void hang_up(struct server *server, unsigned slot)
{
    say("   the visitor in slot %u has left, %zu bytes echoed", slot,
        server->conns[slot].echoed);
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
    server->conns[res].echoed = 0;
    server->to_come--;
    server->open++;
    say("   a visitor in slot %d, %u here now", res, server->open);
    if (server->open == server->most)
        say("   no slot left: the others wait in the backlog");
    receive(server, (unsigned)res);
}

static void received(struct server *server, unsigned slot, int res,
                     unsigned flags)
{
    if (flags & IORING_CQE_F_BUFFER)
        server->conns[slot].buffer = pool_taken(&server->pool, flags);
    if (res > 0) {
        buffer_of(server, slot)->start = 0;
        buffer_of(server, slot)->end = (uint16_t)res;
        send_rest(server, slot);
        return;
    }
    if (flags & IORING_CQE_F_BUFFER) // taken for nothing
        pool_give_back(&server->pool, server->conns[slot].buffer);
    if (res == -ENOBUFS || ask_again(res))
        receive(server, slot);
    else
        hang_up(server, slot); // their end (0), or an error
}

static void sent(struct server *server, unsigned slot, int res)
{
    struct buffer *buffer = buffer_of(server, slot);
    if (res > 0) {
        buffer->start += (uint16_t)res;
        server->conns[slot].echoed += (size_t)res;
    }
    bool failed = res <= 0 && !ask_again(res);
    if (!failed && buffer->start < buffer->end) {
        send_rest(server, slot);
        return;
    }
    pool_give_back(&server->pool, server->conns[slot].buffer);
    if (failed)
        hang_up(server, slot);
    else
        receive(server, slot);
}

static void complete(struct server *server, uint64_t user_data, int res,
                     unsigned flags)
{
    unsigned slot = index_of(user_data);
    switch (kind_of(user_data)) {
    case ACCEPT:
        accepted(server, res);
        break;
    case RECV:
        received(server, slot, res, flags);
        break;
    case SEND:
        sent(server, slot, res);
        break;
    case SHUTDOWN:
        free_slot(server, slot);
        break;
    case CLOSE:
        if (res < 0)
            fail(-res, "CLOSE of slot %u", slot);
        server->open--;
        break;
    }
}

// --- serving ----------------------------------------------------------------

static void serve(struct server *server, bool may_call)
{
    while (server->to_come != 0 || server->open > 0) {
        // 4. Keep an ACCEPT in flight while a slot is free for its visitor.
        if (!server->accepting && server->to_come != 0 &&
            server->open < server->most)
            ask_for_visitor(server);

        // 5. Submit, and sleep until something has happened. Who may not call
        //    cannot sleep; and submitting with SQPOLL is moving the SQ's tail,
        //    and no call, as long as the kernel thread is awake.
        int ret = may_call ? io_uring_submit_and_wait(&server->ring, 1)
                           : io_uring_submit(&server->ring);
        if (ret < 0 && ret != -EINTR)
            fail(-ret, "submitting");

        // 6. Each completion moves its connection one step on.
        unsigned ready = io_uring_cq_ready(&server->ring);
        struct io_uring_cqe *cqe;
        while (ready-- > 0 && io_uring_peek_cqe(&server->ring, &cqe) == 0) {
            uint64_t user_data = cqe->user_data;
            int res = cqe->res;
            unsigned flags = cqe->flags;
            io_uring_cqe_seen(&server->ring, cqe);
            complete(server, user_data, res, flags);
        }
    }
}

// The thread that serves in strict mode. From prctl() on the kernel kills it
// for any call but read, write and exit; say() writes.
static void *serve_strictly(void *data)
{
    struct server *server = data;
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) < 0)
        fail_with(errno, "another seccomp filter is in force, as in containers",
                  "prctl PR_SET_SECCOMP");
    say("3. the thread that serves is killed if it makes a system call");
    serve(server, false);
    server->served = true;
    syscall(SYS_exit, 0);
    return NULL; // not reached
}

// The kernel's polling thread belongs to this process and would outlive a last
// thread that may call nothing but exit; so the main thread waits, and cleans
// up. Nobody calls before the kernel thread is awake and has taken an SQE.
static void let_a_thread_serve_strictly(struct server *server)
{
    ask_for_visitor(server);
    ring_submit(&server->ring);
    while (io_uring_sq_ready(&server->ring) > 0)
        ;
    pthread_t thread;
    int ret = pthread_create(&thread, NULL, serve_strictly, server);
    if (ret == 0)
        ret = pthread_join(thread, NULL);
    if (ret != 0)
        fail(ret, "a thread");
    if (server->served)
        return;
    // That thread may hold a lock for ever that exit() would wait for.
    fprintf(stderr,
            "%s: the thread that served has made a system call, and "
            "is dead\n",
            program_name());
    _exit(1);
}

int main(int argc, char **argv)
{
    // 1. Which flags? The rest of the set-up is as in chapters 12 and 15.
    struct server server = {0};
    const char *names[SETUPS + 1] = {0};
    for (int i = 0; i < SETUPS; i++)
        names[i] = setups[i].name;
    int choice;
    uint16_t port =
        choice_arguments(argc, argv, &server.to_come, names, &choice);
    if (server.to_come == 0)
        server.to_come = -1;
    const struct setup *setup = &setups[choice];
    need_feature(FEATURE_PROVIDED_BUFFERS);
    need_feature(FEATURE_DIRECT_ALLOC);
    need_feature(setup->feature);

    // 2. The ring.
    int listener = tcp_listen(port, 0);
    struct io_uring_params params = {
        .flags = IORING_SETUP_CQSIZE | setup->flags,
        .cq_entries = MOST + 1,
        .sq_thread_idle = setup->idle_ms,
    };
    ring_open_params(&server.ring, 256, &params);
    server.most = register_table(&server.ring, MOST, listener);
    pool_open(&server.pool, &server.ring, server.most + 1, ON_OFFER);
    server.conns = calloc(server.most + 1, sizeof *server.conns);
    if (server.conns == NULL)
        fail(errno, "calloc");
    say("1. at most %u connections, %zu bytes for each: %zu KB", server.most,
        sizeof(struct conn) + sizeof(struct buffer),
        (server.most + 1) * (sizeof(struct conn) + sizeof(struct buffer)) /
            1024);
    say("2. %s: %s", setup->name, setup->says);

    // 3. Serve, by calls or without.
    if (setup->strict)
        let_a_thread_serve_strictly(&server);
    else
        serve(&server, true);

    io_uring_queue_exit(&server.ring);
    free(server.conns);
    pool_close(&server.pool);
    return 0;
}
