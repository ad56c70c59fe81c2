/*
 * Allocation, clocks and messages. Nothing here knows about the simulator itself.
 */
#include "base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void problem_set(struct problem *problem, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): clang-tidy 14 misses va_start */
    vsnprintf(problem->text, sizeof(problem->text), format, args);
    va_end(args);
}

void *sim_calloc(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size ? size : 1);

    if (!memory) {
        fputs("tollgate-sim: out of memory\n", stderr);
        abort();
    }
    return memory;
}

char *sim_copy(const char *text, size_t len)
{
    char *copy = sim_calloc(len + 1, 1);

    if (len > 0) {
        memcpy(copy, text, len);
    }
    return copy;
}

static int64_t clock_read_us(clockid_t clock)
{
    struct timespec now;

    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_mono_us(void)
{
    return clock_read_us(CLOCK_MONOTONIC);
}

int64_t clock_wall_us(void)
{
    return clock_read_us(CLOCK_REALTIME);
}
