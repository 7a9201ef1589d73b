// feature.h - what io_uring can do here, asked of the running kernel
//
// Here from the start of the course; no chapter teaches it. A chapter whose
// program calls need_feature() names the same features in its `visit` file, for
// `make doctor` and the tests: needs='multishot-accept provided-buffers'
#ifndef FEATURE_H
#define FEATURE_H

#include <stdbool.h>

enum feature {
    FEATURE_POLL_ADD,
    FEATURE_TIMEOUT,
    FEATURE_ACCEPT,
    FEATURE_LINK_TIMEOUT,
    FEATURE_CANCEL,
    FEATURE_NODROP,
    FEATURE_RECV,
    FEATURE_SEND,
    FEATURE_CLOSE,
    FEATURE_SQPOLL,
    FEATURE_ACCEPT_DIRECT,
    FEATURE_RING_FD,
    FEATURE_MULTISHOT_ACCEPT,
    FEATURE_PROVIDED_BUFFERS,
    FEATURE_CANCEL_FD,
    FEATURE_DIRECT_ALLOC,
    FEATURE_COOP_TASKRUN,
    FEATURE_MULTISHOT_RECV,
    FEATURE_SINGLE_ISSUER,
    FEATURE_DEFER_TASKRUN,
    FEATURES
};

// A row of the table: how scripts call a feature ("multishot-accept"), how the
// reader knows it ("multishot accept"), the Linux that brought it ("5.19"), and
// whether the kernel has it, tried out on a ring where nothing is in flight.
struct io_uring;
struct feature_row {
    const char *name, *title, *since;
    bool (*probe)(struct io_uring *ring);
};
const struct feature_row *feature_row(enum feature feature);

// The feature of that name, FEATURES for a name that there is not.
enum feature feature_named(const char *name);

// Whether this kernel has it. Where the kernel refuses any ring, the
// program ends as with ring_open().
bool has_feature(enum feature feature);

// Ends the program with status 77 and a line that names the feature, the Linux
// that brought it and the one running, unless this kernel has it.
void need_feature(enum feature feature);

#endif
