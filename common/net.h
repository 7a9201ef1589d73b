// net.h - sockets: listening, accepting, greeting
#ifndef NET_H
#define NET_H

#include <stdint.h>

// A TCP socket that listens on 127.0.0.1:port (0: the kernel chooses) and has
// said so. `flags` go to socket(2): 0, or SOCK_NONBLOCK. The caller closes it.
// Fails the program where it cannot have one. Taught by chapter 1.
int tcp_listen(uint16_t port, int flags);

// Says the greeting to a visitor and hangs up: the descriptor is closed.
// One who has left already costs nothing but their own connection. Taught by
// chapter 1.
void greet(int visitor, const char *greeting);

// A visitor's descriptor, which the caller closes, or -1 when nobody is there
// now: the listener must be non-blocking. Any other error ends the program.
// Taught by chapter 2. accept(2)
int try_accept(int listener);

#endif
