#include "arrivals.h"

#include "accept.h"
#include "net.h"
#include "ring.h"
#include "rlimit.h"
#include "say.h"
#include "user_data.h"

#include <errno.h>
#include <unistd.h>

void arrivals_open(struct arrivals *arrivals, struct io_uring *ring,
                   uint16_t port, unsigned most, long visitors)
{
    limit_descriptors(most);
    *arrivals = (struct arrivals){
        .ring = ring,
        .listener = tcp_listen(port, 0),
        .most = most,
        .to_come = visitors == 0 ? -1 : visitors,
    };
}

void arrivals_close(struct arrivals *arrivals)
{
    close(arrivals->listener);
}

void arrivals_ask(struct arrivals *arrivals)
{
    if (arrivals->accepting || arrivals->full || arrivals->to_come == 0)
        return;
    struct io_uring_sqe *sqe = ring_sqe(arrivals->ring);
    io_uring_prep_multishot_accept(sqe, arrivals->listener, NULL, NULL, 0);
    io_uring_sqe_set_data64(sqe, pack(ARRIVALS_ACCEPT, 0));
    arrivals->accepting = true;
}

bool arrivals_expected(const struct arrivals *arrivals)
{
    return arrivals->to_come != 0 || arrivals->accepting;
}

// Ends the ACCEPT. Until its last completion it may bring more visitors.
static void call_off(struct arrivals *arrivals)
{
    struct io_uring_sqe *sqe = ring_sqe(arrivals->ring);
    io_uring_prep_cancel64(sqe, pack(ARRIVALS_ACCEPT, 0), 0);
    io_uring_sqe_set_data64(sqe, pack(ARRIVALS_CANCEL, 0));
}

int arrivals_complete(struct arrivals *arrivals, uint64_t user_data, int res,
                      unsigned flags, unsigned open)
{
    if (kind_of(user_data) == ARRIVALS_CANCEL)
        return -1; // the ACCEPT's last completion tells

    // Without MORE it has ended, whether it brought somebody or not.
    arrivals->accepting = flags & IORING_CQE_F_MORE;
    if (res < 0) {
        if (no_room(-res) && open > 0) {
            say("   no descriptor left: whoever comes now waits in the "
                "backlog");
            arrivals->full = true;
        } else if (res != -ECANCELED && res != -EAGAIN && !visitor_lost(-res)) {
            fail(-res, "ACCEPT");
        }
        return -1;
    }
    // CLOSE frees the descriptor before we have seen that the place is free.
    if (open == arrivals->most) {
        say("   no place for descriptor %d: it is closed", res);
        close(res);
        return -1;
    }
    if (arrivals->to_come > 0 && --arrivals->to_come == 0 &&
        arrivals->accepting)
        call_off(arrivals);
    return res;
}

void arrivals_left(struct arrivals *arrivals)
{
    arrivals->full = false;
}
