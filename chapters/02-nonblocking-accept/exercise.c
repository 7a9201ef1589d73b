// exercise 2 - wait for readiness instead of spinning
//
//     02-nonblocking-accept [PORT]
//
// It greets one visitor, and asks for them as chapter 2 does: again and again.
// Make it sleep in poll(2) until the listener is ready, so that the wait costs
// a handful of system calls and no CPU time. The listener stays non-blocking.
#include "args.h"
#include "net.h"
#include "say.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int listener = tcp_listen(port_argument(argc, argv), SOCK_NONBLOCK);
    say("waiting for a visitor");

    int visitor;
    while ((visitor = accept(listener, NULL, NULL)) < 0) {
        if (errno != EAGAIN && errno != ECONNABORTED)
            fail(errno, "accept");
        // TODO(exercise): nobody there. Sleep until the listener is readable.
    }

    greet(visitor, "hello from exercise 2\n");
    close(listener);
    return 0;
}
