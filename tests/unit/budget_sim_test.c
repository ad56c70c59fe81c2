/* Budget: properties over random schedules on a virtual clock.
 *
 * The properties know nothing of the budget's queues. A model keeps a plain list of calls and
 * applies the rule of budget.h to it word by word; three upstreams that count each call at some
 * moment when it can have arrived judge the schedule afterwards. */
#include "common/memory.h"
#include "policy/budget.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- The model ---- */

enum { MAX_CALLS = 400, STEPS = 160, RUNS = 2000 };

enum end {
    END_ANSWER,
    END_UNANSWERED,
    END_GIVE_BACK,
    END_NEVER,
    END_LATE_ANSWER,
    END_LATE_GIVE_BACK
};

struct model_call {
    int64_t slot;
    int64_t taken_ms;
    int64_t answered_ms; /* -1: not known */
    int64_t counted_ms;  /* by the upstream; -1: never sent */
    enum end end;        /* what will be said of it, and when */
    int64_t end_ms;
    bool told;  /* it was said, or never will be */
    bool freed; /* given back */
};

struct run {
    uint64_t seed;
    uint64_t random;
    struct budget_options options;
    struct budget *budget;
    int64_t now_ms;
    struct model_call calls[MAX_CALLS];
    size_t count;
    int64_t quick_ms; /* usual latency: at most the timeout */
    bool limits_change;
};

#define CHECK(run, condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fail_msg("seed %" PRIu64 ", at %" PRId64 " ms: %s", (run)->seed, (run)->now_ms,        \
                     #condition);                                                                  \
        }                                                                                          \
    } while (0)

/* splitmix64: every seed is as good as another. */
static uint64_t next_random(struct run *run)
{
    uint64_t z = run->random += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* From 0 to max, with the ends more often than the rest: that is where mistakes live. */
static int64_t pick(struct run *run, int64_t max)
{
    switch (next_random(run) % 4) {
    case 0:
        return 0;
    case 1:
        return max;
    default:
        return (int64_t)(next_random(run) % (uint64_t)(max + 1));
    }
}

static bool one_in(struct run *run, uint64_t n)
{
    return next_random(run) % n == 0;
}

/* The rule. */
static int64_t free_ms(const struct run *run, const struct model_call *call)
{
    if (call->freed) {
        return INT64_MIN;
    }
    return run->options.window_ms +
           (call->answered_ms >= 0 ? call->answered_ms : call->taken_ms + run->options.timeout_ms);
}

static size_t live_at(const struct run *run, int64_t ms)
{
    size_t live = 0;

    for (size_t i = 0; i < run->count; i++) {
        live += free_ms(run, &run->calls[i]) > ms;
    }
    return live;
}

static size_t waiting(const struct run *run)
{
    size_t count = 0;

    for (size_t i = 0; i < run->count; i++) {
        const struct model_call *call = &run->calls[i];
        count += !call->told && free_ms(run, call) > run->now_ms;
    }
    return count;
}

static int64_t expected_next_free(const struct run *run)
{
    int64_t best = INT64_MAX;

    if (live_at(run, run->now_ms) < run->options.requests) {
        return run->now_ms;
    }
    for (size_t i = 0; i < run->count; i++) {
        int64_t ms = free_ms(run, &run->calls[i]);
        if (ms > run->now_ms && ms < best && live_at(run, ms) < run->options.requests) {
            best = ms;
        }
    }
    return best;
}

/* Lets n + 1 calls leave, one after the other, each as soon as fewer than `requests` are live. */
static int64_t expected_estimate(const struct run *run, size_t n, int64_t latency_ms)
{
    int64_t ends[MAX_CALLS + 64];
    size_t count = 0;
    int64_t leave = run->now_ms;

    for (size_t i = 0; i < run->count; i++) {
        const struct model_call *call = &run->calls[i];
        int64_t end = free_ms(run, call);
        int64_t answer = call->taken_ms + latency_ms;
        answer = answer > run->now_ms ? answer : run->now_ms;
        if (end > run->now_ms) {
            ends[count++] = !call->told && answer < end ? answer + run->options.window_ms : end;
        }
    }
    for (size_t k = 0;; k++) {
        for (;;) {
            size_t live = 0;
            int64_t next = INT64_MAX;
            for (size_t i = 0; i < count; i++) {
                if (ends[i] > leave) {
                    live++;
                    next = ends[i] < next ? ends[i] : next;
                }
            }
            if (live < run->options.requests) {
                break;
            }
            leave = next;
        }
        if (k == n) {
            return leave;
        }
        ends[count++] = leave + latency_ms + run->options.window_ms;
    }
}

static void check_book(struct run *run)
{
    size_t live = live_at(run, run->now_ms);
    size_t requests = run->options.requests;

    CHECK(run,
          budget_free_slots(run->budget, run->now_ms) == (live < requests ? requests - live : 0));
    CHECK(run, budget_next_free_ms(run->budget, run->now_ms) == expected_next_free(run));
    if (one_in(run, 4)) {
        size_t n = next_random(run) % 40;
        int64_t latency_ms = pick(run, run->options.timeout_ms);
        CHECK(run, budget_estimate_ms(run->budget, n, latency_ms, run->now_ms) ==
                       expected_estimate(run, n, latency_ms));
    }
}

/* ---- What happens to a call ---- */

static void plan_call(struct run *run, struct model_call *call)
{
    static const enum end ends[] = {END_ANSWER, END_ANSWER,      END_ANSWER,        END_ANSWER,
                                    END_ANSWER, END_ANSWER,      END_UNANSWERED,    END_GIVE_BACK,
                                    END_NEVER,  END_LATE_ANSWER, END_LATE_GIVE_BACK};
    int64_t timeout_ms = run->options.timeout_ms;
    int64_t longest = one_in(run, 4) ? timeout_ms : run->quick_ms;
    int64_t after = pick(run, longest);

    call->end = ends[next_random(run) % ARRAY_LEN(ends)];
    call->answered_ms = -1;
    if (call->end == END_ANSWER) {
        call->counted_ms = call->taken_ms + pick(run, after);
    } else {
        call->counted_ms = call->taken_ms + pick(run, timeout_ms);
    }
    if (call->end == END_GIVE_BACK) {
        call->counted_ms = -1;
    }
    if (call->end >= END_LATE_ANSWER) {
        after = timeout_ms + run->options.window_ms + pick(run, timeout_ms);
    }
    call->end_ms = call->end == END_NEVER ? INT64_MAX : call->taken_ms + after;
}

static void tell_end(struct run *run, struct model_call *call)
{
    call->told = true;
    switch (call->end) {
    case END_ANSWER:
        call->answered_ms = run->now_ms;
        budget_answered(run->budget, call->slot, run->now_ms);
        break;
    case END_GIVE_BACK:
        call->freed = true;
        budget_give_back(run->budget, call->slot);
        break;
    case END_UNANSWERED:
        budget_unanswered(run->budget, call->slot);
        break;
    case END_LATE_ANSWER:
        budget_answered(run->budget, call->slot, run->now_ms);
        break;
    case END_LATE_GIVE_BACK:
        budget_give_back(run->budget, call->slot);
        break;
    case END_NEVER:
        break;
    }
}

/* Moves the clock, with what is said on the way, in order. */
static void advance(struct run *run, int64_t to_ms)
{
    for (;;) {
        struct model_call *next = NULL;
        for (size_t i = 0; i < run->count; i++) {
            struct model_call *call = &run->calls[i];
            if (!call->told && call->end_ms <= to_ms &&
                (next == NULL || call->end_ms < next->end_ms)) {
                next = call;
            }
        }
        if (next == NULL) {
            break;
        }
        run->now_ms = next->end_ms;
        tell_end(run, next);
    }
    run->now_ms = to_ms;
}

static void take(struct run *run)
{
    bool expected = live_at(run, run->now_ms) < run->options.requests;
    int64_t slot = budget_take(run->budget, run->now_ms);
    struct model_call *call;

    CHECK(run, (slot >= 0) == expected);
    if (slot >= 0) {
        CHECK(run, run->count < MAX_CALLS);
        call = &run->calls[run->count++];
        *call = (struct model_call){.slot = slot, .taken_ms = run->now_ms};
        plan_call(run, call);
    }
    CHECK(run, budget_in_flight(run->budget) == waiting(run));
}

/* The process dies: what the store knows of each call comes back, in any order. Of a call under
 * way no answer will be known; of some answers neither, as they were not durable yet. */
static void crash(struct run *run)
{
    size_t step = run->count > 0 && one_in(run, 2) ? run->count - 1 : 1;

    run->now_ms += one_in(run, 2) ? 0 : pick(run, run->options.window_ms);
    if (run->limits_change) {
        run->options.requests = 1 + next_random(run) % 12;
    }
    budget_free(run->budget);
    run->budget = budget_new(&run->options);
    for (size_t i = 0, at = 0; i < run->count; i++, at = (at + step) % run->count) {
        struct model_call *call = &run->calls[at];
        call->told = true;
        if (call->answered_ms + 50 > run->now_ms && one_in(run, 2)) {
            call->answered_ms = -1;
        }
        if (!call->freed) {
            budget_restore(run->budget, call->taken_ms, call->answered_ms, run->now_ms);
        }
    }
    CHECK(run, budget_in_flight(run->budget) == 0);
}

/* ---- The upstreams, each by its own algorithm ---- */

static void check_sliding_window(struct run *run, const int64_t *counted, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t inside = 0;
        for (size_t j = i + 1; j-- > 0 && counted[j] > counted[i] - run->options.window_ms;) {
            inside++;
        }
        CHECK(run, inside <= run->options.requests);
    }
}

static void check_fixed_windows(struct run *run, const int64_t *counted, size_t count)
{
    for (size_t try = 0; try < 8 && count > 0; try++) {
        /* A window that begins with a call is the hardest. */
        int64_t window_ms = run->options.window_ms;
        int64_t phase_ms = one_in(run, 2) ? counted[next_random(run) % count] % window_ms
                                          : (int64_t)(next_random(run) % (uint64_t)window_ms);
        int64_t current = -1;
        size_t inside = 0;
        for (size_t i = 0; i < count; i++) {
            int64_t number = (counted[i] - phase_ms + window_ms) / window_ms;
            inside = number == current ? inside + 1 : 1;
            current = number;
            CHECK(run, inside <= run->options.requests);
        }
    }
}

/* Tokens in units of 1 / window_ms, so that a millisecond refills exactly `requests` units. */
static void check_token_bucket(struct run *run, const int64_t *counted, size_t count)
{
    int64_t capacity = (int64_t)run->options.requests * run->options.window_ms;
    int64_t level = capacity;

    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            level += (counted[i] - counted[i - 1]) * (int64_t)run->options.requests;
            level = level < capacity ? level : capacity;
        }
        level -= run->options.window_ms;
        CHECK(run, level >= 0);
    }
}

static int compare_ms(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;

    return (left > right) - (left < right);
}

static void check_upstreams(struct run *run)
{
    int64_t counted[MAX_CALLS];
    size_t count = 0;

    for (size_t i = 0; i < run->count; i++) {
        if (run->calls[i].counted_ms >= 0) {
            counted[count++] = run->calls[i].counted_ms;
        }
    }
    qsort(counted, count, sizeof(*counted), compare_ms);
    check_sliding_window(run, counted, count);
    check_fixed_windows(run, counted, count);
    check_token_bucket(run, counted, count);
}

/* ---- Random schedules ---- */

static void set_up(struct run *run, uint64_t seed)
{
    static const int64_t windows[] = {1, 7, 1000, 60000};
    int64_t window_ms;

    *run = (struct run){.seed = seed, .random = seed};
    window_ms = windows[next_random(run) % ARRAY_LEN(windows)];
    run->options.requests = 1 + next_random(run) % 12;
    run->options.window_ms = window_ms;
    run->options.timeout_ms = pick(run, one_in(run, 2) ? window_ms / 2 : 3 * window_ms);
    run->quick_ms = run->options.timeout_ms / 20;
    run->now_ms = pick(run, 1000000);
    run->limits_change = one_in(run, 8);
    run->budget = budget_new(&run->options);
}

static void step(struct run *run)
{
    switch (next_random(run) % 8) {
    case 0:
    case 1:
    case 2: /* a burst */
        break;
    case 3:
    case 4: /* the dispatcher: as soon as one can go */
        advance(run, budget_next_free_ms(run->budget, run->now_ms));
        break;
    case 5:
        advance(run, run->now_ms + pick(run, run->options.timeout_ms));
        break;
    case 6:
        advance(run, run->now_ms + pick(run, run->options.window_ms));
        break;
    default:
        if (one_in(run, 4)) {
            advance(run, run->now_ms + 4 * run->options.window_ms);
        } else if (one_in(run, 3)) {
            crash(run);
        }
        break;
    }
    check_book(run);
    for (size_t calls = next_random(run) % 4; calls > 0 && run->count < MAX_CALLS; calls--) {
        take(run);
        check_book(run);
    }
}

static void random_schedules(void **state)
{
    static struct run run;

    (void)state;
    for (uint64_t seed = 1; seed <= RUNS; seed++) {
        set_up(&run, seed);
        for (size_t i = 0; i < STEPS && run.count < MAX_CALLS; i++) {
            step(&run);
        }
        if (!run.limits_change) {
            check_upstreams(&run);
        }
        budget_free(run.budget);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_schedules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
