#include "feature.h"

#include "ring.h"
#include "say.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { LACKS_FEATURE = 77 };

// --- the probes: each gets a ring of 2 that nothing is in flight on --------
//
// A version number would be a guess: distributions bring features to older
// kernels, and take some away. Old kernels do not refuse every flag that they
// do not know, either. So an operation is done for real wherever they might
// take its flags for nothing.

// The kernel's own list of operations (IORING_REGISTER_PROBE, Linux 5.6).
static bool knows(struct io_uring *ring, int operation)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    bool known = probe != NULL && io_uring_opcode_supported(probe, operation);
    io_uring_free_probe(probe);
    return known;
}

static bool poll_add(struct io_uring *ring)
{
    return knows(ring, IORING_OP_POLL_ADD);
}

static bool timeout(struct io_uring *ring)
{
    return knows(ring, IORING_OP_TIMEOUT);
}

static bool accept_op(struct io_uring *ring)
{
    return knows(ring, IORING_OP_ACCEPT);
}

static bool link_timeout(struct io_uring *ring)
{
    return knows(ring, IORING_OP_LINK_TIMEOUT);
}

static bool cancel(struct io_uring *ring)
{
    return knows(ring, IORING_OP_ASYNC_CANCEL);
}

static bool nodrop(struct io_uring *ring)
{
    return ring->features & IORING_FEAT_NODROP;
}

static bool recv_op(struct io_uring *ring)
{
    return knows(ring, IORING_OP_RECV);
}

static bool send_op(struct io_uring *ring)
{
    return knows(ring, IORING_OP_SEND);
}

static bool close_op(struct io_uring *ring)
{
    return knows(ring, IORING_OP_CLOSE);
}

static bool ring_fd(struct io_uring *ring)
{
    return io_uring_register_ring_fd(ring) == 1;
}

// Whether a ring can be set up with these flags.
static bool sets_up(unsigned flags, unsigned feature)
{
    struct io_uring ring;
    struct io_uring_params params = {.flags = flags};
    if (io_uring_queue_init_params(2, &ring, &params) < 0)
        return false;
    io_uring_queue_exit(&ring);
    return (params.features & feature) == feature;
}

// Root may have it earlier, but only with registered files (before 5.11).
static bool sqpoll(struct io_uring *ring)
{
    (void)ring;
    return sets_up(IORING_SETUP_SQPOLL, IORING_FEAT_SQPOLL_NONFIXED);
}

static bool coop_taskrun(struct io_uring *ring)
{
    (void)ring;
    return sets_up(IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, 0);
}

static bool single_issuer(struct io_uring *ring)
{
    (void)ring;
    return sets_up(IORING_SETUP_SINGLE_ISSUER, 0);
}

static bool defer_taskrun(struct io_uring *ring)
{
    (void)ring;
    return sets_up(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, 0);
}

// Submits what is prepared. Its first CQE's res and flags. That a submit fails
// says nothing of what was asked for.
static int complete(struct io_uring *ring, unsigned *flags)
{
    ring_submit(ring);
    struct io_uring_cqe *cqe = ring_wait(ring);
    int res = cqe->res;
    *flags = cqe->flags;
    io_uring_cqe_seen(ring, cqe);
    return res;
}

// A Unix socket that listens, and a visitor who waits there. The kernel makes
// up its address. False where there cannot be one.
static bool visited_listener(int *listener, int *visitor)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t length = sizeof address;
    *listener = socket(AF_UNIX, SOCK_STREAM, 0);
    *visitor = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr *any = (struct sockaddr *)&address;
    return *listener >= 0 && *visitor >= 0 &&
           bind(*listener, any, sizeof address.sun_family) == 0 &&
           getsockname(*listener, any, &length) == 0 &&
           listen(*listener, 1) == 0 && connect(*visitor, any, length) == 0;
}

// Accepts a visitor as `prepare` says. The CQE's res and flags; a descriptor
// is closed again.
static int accepted(struct io_uring *ring, unsigned *flags,
                    void (*prepare)(struct io_uring_sqe *, int))
{
    int listener, visitor, res = -EINVAL;
    if (visited_listener(&listener, &visitor)) {
        prepare(io_uring_get_sqe(ring), listener);
        res = complete(ring, flags);
    }
    if (res > 0)
        close(res);
    close(visitor);
    close(listener);
    return res;
}

static void prepare_multishot(struct io_uring_sqe *sqe, int listener)
{
    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, 0);
}

static void prepare_direct(struct io_uring_sqe *sqe, int listener)
{
    io_uring_prep_accept_direct(sqe, listener, NULL, NULL, 0, 0);
}

static void prepare_direct_alloc(struct io_uring_sqe *sqe, int listener)
{
    // io_uring_prep_accept_direct() of liburing before 2.4 adds 1 to this too
    io_uring_prep_accept(sqe, listener, NULL, NULL, 0);
    sqe->file_index = IORING_FILE_INDEX_ALLOC;
}

static bool multishot_accept(struct io_uring *ring)
{
    unsigned flags = 0;
    return accepted(ring, &flags, prepare_multishot) >= 0 &&
           flags & IORING_CQE_F_MORE;
}

// An old kernel does not look at the table: it gives a descriptor, which is not
// 0, since the listener came before it.
static bool accepts_directly(struct io_uring *ring,
                             void (*prepare)(struct io_uring_sqe *, int))
{
    int slots[] = {-1};
    unsigned flags;
    return io_uring_register_files(ring, slots, 1) == 0 &&
           accepted(ring, &flags, prepare) == 0;
}

static bool accept_direct(struct io_uring *ring)
{
    return accepts_directly(ring, prepare_direct);
}

static bool direct_alloc(struct io_uring *ring)
{
    return accepts_directly(ring, prepare_direct_alloc);
}

static bool cancel_fd(struct io_uring *ring)
{
    unsigned flags;
    io_uring_prep_cancel_fd(io_uring_get_sqe(ring), ring->ring_fd, 0);
    return complete(ring, &flags) == -ENOENT;
}

// A group of one buffer, in a page of its own: the ring at its beginning, the
// buffer behind. The caller frees it. NULL where the kernel has no such thing.
static struct io_uring_buf_ring *one_buffer(struct io_uring *ring)
{
    size_t page = (size_t)getpagesize();
    struct io_uring_buf_ring *buffers = aligned_alloc(page, page);
    if (buffers == NULL)
        fail(errno, "aligned_alloc");
    struct io_uring_buf_reg registration = {
        .ring_addr = (uintptr_t)buffers,
        .ring_entries = 1,
        .bgid = 0,
    };
    if (io_uring_register_buf_ring(ring, &registration, 0) != 0) {
        free(buffers);
        return NULL;
    }
    io_uring_buf_ring_init(buffers);
    io_uring_buf_ring_add(buffers, (char *)buffers + page / 2, 1, 0,
                          io_uring_buf_ring_mask(1), 0);
    io_uring_buf_ring_advance(buffers, 1);
    return buffers;
}

static bool provided_buffers(struct io_uring *ring)
{
    struct io_uring_buf_ring *buffers = one_buffer(ring);
    if (buffers == NULL)
        return false;
    io_uring_unregister_buf_ring(ring, 0);
    free(buffers);
    return true;
}

// A byte waits to be received, and nothing comes after it: the multishot ends.
static bool multishot_recv(struct io_uring *ring)
{
    struct io_uring_buf_ring *buffers = one_buffer(ring);
    if (buffers == NULL)
        return false;
    int ends[2], res = -EINVAL;
    unsigned flags = 0;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
        fail(errno, "socketpair");
    if (write(ends[0], "", 1) == 1) {
        close(ends[0]);
        struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
        io_uring_prep_recv_multishot(sqe, ends[1], NULL, 0, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = 0;
        res = complete(ring, &flags);
    }
    close(ends[1]);
    io_uring_unregister_buf_ring(ring, 0);
    free(buffers);
    return res == 1 && flags & IORING_CQE_F_MORE;
}

// --- the table --------------------------------------------------------------

static const struct feature_row table[FEATURES] = {
    [FEATURE_POLL_ADD] = {"poll-add", "POLL_ADD", "5.1", poll_add},
    [FEATURE_TIMEOUT] = {"timeout", "TIMEOUT", "5.4", timeout},
    [FEATURE_ACCEPT] = {"accept", "ACCEPT", "5.5", accept_op},
    [FEATURE_LINK_TIMEOUT] = {"link-timeout", "LINK_TIMEOUT", "5.5",
                              link_timeout},
    [FEATURE_CANCEL] = {"cancel", "ASYNC_CANCEL", "5.5", cancel},
    [FEATURE_NODROP] = {"nodrop", "overflow of the CQ without loss", "5.5",
                        nodrop},
    [FEATURE_RECV] = {"recv", "RECV", "5.6", recv_op},
    [FEATURE_SEND] = {"send", "SEND", "5.6", send_op},
    [FEATURE_CLOSE] = {"close", "CLOSE", "5.6", close_op},
    [FEATURE_SQPOLL] = {"sqpoll", "SQPOLL without privilege", "5.13", sqpoll},
    [FEATURE_ACCEPT_DIRECT] = {"accept-direct", "direct accept", "5.15",
                               accept_direct},
    [FEATURE_RING_FD] = {"ring-fd", "registered ring descriptors", "5.18",
                         ring_fd},
    [FEATURE_MULTISHOT_ACCEPT] = {"multishot-accept", "multishot accept",
                                  "5.19", multishot_accept},
    [FEATURE_PROVIDED_BUFFERS] = {"provided-buffers",
                                  "ring-mapped provided buffers", "5.19",
                                  provided_buffers},
    [FEATURE_CANCEL_FD] = {"cancel-fd", "cancelling by descriptor", "5.19",
                           cancel_fd},
    [FEATURE_DIRECT_ALLOC] = {"direct-alloc",
                              "allocation of direct descriptors", "5.19",
                              direct_alloc},
    [FEATURE_COOP_TASKRUN] = {"coop-taskrun", "COOP_TASKRUN", "5.19",
                              coop_taskrun},
    [FEATURE_MULTISHOT_RECV] = {"multishot-recv", "multishot recv", "6.0",
                                multishot_recv},
    [FEATURE_SINGLE_ISSUER] = {"single-issuer", "SINGLE_ISSUER", "6.0",
                               single_issuer},
    [FEATURE_DEFER_TASKRUN] = {"defer-taskrun", "DEFER_TASKRUN", "6.1",
                               defer_taskrun},
};

const struct feature_row *feature_row(enum feature feature)
{
    return &table[feature];
}

enum feature feature_named(const char *name)
{
    int feature = 0;
    while (feature < FEATURES && strcmp(table[feature].name, name) != 0)
        feature++;
    return feature;
}

bool has_feature(enum feature feature)
{
    struct io_uring ring;
    ring_open(&ring, 2);
    bool has = table[feature].probe(&ring);
    io_uring_queue_exit(&ring);
    return has;
}

void need_feature(enum feature feature)
{
    if (has_feature(feature))
        return;
    struct utsname here;
    if (uname(&here) < 0)
        fail(errno, "uname");
    // 5.10.0-32-amd64: the distribution's part says nothing here
    here.release[strspn(here.release, ".0123456789")] = '\0';
    fprintf(stderr,
            "%s: this kernel lacks %s: it came with Linux %s, this is Linux "
            "%s\n",
            program_name(), table[feature].title, table[feature].since,
            here.release);
    exit(LACKS_FEATURE);
}
