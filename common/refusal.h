// refusal.h - why the kernel refuses a ring. Taught by chapter 3.
#ifndef REFUSAL_H
#define REFUSAL_H

// What io_uring_setup(2) means by the error `err` (positive) on this machine,
// and what to do. NULL where nobody knows. The text is static.
const char *why_refused(int err);

#endif
