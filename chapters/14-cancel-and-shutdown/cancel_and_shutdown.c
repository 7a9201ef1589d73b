// cancel_and_shutdown - a good server ends by finishing
//
//     cancel_and_shutdown [PORT [VISITORS [MS]]]
//
// Sends back what each visitor sends, until SIGINT or SIGTERM comes: through
// the ring, as everything here. Then nobody is let in any more, and who is here
// gets back what they have sent. Whatever is in flight after MS milliseconds
// (2,000 when left out), or when a second signal comes, is cancelled. The
// program ends when every completion is home. VISITORS end it, too.
#include "accept.h"
#include "args.h"
#include "echo.h"
#include "feature.h"
#include "net.h"
#include "ring.h"
#include "rlimit.h"
#include "say.h"
#include "user_data.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

// A CQ of 4 is far too small, so that you can see it overflow. Nothing is lost
// by that, but time. Chapter 10 says how large a CQ must be.
enum { CQ_ENTRIES = 4, MOST = 16383 };

// What else is asked for. GOODBYE and DRAIN are a connection's: the SHUTDOWN
// that says our last, and a RECV of what is thrown away after that.
enum { ACCEPT = ECHO_KINDS, SIGNAL, TIMER, CANCEL, GOODBYE, DRAIN };

// Each SQE brings one CQE. Until it is home, cancelled or not, what the kernel
// has for it stays where it is: a connection's buffer, `signal`, `grace`.
struct server {
    struct io_uring ring;
    struct echo echo; // the connections; each has one operation in flight
    enum { SERVING, FINISHING, HURRYING } phase;
    int listener; // -1 when nobody is let in any more
    int signals;  // a signalfd
    struct signalfd_siginfo signal;
    struct __kernel_timespec grace;
    bool accepting; // an ACCEPT is in flight
    bool full;      // no descriptor was left; wait until a connection closes
    long to_come;   // visitors still to be accepted; negative: no end

    unsigned home;                            // CQEs
    unsigned long cancelled, too_late, going; // what the CANCELs have found
    unsigned long overflows;                  // how often more wait than fit in
    size_t taken, given;                      // bytes
};

// --- how it ends ------------------------------------------------------------

static void ask_for_signal(struct server *server)
{
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_read(sqe, server->signals, &server->signal,
                       sizeof server->signal, 0);
    io_uring_sqe_set_data64(sqe, pack(SIGNAL, 0));
}

static void cancel_fd(struct server *server, int fd)
{
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_cancel_fd(sqe, fd, 0);
    io_uring_sqe_set_data64(sqe, pack(CANCEL, 0));
}

static void stop_listening(struct server *server)
{
    close(server->listener);
    server->listener = -1;
}

// Nothing more is taken. The ACCEPT is cancelled by its descriptor, and each
// RECV by its user_data; where there is none, the CANCEL finds nothing.
static void finish(struct server *server)
{
    server->phase = FINISHING;
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_timeout(sqe, &server->grace, 0, 0);
    io_uring_sqe_set_data64(sqe, pack(TIMER, 0));
    if (server->accepting)
        cancel_fd(server, server->listener);
    else
        stop_listening(server);
    for (uint32_t place = 0; place < server->echo.used; place++) {
        sqe = ring_sqe(&server->ring);
        io_uring_prep_cancel64(sqe, pack(ECHO_RECV, place), 0);
        io_uring_sqe_set_data64(sqe, pack(CANCEL, 0));
    }
    ring_submit(&server->ring); // a CANCEL names the listener, still open
}

// Cancels all that is in flight, whatever it is.
static void hurry(struct server *server)
{
    server->phase = HURRYING;
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_cancel64(sqe, 0,
                           IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
    io_uring_sqe_set_data64(sqe, pack(CANCEL, 0));
}

static void signalled(struct server *server, int res)
{
    if (server->phase == HURRYING)
        return;
    if (res != (int)sizeof server->signal && res != -EINTR && res != -EAGAIN)
        fail(res < 0 ? -res : 0, "READ of the signalfd");
    const char *name = sigabbrev_np((int)server->signal.ssi_signo);
    if (res > 0 && server->phase == FINISHING) {
        say("4. SIG%s again: what is in flight is cancelled", name);
        hurry(server);
        return;
    }
    if (res > 0) {
        say("3. SIG%s: nobody is let in, %u here get back what they said", name,
            server->echo.open);
        finish(server);
    }
    ask_for_signal(server);
}

static void timer_ran_out(struct server *server, int res)
{
    if (server->phase == HURRYING || res != -ETIME)
        return;
    say("4. no more time, %u still here: what is in flight is cancelled",
        server->echo.open);
    hurry(server);
}

// A CANCEL says what it has found. What became of the operation, its own CQE
// says: so this is only counted.
static void cancel_done(struct server *server, int res)
{
    if (res == -ENOENT)
        server->too_late++;
    else if (res == -EALREADY)
        server->going++;
    else if (res < 0)
        fail(-res, "ASYNC_CANCEL");
    else
        server->cancelled += res == 0 ? 1 : (unsigned long)res;
}

// --- a connection's end -----------------------------------------------------

// Nothing happened: the same may be asked for again.
static bool ask_again(int res)
{
    return res == -EAGAIN || res == -EINTR;
}

static void ask(struct server *server, uint32_t kind, uint32_t place)
{
    struct conn *conn = &server->echo.conns[place];
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    if (kind == ECHO_SEND)
        io_uring_prep_send(sqe, conn->fd, conn->buffer + conn->start,
                           conn->end - conn->start, MSG_NOSIGNAL);
    else if (kind == GOODBYE)
        io_uring_prep_shutdown(sqe, conn->fd, SHUT_WR);
    else if (kind == DRAIN)
        io_uring_prep_recv(sqe, conn->fd, conn->buffer, ECHO_BUFFER, 0);
    else
        io_uring_prep_close(sqe, conn->fd);
    io_uring_sqe_set_data64(sqe, pack(kind, place));
}

// A completion of a connection while the server finishes. What was received is
// sent, then we say goodbye, then we wait for theirs: a socket that is closed
// with something unread is reset, and the visitor may lose what we sent last.
static void last_steps(struct server *server, uint64_t user_data, int res)
{
    uint32_t kind = kind_of(user_data), place = index_of(user_data);
    struct conn *conn = &server->echo.conns[place];
    if (kind == ECHO_RECV && res > 0) { // it was faster than its CANCEL
        conn->start = 0;
        conn->end = (size_t)res;
    } else if (kind == ECHO_SEND && res > 0) {
        conn->start += (size_t)res;
        conn->echoed += (size_t)res;
    } else if (kind == ECHO_RECV && (res == -ECANCELED || ask_again(res))) {
        conn->start = conn->end = 0;
    } else if (kind == GOODBYE || (kind == DRAIN && res > 0) ||
               ask_again(res)) {
        // as far as they were
    } else {
        ask(server, ECHO_CLOSE, place); // their end, or an error
        return;
    }
    if (server->phase == HURRYING)
        ask(server, ECHO_CLOSE, place);
    else if (kind == GOODBYE || kind == DRAIN)
        ask(server, DRAIN, place);
    else
        ask(server, conn->start < conn->end ? ECHO_SEND : GOODBYE, place);
}

// --- completions ------------------------------------------------------------

static void accepted(struct server *server, int res)
{
    server->accepting = false;
    if (res >= 0 && server->phase == HURRYING) {
        close(res);
    } else if (res >= 0) {
        server->to_come--;
        echo_welcome(&server->echo, res);
        if (server->phase == FINISHING) // it was faster than its CANCEL:
            cancel_fd(server, res);     // nothing is received here, either
    } else if (no_room(-res) && server->echo.open > 0) {
        say("   no descriptor left: whoever comes now waits in the backlog");
        server->full = true;
    } else if (res != -ECANCELED && !ask_again(res) && !visitor_lost(-res)) {
        fail(-res, "ACCEPT");
    }
    if (server->phase != SERVING)
        stop_listening(server);
}

static void complete(struct server *server, uint64_t user_data, int res)
{
    server->home++;
    switch (kind_of(user_data)) {
    case ACCEPT:
        accepted(server, res);
        return;
    case SIGNAL:
        signalled(server, res);
        return;
    case TIMER:
        timer_ran_out(server, res);
        return;
    case CANCEL:
        cancel_done(server, res);
        return;
    case ECHO_RECV:
        server->taken += res > 0 ? (size_t)res : 0;
        break;
    case ECHO_SEND:
        server->given += res > 0 ? (size_t)res : 0;
        break;
    }
    if (server->phase != SERVING && kind_of(user_data) != ECHO_CLOSE)
        last_steps(server, user_data, res);
    else if (echo_complete(&server->echo, user_data, res))
        server->full = false;
}

// Both signals are blocked, so that they wait in a descriptor to be read.
static int signals_to_read(void)
{
    sigset_t both;
    sigemptyset(&both);
    sigaddset(&both, SIGINT);
    sigaddset(&both, SIGTERM);
    if (sigprocmask(SIG_BLOCK, &both, NULL) < 0)
        fail(errno, "sigprocmask");
    int fd = signalfd(-1, &both, SFD_CLOEXEC);
    if (fd < 0)
        fail(errno, "signalfd");
    return fd;
}

// An ACCEPT is in flight while there is room for its visitor.
static void keep_accepting(struct server *server)
{
    if (server->phase != SERVING || server->accepting || server->full ||
        server->to_come == 0 || server->echo.open == MOST)
        return;
    struct io_uring_sqe *sqe = ring_sqe(&server->ring);
    io_uring_prep_accept(sqe, server->listener, NULL, NULL, 0);
    io_uring_sqe_set_data64(sqe, pack(ACCEPT, 0));
    server->accepting = true;
}

int main(int argc, char **argv)
{
    // 1. A listener, a ring, places for connections, and a descriptor from
    //    which signals are read.
    struct server server = {.phase = SERVING};
    long ms = 2000;
    uint16_t port = timed_server_arguments(argc, argv, &server.to_come, &ms);
    if (server.to_come == 0)
        server.to_come = -1;
    server.grace.tv_sec = ms / 1000;
    server.grace.tv_nsec = ms % 1000 * 1000000;
    need_feature(FEATURE_CANCEL_FD);
    raise_descriptor_limit();
    server.signals = signals_to_read();
    server.listener = tcp_listen(port, 0);
    struct io_uring_params params = {.flags = IORING_SETUP_CQSIZE,
                                     .cq_entries = CQ_ENTRIES};
    ring_open_params(&server.ring, CQ_ENTRIES, &params);
    echo_open(&server.echo, &server.ring, MOST);

    // 2. The loop, as ever, but that it ends when nothing is in flight: when as
    //    many CQEs have come, or were lost, as the ring has handed out SQEs.
    ask_for_signal(&server);
    keep_accepting(&server);
    const unsigned *lost = server.ring.cq.koverflow;
    while (server.home + *lost != server.ring.sq.sqe_tail) {
        int ret = io_uring_submit_and_wait(&server.ring, 1);
        if (ret < 0 && ret != -EINTR)
            fail(-ret, "io_uring_submit_and_wait");

        // 3. A signal begins the end: see signalled(). No `ready` bounds this
        //    loop: it also fetches what did not fit into the CQ of 4. Busy
        //    visitors can keep us in it, so whatever is to go on goes on here.
        struct io_uring_cqe *cqe;
        while (io_uring_peek_cqe(&server.ring, &cqe) == 0) {
            uint64_t user_data = cqe->user_data;
            int res = cqe->res;
            if (io_uring_cq_has_overflow(&server.ring) &&
                server.overflows++ == 0)
                draw_ring("when the CQ is full, and more wait", &server.ring);
            io_uring_cqe_seen(&server.ring, cqe);
            complete(&server, user_data, res);
            keep_accepting(&server);
        }

        // 4. Nobody is left, and nobody comes: what is in flight waits for a
        //    visitor, a signal or the clock, and is not needed any more.
        if (server.phase != HURRYING && server.echo.open == 0 &&
            !server.accepting &&
            (server.phase == FINISHING || server.to_come == 0)) {
            say("4. nobody is left: what is in flight is cancelled");
            hurry(&server);
        }
    }

    // 5. Everything is home. Only now may what the kernel had be freed.
    say("5. %u SQEs, %u CQEs, %u lost; %lu taken while more waited",
        server.ring.sq.sqe_tail, server.home, *lost, server.overflows);
    say("   %lu cancelled, %lu had completed (ENOENT), %lu ran (EALREADY)",
        server.cancelled, server.too_late, server.going);
    say("   %zu bytes taken, %zu given back", server.taken, server.given);
    io_uring_queue_exit(&server.ring);
    if (server.listener >= 0)
        close(server.listener);
    close(server.signals);
    echo_close(&server.echo);
    return 0;
}
