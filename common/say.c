#include "say.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local char text[160];

void say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int written = vprintf(format, args);
    va_end(args);
    if (written < 0 || putchar('\n') == EOF || fflush(stdout) == EOF)
        fail(errno, "standard output");
}

const char *program_name(void)
{
    static char name[64];
    const char *from = program_invocation_short_name;
    while (isdigit((unsigned char)*from) || *from == '-')
        from++;
    for (size_t i = 0; i + 1 < sizeof name && from[i] != '\0'; i++)
        name[i] = from[i] == '-' ? '_' : from[i];
    return name;
}

// What to do about an error of a plain socket call; NULL where nobody knows.
static const char *remedy_for(int err)
{
    switch (err) {
    case EADDRINUSE:
        return "another chapter may still be running; try PORT=0";
    case EACCES:
        return "ports below 1024 are for root; try PORT=8080 or PORT=0";
    case EMFILE:
        return "this process may open no more files; see ulimit -n";
    case ENFILE:
        return "the whole system is out of file descriptors";
    default:
        return NULL;
    }
}

static void complain(int err, const char *remedy, const char *step,
                     va_list args)
{
    fflush(stdout);
    fprintf(stderr, "%s: ", program_name());
    vfprintf(stderr, step, args);
    if (err != 0) {
        const char *name = strerrorname_np(err);
        fprintf(stderr, ": %s (%s)", name ? name : "?", strerror(err));
    }
    if (remedy != NULL)
        fprintf(stderr, ": %s", remedy);
    fputc('\n', stderr);
}

_Noreturn void fail(int err, const char *step, ...)
{
    va_list args;
    va_start(args, step);
    complain(err, remedy_for(err), step, args);
    va_end(args);
    exit(1);
}

_Noreturn void fail_with(int err, const char *remedy, const char *step, ...)
{
    va_list args;
    va_start(args, step);
    complain(err, remedy, step, args);
    va_end(args);
    exit(1);
}

const char *result_text(int res)
{
    const char *name = res < 0 ? strerrorname_np(-res) : NULL;
    if (name != NULL)
        snprintf(text, sizeof text, "%d (%s: %s)", res, name, strerror(-res));
    else
        snprintf(text, sizeof text, "%d", res);
    return text;
}

const char *poll_text(int res)
{
    static const struct {
        int event;
        const char *name;
    } events[] = {
        {POLLIN, "POLLIN"},   {POLLOUT, "POLLOUT"}, {POLLERR, "POLLERR"},
        {POLLHUP, "POLLHUP"}, {POLLPRI, "POLLPRI"}, {POLLNVAL, "POLLNVAL"},
    };
    if (res < 0)
        return result_text(res);
    int used = snprintf(text, sizeof text, "%d (", res);
    const char *between = "";
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        if ((res & events[i].event) == 0)
            continue;
        used += snprintf(text + used, sizeof text - (size_t)used, "%s%s",
                         between, events[i].name);
        between = "|";
    }
    snprintf(text + used, sizeof text - (size_t)used, ")");
    return text;
}
