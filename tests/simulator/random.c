/*
 * splitmix64 (Steele, Lea, Flood 2014): one word of state, good enough for a simulator.
 */
#include "random.h"

#include <string.h>
#include <sys/random.h>

#include "base.h"

static uint64_t random_next(struct random *random)
{
    uint64_t mixed = random->state += 0x9e3779b97f4a7c15u;

    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
}

void random_init(struct random *random, uint64_t seed)
{
    random->state = seed;
}

uint64_t random_kernel_seed(void)
{
    uint64_t seed = 0;

    if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed)) {
        seed = (uint64_t)clock_wall_us();
    }
    return seed;
}

int64_t random_between(struct random *random, int64_t low, int64_t high)
{
    return low + (int64_t)(random_next(random) % (uint64_t)(high - low + 1));
}

void random_text(struct random *random, const char *alphabet, char *ret_text, size_t len)
{
    size_t letters = strlen(alphabet);

    for (size_t i = 0; i < len; i++) {
        ret_text[i] = alphabet[random_next(random) % letters];
    }
    ret_text[len] = '\0';
}
