/*
 * Small helpers of the simulator: allocation that cannot fail, clocks, messages about failures.
 */
#ifndef SIM_BASE_H
#define SIM_BASE_H

#include <stddef.h>
#include <stdint.h>

/* A message about what went wrong, filled by calls that can fail. */
struct problem {
    char text[256];
};

/* Writes the message; a longer one is cut. */
void problem_set(struct problem *problem, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Zeroed memory for count items, owned by the caller. Aborts when there is none. */
void *sim_calloc(size_t count, size_t size);

/* A copy of the len bytes at text with a NUL after them, owned by the caller. */
char *sim_copy(const char *text, size_t len);

/* CLOCK_MONOTONIC and wall time, in microseconds. */
int64_t clock_mono_us(void);
int64_t clock_wall_us(void);

#endif
