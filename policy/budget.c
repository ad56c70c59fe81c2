/* Budget: see budget.h. Calls stand in two queues in the order in which their slots come free, so
 * every step looks at an end: calls without an answer in the order they were taken (unless the
 * timeout changed), as each waits timeout + window from there, and answered ones in the order of
 * their answers. */
#include "policy/budget.h"

#include "common/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

struct call {
    TAILQ_ENTRY(call) link;
    int64_t slot;
    int64_t taken_ms;
    int64_t free_ms; /* when its slot comes free, by what is known */
    bool waiting;    /* for budget_answered(), _give_back() or _unanswered() */
};

TAILQ_HEAD(calls, call);

struct budget {
    struct budget_options options;
    struct calls unanswered;
    struct calls answered;
    struct calls idle;   /* free, to be used again */
    struct call **calls; /* every call there is, by its place */
    size_t call_count;
    size_t capacity;
    size_t live; /* calls in unanswered and answered */
    size_t waiting;
    int64_t forgotten_ms; /* until then calls can have been counted that are in neither */
};

/* A slot's number is the place of its call plus this times how often the place was used: what is
 * said of a call after its slot came free by time cannot touch the next call in that place. */
#define PLACES ((int64_t)1 << 32)

static struct call *add_call(struct budget *budget);
static void insert_in_order(struct calls *queue, struct call *call);
static void release(struct budget *budget, struct calls *queue, struct call *call);
static void free_expired(struct budget *budget, struct calls *queue, int64_t now_ms);
static size_t count_expired(const struct calls *queue, int64_t now_ms);
static void forget(struct budget *budget, int64_t free_ms);
static struct call *find_waiting(const struct budget *budget, int64_t slot);
static void end_wait(struct budget *budget, struct call *call);
static bool more_ticks_than(size_t n, const int64_t *free_ms, size_t slots, int64_t period_ms,
                            int64_t by_ms);

static int64_t min_ms(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max_ms(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

struct budget *budget_new(const struct budget_options *options)
{
    struct budget *budget = xcalloc(1, sizeof(*budget));

    assert(options->requests >= 1 && options->window_ms >= 1 && options->timeout_ms >= 0);
    budget->options = *options;
    budget->forgotten_ms = INT64_MIN;
    TAILQ_INIT(&budget->unanswered);
    TAILQ_INIT(&budget->answered);
    TAILQ_INIT(&budget->idle);
    return budget;
}

void budget_free(struct budget *budget)
{
    if (budget == NULL) {
        return;
    }
    for (size_t i = 0; i < budget->call_count; i++) {
        free(budget->calls[i]);
    }
    free(budget->calls);
    free(budget);
}

static void shift(struct calls *queue, int64_t by_ms)
{
    struct call *call;

    TAILQ_FOREACH(call, queue, link)
    {
        call->free_ms += by_ms;
    }
}

int64_t budget_configure(struct budget *budget, const struct budget_options *options,
                         int64_t now_ms)
{
    int64_t longer_ms = options->window_ms - budget->options.window_ms;

    assert(options->requests >= 1 && options->window_ms >= 1 && options->timeout_ms >= 0);
    free_expired(budget, &budget->unanswered, now_ms);
    free_expired(budget, &budget->answered, now_ms);
    shift(&budget->unanswered, longer_ms);
    shift(&budget->answered, longer_ms);
    budget->options = *options;
    return budget->forgotten_ms == INT64_MIN ? INT64_MIN
                                             : budget->forgotten_ms + options->window_ms;
}

int64_t budget_take(struct budget *budget, int64_t now_ms)
{
    const struct budget_options *options = &budget->options;
    struct call *call;

    free_expired(budget, &budget->unanswered, now_ms);
    free_expired(budget, &budget->answered, now_ms);
    if (budget->live >= options->requests) {
        return -1;
    }
    call = add_call(budget);
    call->taken_ms = now_ms;
    call->free_ms = now_ms + options->timeout_ms + options->window_ms;
    call->waiting = true;
    budget->waiting++;
    insert_in_order(&budget->unanswered, call);
    return call->slot;
}

void budget_answered(struct budget *budget, int64_t slot, int64_t now_ms)
{
    struct call *call = find_waiting(budget, slot);

    if (call != NULL && call->free_ms > now_ms) {
        end_wait(budget, call);
        TAILQ_REMOVE(&budget->unanswered, call, link);
        call->free_ms = now_ms + budget->options.window_ms;
        insert_in_order(&budget->answered, call);
    }
}

void budget_give_back(struct budget *budget, int64_t slot)
{
    struct call *call = find_waiting(budget, slot);

    if (call != NULL) {
        release(budget, &budget->unanswered, call);
    }
}

void budget_unanswered(struct budget *budget, int64_t slot)
{
    struct call *call = find_waiting(budget, slot);

    if (call != NULL) {
        end_wait(budget, call);
    }
}

void budget_restore(struct budget *budget, int64_t taken_ms, int64_t answered_ms, int64_t now_ms)
{
    bool answered = answered_ms >= 0;
    int64_t from_ms = answered ? max_ms(taken_ms, answered_ms) : taken_ms;
    int64_t free_ms = min_ms(from_ms, now_ms) + budget->options.window_ms +
                      (answered ? 0 : budget->options.timeout_ms);
    struct call *call;

    if (free_ms > now_ms) {
        call = add_call(budget);
        call->taken_ms = taken_ms;
        call->free_ms = free_ms;
        insert_in_order(answered ? &budget->answered : &budget->unanswered, call);
    } else {
        forget(budget, free_ms);
    }
}

size_t budget_free_slots(const struct budget *budget, int64_t now_ms)
{
    size_t held = budget->live - count_expired(&budget->unanswered, now_ms) -
                  count_expired(&budget->answered, now_ms);

    return held < budget->options.requests ? budget->options.requests - held : 0;
}

size_t budget_in_flight(const struct budget *budget)
{
    return budget->waiting;
}

int64_t budget_next_free_ms(const struct budget *budget, int64_t now_ms)
{
    const struct call *a = TAILQ_FIRST(&budget->unanswered);
    const struct call *b = TAILQ_FIRST(&budget->answered);
    int64_t free_ms = now_ms;

    /* A slot is free once requests - 1 are live: as many calls must end before. */
    for (size_t live = budget->live; live >= budget->options.requests; live--) {
        if (b == NULL || (a != NULL && a->free_ms <= b->free_ms)) {
            free_ms = a->free_ms;
            a = TAILQ_NEXT(a, link);
        } else {
            free_ms = b->free_ms;
            b = TAILQ_NEXT(b, link);
        }
    }
    return max_ms(free_ms, now_ms);
}

/* With equal latency every slot is a clock that ticks each latency + window from when it comes
 * free; the n-th call leaves at the n-th tick of all of them. */
int64_t budget_estimate_ms(const struct budget *budget, size_t n, int64_t latency_ms,
                           int64_t now_ms)
{
    size_t slots = budget->options.requests;
    int64_t period_ms = latency_ms + budget->options.window_ms;
    CLEANUP(cleanup_free) int64_t *free_ms = NULL;
    int64_t low = now_ms;
    int64_t high;

    if (n < budget_free_slots(budget, now_ms)) {
        return now_ms;
    }
    if (n / slots >= (size_t)(INT64_MAX / 4 / period_ms)) {
        return INT64_MAX;
    }
    free_ms = xcalloc(slots, sizeof(*free_ms));
    (void)budget_slot_times(budget, latency_ms, now_ms, slots, free_ms);
    high = free_ms[slots - 1] + (int64_t)(n / slots) * period_ms;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (more_ticks_than(n, free_ms, slots, period_ms, middle)) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* When the slot of a call comes free, if calls in flight are answered latency_ms after they were
 * taken. */
static int64_t expected_ms(const struct budget *budget, const struct call *call, int64_t latency_ms,
                           int64_t now_ms)
{
    int64_t answer_ms = max_ms(call->taken_ms + latency_ms, now_ms);

    return call->waiting && answer_ms < call->free_ms ? answer_ms + budget->options.window_ms
                                                      : max_ms(call->free_ms, now_ms);
}

/* Both queues are in order, but for calls whose answer is not waited for any more: what comes from
 * merging them is put right where it has to be. */
size_t budget_slot_times(const struct budget *budget, int64_t latency_ms, int64_t now_ms,
                         size_t max, int64_t *ret_free_ms)
{
    size_t slots = budget->options.requests;
    size_t beyond = budget->live > slots ? budget->live - slots : 0; /* free none: see restore */
    const struct call *a = TAILQ_FIRST(&budget->unanswered);
    const struct call *b = TAILQ_FIRST(&budget->answered);
    size_t count = 0;

    max = max < slots ? max : slots;
    while (count < max && count + budget->live < slots) {
        ret_free_ms[count++] = now_ms;
    }
    while (count < max) {
        int64_t a_ms = a != NULL ? expected_ms(budget, a, latency_ms, now_ms) : INT64_MAX;
        int64_t b_ms = b != NULL ? expected_ms(budget, b, latency_ms, now_ms) : INT64_MAX;
        int64_t free_ms = min_ms(a_ms, b_ms);
        size_t at = count;
        a = a_ms < b_ms ? TAILQ_NEXT(a, link) : a;
        b = a_ms < b_ms ? b : TAILQ_NEXT(b, link);
        if (beyond > 0) {
            beyond--;
            continue;
        }
        for (; at > 0 && ret_free_ms[at - 1] > free_ms; at--) {
            ret_free_ms[at] = ret_free_ms[at - 1];
        }
        ret_free_ms[at] = free_ms;
        count++;
    }
    return max;
}

static bool more_ticks_than(size_t n, const int64_t *free_ms, size_t slots, int64_t period_ms,
                            int64_t by_ms)
{
    size_t ticks = 0;

    for (size_t i = 0; i < slots && free_ms[i] <= by_ms && ticks <= n; i++) {
        ticks += (size_t)((by_ms - free_ms[i]) / period_ms) + 1;
    }
    return ticks > n;
}

static struct call *add_call(struct budget *budget)
{
    struct call *call = TAILQ_FIRST(&budget->idle);

    if (call != NULL) {
        TAILQ_REMOVE(&budget->idle, call, link);
        call->slot += PLACES;
    } else {
        if (budget->call_count == budget->capacity) {
            budget->capacity = 2 * budget->capacity + 16;
            budget->calls = xrealloc(budget->calls, budget->capacity, sizeof(struct call *));
        }
        call = xcalloc(1, sizeof(*call));
        call->slot = (int64_t)budget->call_count;
        budget->calls[budget->call_count++] = call;
    }
    budget->live++;
    return call;
}

/* From the end: time goes forward, so nearly always the call belongs there. */
static void insert_in_order(struct calls *queue, struct call *call)
{
    struct call *before = TAILQ_LAST(queue, calls);

    while (before != NULL && before->free_ms > call->free_ms) {
        before = TAILQ_PREV(before, calls, link);
    }
    if (before != NULL) {
        TAILQ_INSERT_AFTER(queue, before, call, link);
    } else {
        TAILQ_INSERT_HEAD(queue, call, link);
    }
}

static void release(struct budget *budget, struct calls *queue, struct call *call)
{
    end_wait(budget, call);
    TAILQ_REMOVE(queue, call, link);
    TAILQ_INSERT_HEAD(&budget->idle, call, link);
    budget->live--;
}

/* A call whose slot came free then leaves the book. */
static void forget(struct budget *budget, int64_t free_ms)
{
    budget->forgotten_ms = max_ms(budget->forgotten_ms, free_ms - budget->options.window_ms);
}

static void free_expired(struct budget *budget, struct calls *queue, int64_t now_ms)
{
    struct call *call;

    while ((call = TAILQ_FIRST(queue)) != NULL && call->free_ms <= now_ms) {
        forget(budget, call->free_ms);
        release(budget, queue, call);
    }
}

static size_t count_expired(const struct calls *queue, int64_t now_ms)
{
    const struct call *call;
    size_t count = 0;

    for (call = TAILQ_FIRST(queue); call != NULL && call->free_ms <= now_ms;
         call = TAILQ_NEXT(call, link)) {
        count++;
    }
    return count;
}

/* The call of that slot, or NULL where its end is known or its time is over. */
static struct call *find_waiting(const struct budget *budget, int64_t slot)
{
    size_t place = (size_t)(slot % PLACES);

    assert(slot >= 0 && place < budget->call_count);
    return budget->calls[place]->slot == slot && budget->calls[place]->waiting
               ? budget->calls[place]
               : NULL;
}

static void end_wait(struct budget *budget, struct call *call)
{
    budget->waiting -= call->waiting ? 1 : 0;
    call->waiting = false;
}
