#include "net.h"

#include "say.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int tcp_listen(uint16_t port, int flags)
{
    // A socket: one end of a conversation that has no other end yet.
    int listener = socket(AF_INET, SOCK_STREAM | flags, 0);
    if (listener < 0)
        fail(errno, "socket");

    // The port may be taken again while old connections are in TIME_WAIT.
    int yes = 1;
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0)
        fail(errno, "setsockopt SO_REUSEADDR");

    // Its address: this machine only.
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t size = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, size) < 0)
        fail(errno, "bind 127.0.0.1:%d", port);

    // From here on the kernel answers for us, and keeps whoever has come
    // waiting in a queue: the backlog.
    if (listen(listener, SOMAXCONN) < 0)
        fail(errno, "listen");

    // Port 0 asked the kernel to choose: which one is it?
    if (getsockname(listener, (struct sockaddr *)&address, &size) < 0)
        fail(errno, "getsockname");
    say("listening on 127.0.0.1:%d", ntohs(address.sin_port));
    return listener;
}

void greet(int visitor, const char *greeting)
{
    size_t size = strlen(greeting);
    ssize_t sent = send(visitor, greeting, size, MSG_NOSIGNAL);
    if (sent == (ssize_t)size)
        say("   greeted the visitor on descriptor %d", visitor);
    else if (sent >= 0)
        say("   the visitor on descriptor %d heard a part of it", visitor);
    else
        say("   the visitor on descriptor %d has left", visitor);
    close(visitor);
}

int try_accept(int listener)
{
    int visitor = accept(listener, NULL, NULL);
    if (visitor < 0 && errno != EAGAIN && errno != EINTR &&
        errno != ECONNABORTED)
        fail(errno, "accept");
    return visitor;
}
