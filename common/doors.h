// doors.h - several listeners of one program. Taught by chapter 4.
#ifndef DOORS_H
#define DOORS_H

#include <stdbool.h>
#include <stdint.h>

// A door is pointed to by the user_data of its poll, so it must stay where it
// is until that poll's CQE has come.
struct door {
    unsigned number; // from 0
    int listener;    // the door's own, until doors_close()
};

// Opens n doors, non-blocking, at port, port + 1 and so on, or all where the
// kernel chooses (0). Fails the program where it cannot.
void doors_open(struct door *doors, unsigned n, uint16_t port);

// Closes their listeners. No poll may be waiting for one of them.
void doors_close(struct door *doors, unsigned n);

// Takes the visitor at the door and greets them as "hello from door 2". False
// when nobody is there after all.
bool door_greet(const struct door *door);

#endif
