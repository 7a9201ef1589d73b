// args.h - the command line that all programs of the course share.
//
// Here from the start of the course; no chapter teaches it.
#ifndef ARGS_H
#define ARGS_H

#include <stdint.h>

// PROGRAM [PORT]: 8080 when left out, 0 lets the kernel choose.
// Anything else prints the usage to standard error and exits with status 2.
uint16_t port_argument(int argc, char **argv);

// The same for a program that listens at `doors` ports in a row, so the last
// of them must be a port too.
uint16_t doors_argument(int argc, char **argv, int doors);

// PROGRAM [PORT [VISITORS]]: stores how many visitors to serve before the
// program ends, 0 for "never ends" (when left out).
uint16_t server_arguments(int argc, char **argv, long *visitors);

// PROGRAM [PORT [VISITORS [MS]]]: the same, with a time in milliseconds; `*ms`
// stays as it is when left out. VISITORS may be 0 here: the program never ends.
uint16_t timed_server_arguments(int argc, char **argv, long *visitors,
                                long *ms);

#endif
