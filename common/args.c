#include "args.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { DEFAULT_PORT = 8080, HIGHEST_PORT = 65535 };

// A whole decimal number from least to most, digits only; -1 for all else.
static long number(const char *text, long least, long most)
{
    for (const char *c = text; *c != '\0'; c++)
        if (*c < '0' || *c > '9')
            return -1;
    errno = 0;
    long value = strtol(text, NULL, 10);
    return *text == '\0' || errno || value < least || value > most ? -1 : value;
}

static _Noreturn void usage(const char *program, const char *rest,
                            const char *why, const char *what)
{
    fprintf(stderr, "%s: %s\n", why, what);
    fprintf(stderr, "usage: %s [PORT%s]   ", program, rest);
    fprintf(stderr, "(PORT: 8080 when left out, 0 lets the kernel choose)\n");
    exit(2);
}

static uint16_t port_or_usage(const char *program, const char *rest,
                              const char *argument, int doors)
{
    if (argument == NULL)
        return DEFAULT_PORT;
    long port = number(argument, 0, HIGHEST_PORT);
    if (port < 0)
        usage(program, rest, "not a port from 0 to 65535", argument);
    if (port + doors - 1 > HIGHEST_PORT)
        usage(program, rest, "too high for all the doors", argument);
    return (uint16_t)port;
}

uint16_t doors_argument(int argc, char **argv, int doors)
{
    if (argc > 2)
        usage(argv[0], "", "too many arguments", argv[2]);
    return port_or_usage(argv[0], "", argv[1], doors);
}

uint16_t port_argument(int argc, char **argv)
{
    return doors_argument(argc, argv, 1);
}

uint16_t server_arguments(int argc, char **argv, long *visitors)
{
    const char *rest = " [VISITORS]";
    if (argc > 3)
        usage(argv[0], rest, "too many arguments", argv[3]);
    uint16_t port = port_or_usage(argv[0], rest, argv[1], 1);
    *visitors = argc == 3 ? number(argv[2], 1, 1000000000) : 0;
    if (*visitors < 0)
        usage(argv[0], rest, "not a number of visitors", argv[2]);
    return port;
}

uint16_t timed_server_arguments(int argc, char **argv, long *visitors, long *ms)
{
    const char *rest = " [VISITORS [MS]]";
    if (argc > 4)
        usage(argv[0], rest, "too many arguments", argv[4]);
    uint16_t port = port_or_usage(argv[0], rest, argv[1], 1);
    long least = argc > 3 ? 0 : 1; // 0 only where something comes after it
    *visitors = argc > 2 ? number(argv[2], least, 1000000000) : 0;
    if (*visitors < 0)
        usage(argv[0], rest, "not a number of visitors", argv[2]);
    if (argc > 3)
        *ms = number(argv[3], 1, 1000000000);
    if (*ms < 0)
        usage(argv[0], rest, "not a number of milliseconds", argv[3]);
    return port;
}
