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

// PROGRAM [PORT [VISITORS [CHOICE]]], where the choice is one of some names,
// whose list ends with NULL. VISITORS may be 0 here, too. Stores the place of
// the chosen name in the list, 0 when left out.
uint16_t choice_arguments(int argc, char **argv, long *visitors,
                          const char *const *names, int *choice);

// PROGRAM [PORT [VISITORS]]: stores how many visitors to serve before the
// program ends, 0 for "never ends" (when left out).
uint16_t server_arguments(int argc, char **argv, long *visitors);

// PROGRAM [PORT [VISITORS [MS]]]: the same, with a time in milliseconds; `*ms`
// stays as it is when left out. VISITORS may be 0 here: the program never ends.
uint16_t timed_server_arguments(int argc, char **argv, long *visitors,
                                long *ms);
// A number from the environment, as in BUFFERS=8 make chapter12; `otherwise`
// when there is no such variable. Anything but a number from least to most ends
// the program with status 2 and a line on standard error.
long environment_number(const char *name, long least, long most,
                        long otherwise);

#endif
