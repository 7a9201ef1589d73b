// solution 2 - wait for readiness instead of spinning
//
//     02-nonblocking-accept [PORT]
//
// poll() sleeps until the listener has somebody in its backlog, and says no
// more than that: it takes nobody out. accept() does, and it may still find
// nobody, so its EAGAIN leads back to poll() and not to an error. This pair, a
// call that waits for readiness and a non-blocking call that acts, is what
// the next chapter asks of a ring.
#include "args.h"
#include "net.h"
#include "say.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

// Sleeps until accept() on this listener has something to say. A signal only
// wakes us early: accept() will say that nobody is there, and we come back.
static void wait_readable(int listener)
{
    struct pollfd waiting = {.fd = listener, .events = POLLIN};
    if (poll(&waiting, 1, -1) < 0 && errno != EINTR)
        fail(errno, "poll");
}

int main(int argc, char **argv)
{
    int listener = tcp_listen(port_argument(argc, argv), SOCK_NONBLOCK);
    say("waiting for a visitor");

    int visitor;
    while ((visitor = accept(listener, NULL, NULL)) < 0) {
        if (errno != EAGAIN && errno != ECONNABORTED)
            fail(errno, "accept");
        wait_readable(listener);
    }

    greet(visitor, "hello from exercise 2\n");
    close(listener);
    return 0;
}

// exercise.c as shipped: 92a9c8cb7d655f5ca9ee8e6dee97f7534b4ef1e8
