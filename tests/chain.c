// chain - what a SEND that does not fit does to the chain that it begins
//
//     chain
//
// Chapter 13's claims, asked of this kernel: a SEND linked to a NOP, into a
// socket whose other end reads nothing. A line for each way of sending.
#include "ring.h"
#include "say.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SEND = 1, CLOCK, NOP, SIZE = 4 << 20 };

// SEND, perhaps with a clock, then NOP. The results go to res[SEND ...].
static void run_chain(int flags, bool timed, size_t size, int *res)
{
    struct io_uring ring;
    ring_open(&ring, 4);
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
        fail(errno, "socketpair");
    char *bytes = calloc(1, size);
    if (bytes == NULL)
        fail(errno, "calloc");

    struct io_uring_sqe *sqe = ring_sqe(&ring);
    io_uring_prep_send(sqe, ends[0], bytes, size, flags | MSG_NOSIGNAL);
    io_uring_sqe_set_data64(sqe, SEND);
    sqe->flags |= IOSQE_IO_LINK;
    struct __kernel_timespec soon = {.tv_nsec = 100000000};
    if (timed) {
        sqe = ring_sqe(&ring);
        io_uring_prep_link_timeout(sqe, &soon, 0);
        io_uring_sqe_set_data64(sqe, CLOCK);
        sqe->flags |= IOSQE_IO_LINK;
    }
    sqe = ring_sqe(&ring);
    io_uring_prep_nop(sqe);
    io_uring_sqe_set_data64(sqe, NOP);
    ring_submit(&ring);
    for (int i = 0; i < 2 + timed; i++) {
        struct io_uring_cqe *cqe = ring_wait(&ring);
        res[cqe->user_data] = cqe->res;
        io_uring_cqe_seen(&ring, cqe);
    }
    io_uring_queue_exit(&ring);
    close(ends[0]);
    close(ends[1]);
    free(bytes);
}

// "all", "a part" or the error's number.
static const char *part(int res, size_t size)
{
    if (res < 0)
        return result_text(res);
    return (size_t)res == size ? "all" : "a part";
}

static void tell(const char *how, int flags, bool timed, size_t size)
{
    int res[NOP + 1] = {0};
    run_chain(flags, timed, size, res);
    say("%s: SEND %s", how, part(res[SEND], size));
    if (timed)
        say("   LINK_TIMEOUT %s", result_text(res[CLOCK]));
    say("   NOP %s", result_text(res[NOP]));
}

// A chain of NOP and clock with a submit in between.
static void tell_cut_in_two(void)
{
    struct io_uring ring;
    ring_open(&ring, 4);
    struct io_uring_sqe *sqe = ring_sqe(&ring);
    io_uring_prep_nop(sqe);
    io_uring_sqe_set_data64(sqe, NOP);
    sqe->flags |= IOSQE_IO_LINK;
    ring_submit(&ring);
    struct __kernel_timespec soon = {.tv_sec = 1};
    sqe = ring_sqe(&ring);
    io_uring_prep_link_timeout(sqe, &soon, 0);
    io_uring_sqe_set_data64(sqe, CLOCK);
    ring_submit(&ring);
    int res[NOP + 1] = {0};
    for (int i = 0; i < 2; i++) {
        struct io_uring_cqe *cqe = ring_wait(&ring);
        res[cqe->user_data] = cqe->res;
        io_uring_cqe_seen(&ring, cqe);
    }
    io_uring_queue_exit(&ring);
    say("cut in two: NOP %d", res[NOP]);
    say("   LINK_TIMEOUT %s", result_text(res[CLOCK]));
}

int main(void)
{
    tell("it fits", 0, false, 5);
    tell("it does not fit", 0, false, SIZE);
    tell("it fits, MSG_WAITALL, with a clock", MSG_WAITALL, true, 5);
    tell("it does not fit, MSG_WAITALL, with a clock", MSG_WAITALL, true, SIZE);
    tell_cut_in_two();
    return 0;
}
