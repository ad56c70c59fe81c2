/*
 * Random numbers and texts (tokens, command ids, latencies), repeatable when seeded. Not for
 * secrets: the simulator guards nothing.
 */
#ifndef SIM_RANDOM_H
#define SIM_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct random {
    uint64_t state;
};

/* Starts the sequence that belongs to the seed. */
void random_init(struct random *random, uint64_t seed);

/* A seed from the kernel, for runs that need not be repeated. */
uint64_t random_kernel_seed(void);

/* A number from low to high, both included. */
int64_t random_between(struct random *random, int64_t low, int64_t high);

/* Writes len characters drawn from the alphabet, then a NUL: ret_text holds len + 1. */
void random_text(struct random *random, const char *alphabet, char *ret_text, size_t len);

#endif
