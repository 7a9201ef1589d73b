// exercise 1 - three visitors, one after the other
//
//     01-blocking-accept [PORT]
//
// It greets one visitor and ends. Make it serve three: the first one hears
// "hello, visitor 1", the next "hello, visitor 2", then "hello, visitor 3".
// Between two visitors it pauses for 200 ms, and nobody is refused meanwhile.
#include "args.h"
#include "net.h"
#include "say.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// Sleeps in accept() until somebody comes.
static int next_visitor(int listener)
{
    int visitor;
    do
        visitor = accept(listener, NULL, NULL);
    while (visitor < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (visitor < 0)
        fail(errno, "accept");
    return visitor;
}

int main(int argc, char **argv)
{
    int listener = tcp_listen(port_argument(argc, argv), 0);

    // TODO(exercise): three visitors, each with a number in the greeting, and
    // a pause of 200 ms between two of them.
    say("waiting for visitor 1");
    greet(next_visitor(listener), "hello, visitor 1\n");

    close(listener);
    return 0;
}
