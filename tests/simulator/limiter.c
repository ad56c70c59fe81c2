/*
 * Sliding window, fixed window and token bucket in exact integer arithmetic. A ring of the
 * arrivals of the last window decides for the sliding one and measures the peak for all.
 */
#include "limiter.h"

#include <assert.h>
#include <stdlib.h>

#include "base.h"

struct limiter {
    enum limiter_algorithm algorithm;
    int64_t limit;
    int64_t window_us;

    /* Arrivals of the last window, oldest at head. Fixed windows and the bucket let up to
     * twice the limit into one sliding window, so that is the room. */
    int64_t *ring_us;
    int64_t ring_room;
    int64_t ring_head;
    int64_t ring_count;
    int64_t peak;

    int64_t fixed_window;
    int64_t fixed_count;

    /* A token is window_us units, so that a microsecond refills exactly `limit` units. */
    int64_t bucket_units;
    int64_t bucket_filled_at_us;
};

struct limiter *limiter_new(enum limiter_algorithm algorithm, int64_t limit, int64_t window_us)
{
    struct limiter *limiter = sim_calloc(1, sizeof(*limiter));

    assert(limit >= 1 && limit <= LIMITER_LIMIT_MAX);
    assert(window_us >= 1 && window_us <= LIMITER_WINDOW_S_MAX * INT64_C(1000000));
    limiter->algorithm = algorithm;
    limiter->limit = limit;
    limiter->window_us = window_us;
    limiter->ring_room = 2 * limit;
    limiter->ring_us = sim_calloc((size_t)limiter->ring_room, sizeof(*limiter->ring_us));
    limiter->fixed_window = INT64_MIN;
    limiter->bucket_units = limit * window_us;
    return limiter;
}

void limiter_free(struct limiter *limiter)
{
    if (limiter) {
        free(limiter->ring_us);
        free(limiter);
    }
}

/* Brings every algorithm's state to the present. */
static void limiter_advance(struct limiter *limiter, int64_t now_us)
{
    int64_t capacity = limiter->limit * limiter->window_us;
    int64_t elapsed_us = now_us - limiter->bucket_filled_at_us;
    int64_t fixed_window = now_us / limiter->window_us;

    while (limiter->ring_count > 0 &&
           now_us - limiter->ring_us[limiter->ring_head] >= limiter->window_us) {
        limiter->ring_head = (limiter->ring_head + 1) % limiter->ring_room;
        limiter->ring_count--;
    }

    if (fixed_window != limiter->fixed_window) {
        limiter->fixed_window = fixed_window;
        limiter->fixed_count = 0;
    }

    if (elapsed_us >= limiter->window_us ||
        elapsed_us * limiter->limit >= capacity - limiter->bucket_units) {
        limiter->bucket_units = capacity;
    } else {
        limiter->bucket_units += elapsed_us * limiter->limit;
    }
    limiter->bucket_filled_at_us = now_us;
}

static int64_t limiter_remaining(const struct limiter *limiter)
{
    switch (limiter->algorithm) {
    case LIMITER_SLIDING:
        return limiter->limit - limiter->ring_count;
    case LIMITER_FIXED:
        return limiter->limit - limiter->fixed_count;
    case LIMITER_BUCKET:
        return limiter->bucket_units / limiter->window_us;
    }
    return 0;
}

bool limiter_allows(struct limiter *limiter, int64_t now_us)
{
    limiter_advance(limiter, now_us);
    return limiter_remaining(limiter) > 0;
}

void limiter_count(struct limiter *limiter, int64_t now_us)
{
    int64_t tail = 0;

    limiter_advance(limiter, now_us);
    assert(limiter_remaining(limiter) > 0);
    assert(limiter->ring_count < limiter->ring_room);
    tail = (limiter->ring_head + limiter->ring_count) % limiter->ring_room;
    limiter->ring_us[tail] = now_us;
    limiter->ring_count++;
    if (limiter->ring_count > limiter->peak) {
        limiter->peak = limiter->ring_count;
    }
    if (limiter->algorithm == LIMITER_FIXED) {
        limiter->fixed_count++;
    } else if (limiter->algorithm == LIMITER_BUCKET) {
        limiter->bucket_units -= limiter->window_us;
    }
}

static int64_t limiter_reset_us(const struct limiter *limiter, int64_t now_us)
{
    int64_t missing_units = 0;

    switch (limiter->algorithm) {
    case LIMITER_SLIDING:
        if (limiter->ring_count > 0) {
            return limiter->ring_us[limiter->ring_head] + limiter->window_us - now_us;
        }
        return 0;
    case LIMITER_FIXED:
        if (limiter->fixed_count > 0) {
            return (limiter->fixed_window + 1) * limiter->window_us - now_us;
        }
        return 0;
    case LIMITER_BUCKET:
        if (limiter->bucket_units < limiter->limit * limiter->window_us) {
            missing_units = limiter->window_us - limiter->bucket_units % limiter->window_us;
        }
        return (missing_units + limiter->limit - 1) / limiter->limit;
    }
    return 0;
}

struct limiter_state limiter_get_state(struct limiter *limiter, int64_t now_us)
{
    struct limiter_state state = {.limit = limiter->limit};

    limiter_advance(limiter, now_us);
    state.remaining = limiter_remaining(limiter);
    state.reset_us = limiter_reset_us(limiter, now_us);
    return state;
}

int64_t limiter_get_peak(const struct limiter *limiter)
{
    return limiter->peak;
}

void limiter_reset_peak(struct limiter *limiter)
{
    limiter->peak = 0;
}
