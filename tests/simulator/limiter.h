/*
 * The strict rate limiter of the simulated upstream, with a choice of algorithms. Pure: time is
 * an argument and never goes backwards, nothing waits.
 */
#ifndef SIM_LIMITER_H
#define SIM_LIMITER_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Sliding: at most `limit` arrivals in any window; one exactly a window old no longer counts.
 * Fixed: at most `limit` in each window [k * window, (k + 1) * window) of the given clock.
 * Bucket: holds `limit` tokens, full at first, refilled evenly with `limit` in each window.
 */
enum limiter_algorithm { LIMITER_SLIDING, LIMITER_FIXED, LIMITER_BUCKET };

#define LIMITER_LIMIT_MAX    1000000
#define LIMITER_WINDOW_S_MAX 86400

struct limiter;

/* What the rate headers tell. reset_us is the time until another arrival becomes free (sliding,
 * bucket) or until the window ends (fixed); 0 if nothing is used. */
struct limiter_state {
    int64_t limit;
    int64_t remaining;
    int64_t reset_us;
};

/* limit from 1 to LIMITER_LIMIT_MAX, window_us from 1 to a million times LIMITER_WINDOW_S_MAX. */
struct limiter *limiter_new(enum limiter_algorithm algorithm, int64_t limit, int64_t window_us);
void limiter_free(struct limiter *limiter);

/* Whether an arrival at now_us would be within the limit. Counts nothing. */
bool limiter_allows(struct limiter *limiter, int64_t now_us);

/* Counts an arrival that limiter_allows() has just allowed. */
void limiter_count(struct limiter *limiter, int64_t now_us);

struct limiter_state limiter_get_state(struct limiter *limiter, int64_t now_us);

/* The greatest number of counted arrivals in any sliding window, whatever the algorithm. After
 * a reset it tells of the windows that end later. */
int64_t limiter_get_peak(const struct limiter *limiter);
void limiter_reset_peak(struct limiter *limiter);

#endif
