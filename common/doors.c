#include "doors.h"

#include "net.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

void doors_open(struct door *doors, unsigned n, uint16_t port)
{
    for (unsigned i = 0; i < n; i++) {
        doors[i].number = i;
        doors[i].listener =
            tcp_listen(port == 0 ? 0 : (uint16_t)(port + i), SOCK_NONBLOCK);
    }
}

void doors_close(struct door *doors, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        close(doors[i].listener);
}

bool door_greet(const struct door *door)
{
    int visitor = try_accept(door->listener);
    if (visitor < 0)
        return false;
    char greeting[32];
    snprintf(greeting, sizeof greeting, "hello from door %u\n", door->number);
    greet(visitor, greeting);
    return true;
}
