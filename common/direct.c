#include "direct.h"

#include "rlimit.h"
#include "say.h"
#include "user_data.h"

#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

unsigned register_table(struct io_uring *ring, unsigned most, int listener)
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

void in_slot(struct io_uring_sqe *sqe, uint32_t kind, unsigned slot)
{
    sqe->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data64(sqe, pack(kind, slot));
}
