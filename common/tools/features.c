// features - ask the running kernel what its io_uring can do
//
//     features               each feature in a line: NAME yes|no SINCE TITLE
//     features NAME ...      status 0 when all are there; else one line about
//                            the first that is not, and status 77
//
// Exits with 2 for a name it does not know, 1 when the kernel refuses a ring.
#include "feature.h"
#include "say.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    for (int feature = 0; argc == 1 && feature < FEATURES; feature++) {
        const struct feature_row *row = feature_row(feature);
        say("%s %s %s %s", row->name, has_feature(feature) ? "yes" : "no",
            row->since, row->title);
    }
    for (int i = 1; i < argc; i++) {
        enum feature feature = feature_named(argv[i]);
        if (feature == FEATURES) {
            fprintf(stderr, "features: no such feature: %s\n", argv[i]);
            return 2;
        }
        need_feature(feature);
    }
    return 0;
}
