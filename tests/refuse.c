// refuse - run a program where the kernel refuses one system call
//
//     refuse CALL ERROR PROGRAM [ARGUMENT ...]      refuse socket EMFILE ls
//
// A seccomp filter answers CALL with ERROR, as a container's filter does.
// Exits with 2 for names it does not know, 1 when it cannot run the program.
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

struct name {
    const char *name;
    long value;
};

static const struct name calls[] = {
    {"io_uring_setup", SYS_io_uring_setup},
    {"io_uring_enter", SYS_io_uring_enter},
    {"io_uring_register", SYS_io_uring_register},
    {"socket", SYS_socket},
    {"bind", SYS_bind},
    {"listen", SYS_listen},
    {"accept", SYS_accept},
    {"accept4", SYS_accept4},
    {"mmap", SYS_mmap},
    {"prctl", SYS_prctl},
    {"epoll_create1", SYS_epoll_create1},
    {"epoll_ctl", SYS_epoll_ctl},
};

static const struct name errors[] = {
    {"EPERM", EPERM},   {"ENOSYS", ENOSYS}, {"EMFILE", EMFILE},
    {"ENFILE", ENFILE}, {"ENOMEM", ENOMEM}, {"EACCES", EACCES},
    {"EINVAL", EINVAL}, {"EAGAIN", EAGAIN}, {"EBUSY", EBUSY},
};

// The value of a name in a table of n, or -1.
static long find(const struct name *table, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(table[i].name, name) == 0)
            return table[i].value;
    return -1;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: refuse CALL ERROR PROGRAM [ARGUMENT ...]\n");
        return 2;
    }
    long call = find(calls, sizeof calls / sizeof *calls, argv[1]);
    long error = find(errors, sizeof errors / sizeof *errors, argv[2]);
    if (call < 0 || error < 0) {
        fprintf(stderr, "refuse: unknown: %s %s\n", argv[1], argv[2]);
        return 2;
    }

    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0) {
        perror("refuse: seccomp");
        return 1;
    }
    execvp(argv[3], argv + 3);
    perror(argv[3]);
    return 1;
}
