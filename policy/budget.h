/* Budget: at most `requests` calls in any window, however the upstream counts (sliding window,
 * fixed window, token bucket). A call takes a slot before it is sent. The slot comes free
 * window_ms after the answer arrived, or timeout_ms + window_ms after it was taken if none came;
 * a call of which nothing was sent gives its slot back at once.
 *
 * Why this is safe for all three: call k + requests leaves no earlier than the answer to call k
 * plus the window, so any requests + 1 arrivals at the upstream span a window or more.
 *
 * Pure: time is an argument (milliseconds on one clock that never goes back). One thread. */
#ifndef POLICY_BUDGET_H
#define POLICY_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct budget;

struct budget_options {
    size_t requests;    /* 1 or more */
    int64_t window_ms;  /* 1 or more */
    int64_t timeout_ms; /* longest time from taking a slot until the upstream can have counted it */
};

struct budget *budget_new(const struct budget_options *options);
void budget_free(struct budget *budget);

/* Changes a budget in use. Calls keep their place in the book: when more are live than `requests`,
 * slots come free only once fewer are. With another window their slots come free by so much later
 * or earlier; another timeout is for later calls. Returns the time before which none may be taken,
 * INT64_MIN for any: a longer window holds calls whose slots were free before, too. */
int64_t budget_configure(struct budget *budget, const struct budget_options *options,
                         int64_t now_ms);

/* Takes a free slot: its number (0 or more), or -1 when none is free. No two calls ever get the
 * same number: what is said of a call after its time is over, or twice, is ignored. */
int64_t budget_take(struct budget *budget, int64_t now_ms);

/* The call of that slot was answered now: the slot comes free window_ms later. */
void budget_answered(struct budget *budget, int64_t slot, int64_t now_ms);

/* Nothing of the call was sent: the slot is free again. */
void budget_give_back(struct budget *budget, int64_t slot);

/* The call was sent and no answer will come: nothing changes, the slot waits its full time. */
void budget_unanswered(struct budget *budget, int64_t slot);

/* Puts a call from before a restart back in its book: answered_ms < 0 when no answer is known.
 * Times later than now_ms (of a clock that went back) count as now. Calls whose time is over are
 * ignored; more live calls than slots are all kept, and slots come free only once fewer than
 * `requests` are live. Only before the first budget_take(). */
void budget_restore(struct budget *budget, int64_t taken_ms, int64_t answered_ms, int64_t now_ms);

/* How many slots are free now, and how many hold a call that waits for its answer. */
size_t budget_free_slots(const struct budget *budget, int64_t now_ms);
size_t budget_in_flight(const struct budget *budget);

/* When the next slot comes free by what is known now: now_ms if one is free. A call in flight
 * counts as if it were never answered. */
int64_t budget_next_free_ms(const struct budget *budget, int64_t now_ms);

/* When the slots come free, soonest first, at most max of them, if calls in flight are answered
 * latency_ms after they were taken. Returns how many. */
size_t budget_slot_times(const struct budget *budget, int64_t latency_ms, int64_t now_ms,
                         size_t max, int64_t *ret_free_ms);

/* When the n-th call from now (n = 0 is the next one) can leave, if every call is answered
 * latency_ms after it left (those in flight: after they were taken, at the earliest now). */
int64_t budget_estimate_ms(const struct budget *budget, size_t n, int64_t latency_ms,
                           int64_t now_ms);

#endif
