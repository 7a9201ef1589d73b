#include "picture.h"

#include "say.h"

#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>

// A strip of more slots than this is named, not drawn.
enum { SLOTS_DRAWN = 16 };

static const char *opcode_name(unsigned opcode)
{
    static const char *const names[] = {
        [IORING_OP_NOP] = "NOP",
        [IORING_OP_READ_FIXED] = "READ_FIXED",
        [IORING_OP_POLL_ADD] = "POLL_ADD",
        [IORING_OP_POLL_REMOVE] = "POLL_REMOVE",
        [IORING_OP_TIMEOUT] = "TIMEOUT",
        [IORING_OP_TIMEOUT_REMOVE] = "TIMEOUT_REMOVE",
        [IORING_OP_ACCEPT] = "ACCEPT",
        [IORING_OP_ASYNC_CANCEL] = "ASYNC_CANCEL",
        [IORING_OP_LINK_TIMEOUT] = "LINK_TIMEOUT",
        [IORING_OP_OPENAT] = "OPENAT",
        [IORING_OP_CLOSE] = "CLOSE",
        [IORING_OP_READ] = "READ",
        [IORING_OP_SEND] = "SEND",
        [IORING_OP_RECV] = "RECV",
        [IORING_OP_SHUTDOWN] = "SHUTDOWN",
    };
    if (opcode >= sizeof names / sizeof *names || names[opcode] == NULL)
        return "opcode ?";
    return names[opcode];
}

// One queue's counters, and its slots as a strip with head and tail under it.
static void draw_strip(const char *title, unsigned head, unsigned tail,
                       unsigned prepared, unsigned entries)
{
    say("  %s   head %u, tail %u, %u slots", title, head, tail, entries);
    if (entries > SLOTS_DRAWN)
        return;

    unsigned mask = entries - 1;
    char strip[SLOTS_DRAWN * 4 + 2], marks[SLOTS_DRAWN * 4 + 2];
    memset(strip, ' ', sizeof strip);
    memset(marks, ' ', sizeof marks);
    for (unsigned slot = 0; slot <= entries; slot++)
        strip[slot * 4] = '|';
    for (unsigned i = head; i != tail + prepared; i++)
        strip[(i & mask) * 4 + 2] = i - head < tail - head ? '#' : '+';
    marks[(head & mask) * 4 + 1] = 'H';
    marks[(tail & mask) * 4 + 3] = 'T';
    unsigned last = (head & mask) > (tail & mask) ? head & mask : tail & mask;
    say("       %.*s", (int)entries * 4 + 1, strip);
    say("       %.*s", (int)last * 4 + (last == (tail & mask) ? 4 : 2), marks);
}

static void draw_sqe(char mark, unsigned slot, const struct io_uring_sqe *sqe)
{
    char fd[32] = "";
    if (sqe->opcode == IORING_OP_CLOSE && sqe->file_index > 0)
        snprintf(fd, sizeof fd, ", fixed file %u", sqe->file_index - 1);
    else if (sqe->flags & IOSQE_FIXED_FILE)
        snprintf(fd, sizeof fd, ", fixed file %d", sqe->fd);
    else if (sqe->fd >= 0 && sqe->opcode != IORING_OP_NOP)
        snprintf(fd, sizeof fd, ", fd %d", sqe->fd);
    say("       %c slot %u: %s%s, user_data 0x%llx", mark, slot,
        opcode_name(sqe->opcode), fd, (unsigned long long)sqe->user_data);
}

void draw_view(const char *when, const struct ring_view *view)
{
    say("  --- the rings %s", when);

    unsigned head = view->sq.head, tail = view->sq.tail;
    unsigned mask = view->sq.entries - 1;
    draw_strip("SQ  you -> kernel", head, tail, view->sq.prepared,
               view->sq.entries);
    for (unsigned i = head; i != tail; i++)
        draw_sqe('#', i & mask, &view->sq.sqes[view->sq.array[i & mask]]);
    for (unsigned i = tail; i != tail + view->sq.prepared; i++)
        draw_sqe('+', i & mask, &view->sq.sqes[i & mask]);

    head = view->cq.head, tail = view->cq.tail;
    mask = view->cq.entries - 1;
    draw_strip("CQ  kernel -> you", head, tail, 0, view->cq.entries);
    for (unsigned i = head; i != tail; i++) {
        const struct io_uring_cqe *cqe = &view->cq.cqes[i & mask];
        say("       # slot %u: user_data 0x%llx, res %s", i & mask,
            (unsigned long long)cqe->user_data, result_text(cqe->res));
    }
    say("  ---");
}
