#include "accept.h"

#include <errno.h>

bool visitor_lost(int err)
{
    switch (err) {
    case ECONNABORTED:
    case EPERM: // a firewall's rules
    case EINTR:
    // errors of the network that were waiting on the new connection
    case ENETDOWN:
    case EPROTO:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
        return true;
    default:
        return false;
    }
}

bool no_room(int err)
{
    return err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM;
}
