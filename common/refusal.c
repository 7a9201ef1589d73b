#include "refusal.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>

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

const char *why_refused(int err)
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
