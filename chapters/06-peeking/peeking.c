// peeking - look at the completion queue without a system call
//
//     peeking [PORT]
//
// Times accept() that finds nobody against io_uring_peek_cqe() that finds
// nothing. Then the proof by force: in seccomp's strict mode, where the kernel
// kills whoever makes any call but read, write and exit, a child calls
// accept() and dies; the program itself peeks there until its visitor's CQE
// appears.
#include "args.h"
#include "clock.h"
#include "net.h"
#include "ring.h"
#include "say.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ACCEPTS = 4000, PEEKS = 2000000, ROUNDS = 3 };

static double ns_per_accept(int listener)
{
    double began = now_ms(CLOCK_MONOTONIC);
    for (int i = 0; i < ACCEPTS; i++) {
        int visitor = try_accept(listener);
        if (visitor >= 0)
            greet(visitor, "you came early; hello from chapter 6\n");
    }
    return (now_ms(CLOCK_MONOTONIC) - began) * 1e6 / ACCEPTS;
}

static double ns_per_peek(struct io_uring *ring)
{
    double began = now_ms(CLOCK_MONOTONIC);
    for (int i = 0; i < PEEKS; i++) {
        struct io_uring_cqe *cqe;
        int ret = io_uring_peek_cqe(ring, &cqe);
        if (ret < 0 && ret != -EAGAIN)
            fail(-ret, "io_uring_peek_cqe");
    }
    return (now_ms(CLOCK_MONOTONIC) - began) * 1e6 / PEEKS;
}

// The best of some rounds, the two ways in turn.
static void compare(int listener, struct io_uring *ring)
{
    double accept_ns = 0, peek_ns = 0;
    for (int round = 0; round < ROUNDS; round++) {
        double a = ns_per_accept(listener), p = ns_per_peek(ring);
        accept_ns = round == 0 || a < accept_ns ? a : accept_ns;
        peek_ns = round == 0 || p < peek_ns ? p : peek_ns;
    }
    say("   accept() that finds nobody:          %7.1f ns", accept_ns);
    say("   io_uring_peek_cqe() that finds none: %7.1f ns", peek_ns);
    say("   accept() costs %.0f times as much", accept_ns / peek_ns);
}

// From here on the kernel kills us for any call but read, write and exit.
static void enter_strict_mode(void)
{
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) < 0)
        fail_with(errno, "another seccomp filter is in force, as in containers",
                  "prctl PR_SET_SECCOMP");
}

// A child tries in strict mode what chapter 2 did. Returns how it ended.
static int child_that_accepts(int listener)
{
    pid_t child = fork();
    if (child < 0)
        fail(errno, "fork");
    if (child == 0) {
        enter_strict_mode();
        accept(listener, NULL, NULL);
        syscall(SYS_exit, 0); // not reached
    }
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            fail(errno, "waitpid");
    return status;
}

int main(int argc, char **argv)
{
    // 1. A listener, and a poll of it under way.
    int listener = tcp_listen(port_argument(argc, argv), SOCK_NONBLOCK);
    struct io_uring ring;
    ring_open(&ring, 2);
    struct io_uring_sqe *sqe = ring_sqe(&ring);
    io_uring_prep_poll_add(sqe, listener, POLLIN);
    io_uring_sqe_set_data64(sqe, 0xdeadbeef);
    ring_submit(&ring);
    say("1. the listener is polled");

    // 2. Two ways to ask whether somebody is there.
    say("2. ask by a call, and ask by a look:");
    compare(listener, &ring);

    // 3. The child makes a system call.
    say("3. a child in strict mode calls accept()");
    int status = child_that_accepts(listener);
    if (!WIFSIGNALED(status))
        fail(0, "the child was not killed, but ended with %d",
             WEXITSTATUS(status));
    say("   killed by signal %d", WTERMSIG(status));

    // 4. The program looks into memory, in the same mode.
    say("4. this program, in strict mode too, peeks");
    enter_strict_mode();
    struct io_uring_cqe *cqe;
    long peeks = 1;
    while (io_uring_peek_cqe(&ring, &cqe) != 0)
        peeks++;

    // 5. The CQE is there, and no call has fetched it. say() only writes. Of
    //    all ways to end, strict mode allows the bare exit call alone.
    say("5. alive, and at peek %ld a CQE: user_data 0x%llx, res %s", peeks,
        (unsigned long long)cqe->user_data, poll_text(cqe->res));
    syscall(SYS_exit, 0);
}
