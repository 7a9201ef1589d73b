// solution 1 - three visitors, one after the other
//
//     01-blocking-accept [PORT]
//
// Nothing here keeps the early ones: the kernel does. It completes their
// connections while the program pauses and holds them in the listener's
// backlog, in the order in which they came. accept() only takes the next one
// out, and sleeps when there is none.
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

// nanosleep(2) stores what is left of the pause when a signal cuts it short.
static void pause_ms(long ms)
{
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) < 0)
        if (errno != EINTR)
            fail(errno, "nanosleep");
}

int main(int argc, char **argv)
{
    int listener = tcp_listen(port_argument(argc, argv), 0);

    for (int number = 1; number <= 3; number++) {
        if (number > 1)
            pause_ms(200);
        say("waiting for visitor %d", number);
        char greeting[32];
        snprintf(greeting, sizeof greeting, "hello, visitor %d\n", number);
        greet(next_visitor(listener), greeting);
    }

    close(listener);
    return 0;
}

// exercise.c as shipped: defa0ef2904e48e91bb74e7f70e0dcdc90075c34
