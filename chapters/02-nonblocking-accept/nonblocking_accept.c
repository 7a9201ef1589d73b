// nonblocking_accept - ask for a visitor again and again, never asleep
//
//     nonblocking_accept [PORT]
//
// Listens on 127.0.0.1 with a non-blocking listener, tries accept() until a
// visitor is there, greets them, and says how many tries found nobody and
// what they cost.
#include "args.h"
#include "clock.h"
#include "net.h"
#include "say.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// Whether calls on this descriptor return at once instead of sleeping.
static const char *blocking_text(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        fail(errno, "fcntl F_GETFL");
    return flags & O_NONBLOCK ? "does not block" : "blocks";
}

// Whether accept() said "nobody now". That is an answer and no failure, as is
// a visitor who left while still in the backlog. accept(2)
static bool nobody_there(int err)
{
    return err == EAGAIN || err == EWOULDBLOCK || err == ECONNABORTED;
}

int main(int argc, char **argv)
{
    // 1. Listen, on a socket on which no call sleeps.
    int listener = tcp_listen(port_argument(argc, argv), SOCK_NONBLOCK);
    say("1. the listener, descriptor %d, %s", listener,
        blocking_text(listener));

    // 2. Ask until somebody is there.
    say("2. accept(), again and again");
    double elapsed = now_ms(CLOCK_MONOTONIC);
    double cpu = now_ms(CLOCK_THREAD_CPUTIME_ID);
    long nobody = 0;
    int visitor;
    while ((visitor = accept(listener, NULL, NULL)) < 0) {
        if (!nobody_there(errno) && errno != EINTR)
            fail(errno, "accept");
        nobody++;
    }

    elapsed = now_ms(CLOCK_MONOTONIC) - elapsed;
    cpu = now_ms(CLOCK_THREAD_CPUTIME_ID) - cpu;
    say("   %ld tries found nobody, the next one a visitor", nobody);
    say("   %.0f ns a try", elapsed * 1e6 / (double)(nobody + 1));
    say("   the thread waited %.1f ms and used %.1f ms of CPU time", elapsed,
        cpu);

    // 3. The visitor's descriptor has flags of its own.
    say("3. the visitor, descriptor %d, %s", visitor, blocking_text(visitor));
    greet(visitor, "hello from chapter 2\n");
    close(listener);
    return 0;
}
