/* Gauge: see gauge.h. */
#include "gateway/gauge.h"

#include "common/clock.h"
#include "common/memory.h"

#include <stdatomic.h>
#include <stdlib.h>

struct gauge {
    atomic_size_t references;
    atomic_llong free_slots;
    atomic_llong next_free_ms;
};

struct gauge *gauge_new(void)
{
    struct gauge *gauge = xcalloc(1, sizeof(*gauge));

    gauge->references = 1;
    return gauge;
}

struct gauge *gauge_ref(struct gauge *gauge)
{
    gauge->references++;
    return gauge;
}

void gauge_unref(struct gauge *gauge)
{
    if (gauge != NULL && --gauge->references == 0) {
        free(gauge);
    }
}

void gauge_set(struct gauge *gauge, int64_t free_slots, int64_t next_free_ms)
{
    gauge->free_slots = free_slots;
    gauge->next_free_ms = next_free_ms;
}

void gauge_read(const struct gauge *gauge, int64_t *ret_free, int64_t *ret_next_s)
{
    int64_t left_ms = gauge->next_free_ms - clock_boot_ms();

    *ret_free = gauge->free_slots;
    *ret_next_s = *ret_free > 0 || left_ms <= 0 ? 0 : (left_ms + 999) / 1000;
}
