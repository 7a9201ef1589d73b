// rings_by_hand - chapter 3 again, without liburing
//
//     rings_by_hand [PORT]
//
// Sets up a ring of 2 with one system call and two mappings, puts one POLL_ADD
// into the shared memory, and reads its completion there. Then runs a thousand
// NOPs through the same small ring, so that its counters pass its end many
// times, and measures what a look at the completion queue costs.
#include "args.h"
#include "clock.h"
#include "net.h"
#include "picture.h"
#include "refusal.h"
#include "say.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NOPS = 1000, LOOKS = 10000000, CALLS = 10000 };

// Pointers into the memory that the kernel and we share. Each counter is
// written by one side only and never goes back; its slot is counter & mask.
struct ring {
    int fd;
    void *memory; // both queues, but for the SQEs; ours to unmap
    size_t memory_size;

    _Atomic unsigned *sq_head; // the kernel's: it has taken SQEs up to here
    _Atomic unsigned *sq_tail; // ours: we have put in SQEs up to here
    unsigned sq_entries;
    unsigned *sq_array;        // slot -> which of the sqes
    struct io_uring_sqe *sqes; // ours to unmap

    _Atomic unsigned *cq_head; // ours: we have taken CQEs up to here
    _Atomic unsigned *cq_tail; // the kernel's: it has put in CQEs up to here
    unsigned cq_entries;
    struct io_uring_cqe *cqes;
};

static void *map(int fd, size_t size, off_t what)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_POPULATE, fd, what);
    if (memory == MAP_FAILED)
        fail(errno, "mmap of the ring");
    return memory;
}

static void ring_setup(struct ring *ring, unsigned entries)
{
    struct io_uring_params params = {0};
    ring->fd = (int)syscall(SYS_io_uring_setup, entries, &params);
    int err = errno;
    if (ring->fd < 0)
        fail_with(err, why_refused(err), "io_uring_setup");
    if ((params.features & IORING_FEAT_SINGLE_MMAP) == 0)
        fail(0, "this kernel maps its two queues apart (Linux before 5.4)");

    // One mapping holds both queues; it must reach to the end of the longer.
    size_t sq_size = params.sq_off.array + params.sq_entries * sizeof(unsigned);
    size_t cq_size =
        params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
    ring->memory_size = sq_size > cq_size ? sq_size : cq_size;
    ring->memory = map(ring->fd, ring->memory_size, IORING_OFF_SQ_RING);
    ring->sqes =
        map(ring->fd, params.sq_entries * sizeof *ring->sqes, IORING_OFF_SQES);

    // The kernel has told where in it everything is.
    char *base = ring->memory;
    ring->sq_head = (_Atomic unsigned *)(base + params.sq_off.head);
    ring->sq_tail = (_Atomic unsigned *)(base + params.sq_off.tail);
    ring->sq_array = (unsigned *)(base + params.sq_off.array);
    ring->sq_entries = params.sq_entries;
    ring->cq_head = (_Atomic unsigned *)(base + params.cq_off.head);
    ring->cq_tail = (_Atomic unsigned *)(base + params.cq_off.tail);
    ring->cqes = (struct io_uring_cqe *)(base + params.cq_off.cqes);
    ring->cq_entries = params.cq_entries;
}

static void ring_end(struct ring *ring)
{
    munmap(ring->sqes, ring->sq_entries * sizeof *ring->sqes);
    munmap(ring->memory, ring->memory_size);
    close(ring->fd);
}

// The SQE at the tail, cleared, or NULL where the queue is full. The kernel
// learns of it by sq_push().
static struct io_uring_sqe *sq_next(struct ring *ring)
{
    unsigned tail = atomic_load_explicit(ring->sq_tail, memory_order_relaxed);
    unsigned head = atomic_load_explicit(ring->sq_head, memory_order_acquire);
    if (tail - head == ring->sq_entries)
        return NULL;
    unsigned slot = tail & (ring->sq_entries - 1);
    ring->sq_array[slot] = slot;
    return memset(&ring->sqes[slot], 0, sizeof *ring->sqes);
}

// Release: whoever sees the new tail sees the SQE that was written before it.
static void sq_push(struct ring *ring)
{
    unsigned tail = atomic_load_explicit(ring->sq_tail, memory_order_relaxed);
    atomic_store_explicit(ring->sq_tail, tail + 1, memory_order_release);
}

// Hands over `submit` SQEs and sleeps until `wait` CQEs are there. A signal
// that ends the sleep is no error: then there may be fewer. One that comes
// before anything was handed over (EINTR, nothing taken) means: once more.
static void ring_enter(struct ring *ring, unsigned submit, unsigned wait)
{
    unsigned flags = wait > 0 ? IORING_ENTER_GETEVENTS : 0;
    long ret;
    do
        ret =
            syscall(SYS_io_uring_enter, ring->fd, submit, wait, flags, NULL, 0);
    while (ret < 0 && errno == EINTR && submit > 0);
    if (ret < 0 && errno != EINTR)
        fail(errno, "io_uring_enter");
    if (ret >= 0 && ret != submit)
        fail(0, "io_uring_enter took %ld of %u", ret, submit);
}

// Acquire: once we see the kernel's new tail, we see the CQE before it.
static bool cq_ready(struct ring *ring)
{
    unsigned head = atomic_load_explicit(ring->cq_head, memory_order_relaxed);
    return head != atomic_load_explicit(ring->cq_tail, memory_order_acquire);
}

// Copies the oldest CQE out of the queue; sleeps until there is one. Release:
// the kernel sees the new head after we have read the slot, never before.
static void cq_take(struct ring *ring, struct io_uring_cqe *cqe)
{
    while (!cq_ready(ring))
        ring_enter(ring, 0, 1);
    unsigned head = atomic_load_explicit(ring->cq_head, memory_order_relaxed);
    *cqe = ring->cqes[head & (ring->cq_entries - 1)];
    atomic_store_explicit(ring->cq_head, head + 1, memory_order_release);
}

static void draw(const char *when, struct ring *ring)
{
    struct ring_view view = {
        .sq.head = *ring->sq_head,
        .sq.tail = *ring->sq_tail,
        .sq.entries = ring->sq_entries,
        .sq.array = ring->sq_array,
        .sq.sqes = ring->sqes,
        .cq.head = *ring->cq_head,
        .cq.tail = *ring->cq_tail,
        .cq.entries = ring->cq_entries,
        .cq.cqes = ring->cqes,
    };
    draw_view(when, &view);
}

int main(int argc, char **argv)
{
    // 1. The ring: one system call, and two mappings of what it made.
    int listener = tcp_listen(port_argument(argc, argv), SOCK_NONBLOCK);
    struct ring ring;
    ring_setup(&ring, 2);
    say("1. a ring of %u and %u slots, descriptor %d", ring.sq_entries,
        ring.cq_entries, ring.fd);

    // 2. An SQE at the tail, and the tail moved past it.
    struct io_uring_sqe *sqe = sq_next(&ring);
    if (sqe == NULL)
        fail(0, "the submission queue is full");
    sqe->opcode = IORING_OP_POLL_ADD;
    sqe->fd = listener;
    sqe->poll_events = POLLIN;
    sqe->user_data = 0xdeadbeef;
    sq_push(&ring);
    say("2. one SQE, and the tail moved past it");
    draw("with the tail moved, before io_uring_enter", &ring);

    // 3. The call that makes the kernel look.
    ring_enter(&ring, 1, 0);
    say("3. io_uring_enter(1 to submit, 0 to wait for)");
    draw("after io_uring_enter", &ring);

    // 4. Sleep until a CQE is there; take it, and move the head past it.
    say("4. asleep until there is a CQE");
    struct io_uring_cqe cqe;
    cq_take(&ring, &cqe);
    draw("with the CQE taken", &ring);
    say("5. a CQE: user_data 0x%llx, res %s", (unsigned long long)cqe.user_data,
        poll_text(cqe.res));
    if (cqe.user_data != 0xdeadbeef)
        fail(0, "this CQE is not the listener's");
    int visitor = try_accept(listener);
    if (visitor < 0)
        fail(0, "nobody is there after all; run it again");
    greet(visitor, "hello from chapter 7\n");

    // 6. Round and round: the counters only ever grow, the slots repeat.
    for (unsigned i = 0; i < NOPS; i++) {
        if ((sqe = sq_next(&ring)) == NULL)
            fail(0, "the submission queue is full");
        sqe->opcode = IORING_OP_NOP;
        sqe->user_data = i;
        sq_push(&ring);
        ring_enter(&ring, 1, 1);
        cq_take(&ring, &cqe);
        if (cqe.user_data != i || cqe.res != 0)
            fail(0, "NOP %u came back as %llu, res %d", i,
                 (unsigned long long)cqe.user_data, cqe.res);
    }
    say("6. %d NOPs, each completed in its turn", NOPS);
    draw("after all of them", &ring);

    // 7. What does a look cost, and what a call that does nothing?
    double look = now_ms(CLOCK_MONOTONIC);
    for (long i = 0; i < LOOKS; i++)
        if (cq_ready(&ring))
            fail(0, "a CQE that nobody asked for");
    look = (now_ms(CLOCK_MONOTONIC) - look) * 1e6 / LOOKS;
    double call = now_ms(CLOCK_MONOTONIC);
    for (long i = 0; i < CALLS; i++)
        ring_enter(&ring, 0, 0);
    call = (now_ms(CLOCK_MONOTONIC) - call) * 1e6 / CALLS;
    say("7. a look at the completion queue: %.2f ns", look);
    say("   an io_uring_enter() that does nothing: %.0f ns, %.0f times as much",
        call, call / look);

    ring_end(&ring);
    close(listener);
    return 0;
}
