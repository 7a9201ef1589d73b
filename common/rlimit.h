// rlimit.h - what this process may have. Taught by chapter 8.
#ifndef RLIMIT_H
#define RLIMIT_H

// Lets this process open as many descriptors as it may: the soft limit becomes
// the hard one. getrlimit(2), RLIMIT_NOFILE
void raise_descriptor_limit(void);

// Lets it open `most` descriptors, or as many as it may where that is less.
// Taught by chapter 11.
void limit_descriptors(unsigned most);

#endif
