// net.h - sockets. Taught by chapter 1, where the same code is written out.
#ifndef NET_H
#define NET_H

#include <stdint.h>

// A TCP socket that listens on 127.0.0.1:port (0: the kernel chooses) and has
// said so. `flags` go to socket(2): 0, or SOCK_NONBLOCK. The caller closes it.
// Fails the program where it cannot have one.
int tcp_listen(uint16_t port, int flags);

// Says the greeting to a visitor and hangs up: the descriptor is closed.
// One who has left already costs nothing but their own connection.
void greet(int visitor, const char *greeting);

#endif
