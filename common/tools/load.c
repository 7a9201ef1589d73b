// load - ask an echo server for echoes, check each byte, and measure
//
//     load PORT CONNECTIONS SECONDS [cpu|calls PID]
//
// All connections are there at once. On each a message of 64 bytes goes out,
// and when it has come back, the next. After a short warm-up this is measured
// for SECONDS; then what is under way comes home, and every connection must
// end as it should. One line on standard output:
//
//     connections 128 echoes 57643 seconds 0.500113 cpu_us 441902 calls -
//     from 1764000000.200317 to 1764000000.700430
//
// (it is one line). cpu_us is the CPU time that process PID, with all its
// threads and the kernel threads of its rings, has used meanwhile: between two
// moments of a traffic that goes on. calls is how many system calls it has
// made, where the kernel tells us (perf_event_open(2), tracefs: root). There
// the measurement begins and ends in silence, so that calls and echoes belong
// together to the last; so it does where nothing is asked for. From and to are
// the clock's, for strace -ttt.
//
// A byte that is wrong or missing, one too many, or a server that hangs up:
// one line on standard error names it, and the status is 1. 2 is a wrong
// command line, 77 a kernel that does not let us count calls. It gives up when
// nothing has come back for 5 seconds.
#include "rlimit.h"
#include "say.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE = 64, EVENTS = 512, PATIENCE = 5 };

static const double warm_up = 0.1;

// A connection: message number `turn` is under way, of which `got` bytes have
// come back.
struct conn {
    int fd;
    unsigned got;
    uint64_t turn;
};

struct load {
    int epoll;
    size_t n;
    struct conn *conns;
    bool last;     // no new message any more
    size_t home;   // connections whose last message has come back
    uint64_t done; // echoes
};

// What is asked of the server while it is measured.
struct meter {
    bool cpu;        // its CPU time ...
    clockid_t clock; // ... from this clock
    int calls;       // a perf event that counts its calls, or -1
};

struct reading {
    double time, real, cpu;
    uint64_t echoes, calls;
};

static double seconds(clockid_t clock)
{
    struct timespec now;
    if (clock_gettime(clock, &now) < 0)
        fail(errno, "clock_gettime: has the server ended?");
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

// --- messages
// -----------------------------------------------------------------

// What connection c says in its turn: no two messages are alike, so an echo
// that is late, doubled or another's is not taken for the right one.
static void message(unsigned char *bytes, size_t c, uint64_t turn)
{
    for (uint64_t i = 0; i < MESSAGE / 8; i++) {
        uint64_t word = ((uint64_t)c << 40) + turn * (MESSAGE / 8) + i + 1;
        word *= 0x9e3779b97f4a7c15;
        memcpy(bytes + i * 8, &word, 8);
    }
}

static void say_next(struct load *load, size_t c)
{
    struct conn *conn = &load->conns[c];
    unsigned char bytes[MESSAGE];
    message(bytes, c, conn->turn);
    ssize_t sent = send(conn->fd, bytes, MESSAGE, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent != MESSAGE)
        fail(sent < 0 ? errno : 0, "connection %zu: send of message %ju", c,
             (uintmax_t)conn->turn);
}

static void hear(struct load *load, size_t c)
{
    struct conn *conn = &load->conns[c];
    unsigned char bytes[2 * MESSAGE], expected[MESSAGE];
    ssize_t got = recv(conn->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0)
        fail(got < 0 ? errno : 0,
             "connection %zu: the server hung up after %u of %d bytes of "
             "message %ju",
             c, conn->got, MESSAGE, (uintmax_t)conn->turn);
    message(expected, c, conn->turn);
    for (unsigned i = 0; i < (unsigned)got; i++, conn->got++) {
        if (conn->got == MESSAGE)
            fail(0,
                 "connection %zu: more came back than was sent, after "
                 "message %ju",
                 c, (uintmax_t)conn->turn);
        if (bytes[i] != expected[conn->got])
            fail(0, "connection %zu: byte %u of message %ju is wrong", c,
                 conn->got, (uintmax_t)conn->turn);
    }
    if (conn->got < MESSAGE)
        return;
    load->done++;
    if (load->last) {
        load->home++;
        return;
    }
    conn->got = 0;
    conn->turn++;
    say_next(load, c);
}

// --- connections
// ----------------------------------------------------------------

// Every wait for the server has an end: connect() and the last recv() too.
static int come(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0)
        fail(errno, "socket");
    struct timeval patience = {.tv_sec = PATIENCE};
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience))
        fail(errno, "setsockopt");
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    while (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        if (errno != EINTR)
            fail(errno, "connect to port %d", port);
    return fd;
}

static void all_come(struct load *load, uint16_t port)
{
    load->epoll = epoll_create1(0);
    if (load->epoll < 0)
        fail(errno, "epoll_create1");
    load->conns = calloc(load->n, sizeof *load->conns);
    if (load->conns == NULL)
        fail(errno, "calloc");
    for (size_t c = 0; c < load->n; c++) {
        load->conns[c].fd = come(port);
        struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = c};
        if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, load->conns[c].fd, &event))
            fail(errno, "epoll_ctl");
    }
}

// Echoes, until that time or until all have come home.
static void run_until(struct load *load, double end)
{
    struct epoll_event events[EVENTS];
    double now = seconds(CLOCK_MONOTONIC);
    while (now < end && load->home < load->n) {
        int n = epoll_wait(load->epoll, events, EVENTS,
                           1 + (int)((end - now) * 1000));
        if (n < 0 && errno != EINTR)
            fail(errno, "epoll_wait");
        for (int i = 0; i < n; i++)
            hear(load, events[i].data.u64);
        now = seconds(CLOCK_MONOTONIC);
    }
}

// Hears what is under way to its end, and says nothing more.
static void come_home(struct load *load)
{
    load->last = true;
    uint64_t before;
    do {
        before = load->done;
        run_until(load, seconds(CLOCK_MONOTONIC) + PATIENCE);
    } while (load->home < load->n && load->done > before);
    for (size_t c = 0; c < load->n; c++)
        if (load->conns[c].got < MESSAGE)
            fail(0,
                 "connection %zu: %u of %d bytes of message %ju came back, "
                 "the rest is missing after %d seconds",
                 c, load->conns[c].got, MESSAGE, (uintmax_t)load->conns[c].turn,
                 PATIENCE);
}

// Everybody says something: at first, and when all have come home.
static void all_speak(struct load *load)
{
    load->last = false;
    load->home = 0;
    for (size_t c = 0; c < load->n; c++) {
        load->conns[c].turn++;
        load->conns[c].got = 0;
        say_next(load, c);
    }
}

// We hang up our side; the server must hang up its own, and say nothing before.
static void all_leave(struct load *load)
{
    for (size_t c = 0; c < load->n; c++)
        if (shutdown(load->conns[c].fd, SHUT_WR) < 0)
            fail(errno, "connection %zu: shutdown", c);
    for (size_t c = 0; c < load->n; c++) {
        char byte;
        ssize_t got;
        do
            got = recv(load->conns[c].fd, &byte, 1, 0);
        while (got < 0 && errno == EINTR);
        if (got < 0)
            fail(errno == EAGAIN ? 0 : errno,
                 "connection %zu: the server has not hung up %d seconds after "
                 "we did",
                 c, PATIENCE);
        if (got > 0)
            fail(0,
                 "connection %zu: more came back than was sent, after "
                 "message %ju",
                 c, (uintmax_t)load->conns[c].turn);
        close(load->conns[c].fd);
    }
    close(load->epoll);
    free(load->conns);
}

// --- what it costs the server
// -----------------------------------------------------

// The server has one thread that makes calls; its ring's threads make none.
static int count_calls(pid_t pid)
{
    const char *file = "/sys/kernel/tracing/events/raw_syscalls/sys_enter/id";
    struct perf_event_attr attr = {
        .type = PERF_TYPE_TRACEPOINT,
        .size = sizeof attr,
        .inherit = 1,
    };
    FILE *id = fopen(file, "r");
    bool known = id != NULL && fscanf(id, "%llu", &attr.config) == 1;
    if (id != NULL)
        fclose(id);
    int fd = -1;
    if (known)
        fd = (int)syscall(SYS_perf_event_open, &attr, pid, -1, -1, 0);
    if (fd < 0) {
        fprintf(stderr, "load: the kernel does not let us count calls: %s\n",
                known ? strerror(errno) : file);
        exit(77);
    }
    return fd;
}

static struct meter meter(const char *what, const char *pid_text)
{
    struct meter meter = {.calls = -1};
    pid_t pid = (pid_t)atol(pid_text);
    meter.cpu = strcmp(what, "cpu") == 0;
    if (meter.cpu) {
        int err = clock_getcpuclockid(pid, &meter.clock);
        if (err != 0)
            fail(err, "the CPU time of process %d", pid);
    } else {
        meter.calls = count_calls(pid);
    }
    return meter;
}

static struct reading read_meter(const struct meter *meter,
                                 const struct load *load)
{
    struct reading reading = {.echoes = load->done};
    if (meter->cpu)
        reading.cpu = seconds(meter->clock);
    if (meter->calls >= 0 && read(meter->calls, &reading.calls,
                                  sizeof reading.calls) != sizeof reading.calls)
        fail(errno, "read of the number of calls");
    reading.real = seconds(CLOCK_REALTIME);
    reading.time = seconds(CLOCK_MONOTONIC);
    return reading;
}

static _Noreturn void usage(void)
{
    fprintf(stderr, "usage: load PORT CONNECTIONS SECONDS [cpu|calls PID]\n");
    exit(2);
}

// A number from least to most; anything else is answered with the usage.
static double number(const char *text, double least, double most)
{
    char *end;
    double value = strtod(text, &end);
    if (*text == '\0' || *end != '\0' || !(value >= least && value <= most))
        usage();
    return value;
}

int main(int argc, char **argv)
{
    if (argc != 4 && argc != 6)
        usage();
    if (argc == 6 && strcmp(argv[4], "cpu") != 0 &&
        strcmp(argv[4], "calls") != 0)
        usage();
    uint16_t port = (uint16_t)number(argv[1], 1, 65535);
    struct load load = {.n = (size_t)number(argv[2], 1, 25000)};
    double length = number(argv[3], 0.01, 60);
    struct meter server = {.calls = -1};
    if (argc == 6)
        server = meter(argv[4], argv[5]);

    raise_descriptor_limit();
    all_come(&load, port);
    all_speak(&load);
    run_until(&load, seconds(CLOCK_MONOTONIC) + warm_up);
    if (!server.cpu)
        come_home(&load);
    struct reading from = read_meter(&server, &load);
    if (!server.cpu)
        all_speak(&load);
    run_until(&load, from.time + length);
    if (!server.cpu)
        come_home(&load);
    struct reading to = read_meter(&server, &load);
    if (server.cpu)
        come_home(&load);
    all_leave(&load);

    char cpu[32] = "-", calls[32] = "-";
    if (server.cpu)
        snprintf(cpu, sizeof cpu, "%.0f", (to.cpu - from.cpu) * 1e6);
    if (server.calls >= 0) {
        snprintf(calls, sizeof calls, "%ju",
                 (uintmax_t)(to.calls - from.calls));
        close(server.calls);
    }
    say("connections %zu echoes %ju seconds %.6f cpu_us %s calls %s "
        "from %.6f to %.6f",
        load.n, (uintmax_t)(to.echoes - from.echoes), to.time - from.time, cpu,
        calls, from.real, to.real);
    return 0;
}
