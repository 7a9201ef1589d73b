// poll_add - ask a ring to say when a visitor is there
//
//     poll_add [PORT]
//
// Listens on 127.0.0.1 with a non-blocking listener. One POLL_ADD goes into a
// ring of 2 entries; its completion says that accept() will find somebody.
// Greets one visitor and ends. Draws the ring at each step.
#include "args.h"
#include "net.h"
#include "ring.h"
#include "say.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

// Comes back in the CQE, so that we know whose completion it is.
static const uint64_t LISTENER_READY = 0xdeadbeef;

// The switch kernel.io_uring_disabled: 0 lets everybody use io_uring, 1 only
// root and a group, 2 nobody. Linux before 6.6 has no such switch.
static int io_uring_disabled(void)
{
    FILE *sysctl = fopen("/proc/sys/kernel/io_uring_disabled", "r");
    if (sysctl == NULL)
        return 0;
    int value;
    if (fscanf(sysctl, "%d", &value) != 1)
        value = 0;
    fclose(sysctl);
    return value;
}

// Why the kernel refuses a ring, and what to do. NULL where nobody knows.
static const char *why_refused(int err)
{
    switch (err) {
    case EPERM:
        if (io_uring_disabled() != 0)
            return "io_uring is switched off on this machine; "
                   "as root: sysctl kernel.io_uring_disabled=0";
        return "a seccomp filter forbids io_uring, as containers do; "
               "docker run --security-opt seccomp=unconfined";
    case ENOSYS:
        return "this kernel has no io_uring (the course needs Linux 5.6), or "
               "a container hides it; see make doctor";
    case ENOMEM:
        return "no memory for the ring; before Linux 5.12 it counts as locked "
               "memory, see ulimit -l";
    case EMFILE:
        return "this process may open no more files; see ulimit -n";
    default:
        return NULL;
    }
}

int main(int argc, char **argv)
{
    // 1. Listen, on a socket on which no call sleeps, and set up a ring.
    int listener = tcp_listen(port_argument(argc, argv), SOCK_NONBLOCK);
    struct io_uring ring;
    int ret = io_uring_queue_init(2, &ring, 0);
    if (ret < 0)
        fail_with(-ret, why_refused(-ret), "io_uring_queue_init");
    say("1. a ring of 2 entries, descriptor %d", ring.ring_fd);

    // 2. Fill in a submission queue entry (SQE). The kernel knows nothing yet.
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    if (sqe == NULL)
        fail(0, "io_uring_get_sqe: the submission queue is full");
    io_uring_prep_poll_add(sqe, listener, POLLIN);
    io_uring_sqe_set_data64(sqe, LISTENER_READY);
    say("2. an SQE: tell me when descriptor %d is readable", listener);
    draw_ring("before submit", &ring);

    // 3. Submit: this is the system call that hands it over.
    ret = io_uring_submit(&ring);
    if (ret != 1)
        fail(ret < 0 ? -ret : 0, "io_uring_submit took %d of 1", ret);
    say("3. io_uring_submit() = %d: the kernel has taken it", ret);
    draw_ring("after submit", &ring);

    // 4. Nobody is there yet, and asking does not sleep.
    int visitor = accept(listener, NULL, NULL);
    if (visitor >= 0) {
        say("4. accept(): somebody was faster than this program. Try again");
        greet(visitor, "hello from chapter 3\n");
        io_uring_queue_exit(&ring);
        close(listener);
        return 0;
    }
    if (errno != EAGAIN && errno != ECONNABORTED)
        fail(errno, "accept");
    say("4. accept() = %s", result_text(-errno));

    // 5. Sleep until there is a completion queue entry (CQE). A signal may
    //    wake us before: then there is none, and cqe must not be touched.
    say("5. io_uring_wait_cqe(): asleep until there is a CQE");
    struct io_uring_cqe *cqe;
    do
        ret = io_uring_wait_cqe(&ring, &cqe);
    while (ret == -EINTR);
    if (ret < 0)
        fail(-ret, "io_uring_wait_cqe");
    draw_ring("when the visitor has come", &ring);

    // 6. Whose completion is it, and what happened?
    say("6. a CQE: user_data 0x%llx, res %s",
        (unsigned long long)cqe->user_data, poll_text(cqe->res));
    if (io_uring_cqe_get_data64(cqe) != LISTENER_READY)
        fail(0, "this CQE is not the listener's");
    if (cqe->res < 0)
        fail(-cqe->res, "POLL_ADD");

    // 7. Give the CQE back: its slot may be used again.
    io_uring_cqe_seen(&ring, cqe);
    say("7. io_uring_cqe_seen(): the CQE's slot is the kernel's again");
    draw_ring("after cqe_seen", &ring);

    // 8. The kernel has said that accept() will find somebody.
    visitor = accept(listener, NULL, NULL);
    if (visitor < 0)
        fail(errno, "accept");
    say("8. accept() = %d", visitor);
    greet(visitor, "hello from chapter 3\n");

    io_uring_queue_exit(&ring);
    close(listener);
    return 0;
}
