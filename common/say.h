// say.h - what a program tells its reader: lines, results and errors.
//
// Here from the start of the course; no chapter teaches it.
#ifndef SAY_H
#define SAY_H

// Prints one line to standard output, and at once: into a pipe too.
// Fails the program when the line cannot be written.
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Ends the program with status 1 after one line on standard error:
//
//     PROGRAM: STEP: ENAME (its text): what to do
//
// `err` is a positive errno value, or 0 where no error number tells the cause.
// What to do is known here for the plain socket calls; fail_with() is for
// whoever knows it better (`remedy` may be NULL).
_Noreturn void fail(int err, const char *step, ...)
    __attribute__((format(printf, 2, 3)));
_Noreturn void fail_with(int err, const char *remedy, const char *step, ...)
    __attribute__((format(printf, 3, 4)));

// What the program calls itself in its errors: poll_add, as its source, for
// build/chapters/03-poll-add. Static: it holds for ever.
const char *program_name(void);

// A CQE's res with its meaning: "17", or "-11 (EAGAIN: Resource temporarily
// unavailable)". The text is static: it holds until the next call.
const char *result_text(int res);

// The same for the res of a poll: "1 (POLLIN)". Static, as above.
const char *poll_text(int res);

#endif
