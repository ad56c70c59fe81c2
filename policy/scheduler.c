/* Scheduler: jobs and calls. See scheduler.h.
 *
 * A job that has devices left stands in one place:
 *   blocked   an earlier request contradicts it for one of its devices (lines.h)
 *   delayed   it is not to go before some time (scheduler.delayed)
 *   ready     in its group; and once the group is ripe, in its team's heap too */
#include "policy/forecast.h"
#include "policy/scheduler_priv.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_LATENCY_MS 500 /* believed until an answer was seen */

static void on_clear(struct claim *claim, void *arg);

static bool delayed_before(const void *a, const void *b)
{
    const struct job *one = a;
    const struct job *other = b;

    return one->not_before_ms != other->not_before_ms ? one->not_before_ms < other->not_before_ms
                                                      : one->order < other->order;
}

struct scheduler *scheduler_new(const struct scheduler_options *options)
{
    struct scheduler *scheduler = xcalloc(1, sizeof(*scheduler));

    assert(options->max_devices >= 1 && options->linger_ms >= 0);
    scheduler->options = *options;
    scheduler->budget = budget_new(&options->budget);
    scheduler->lines = lines_new(on_clear, scheduler);
    scheduler->latency_ms = FIRST_LATENCY_MS;
    scheduler->paused_ms = INT64_MIN;
    heap_init(&scheduler->delayed, delayed_before, offsetof(struct job, delay_place));
    heap_init(&scheduler->lingering, group_ripens_before, offsetof(struct group, linger_place));
    TAILQ_INIT(&scheduler->idle);
    TAILQ_INIT(&scheduler->holding);
    teams_add(scheduler, options->teams, options->team_count);
    share_init(scheduler);
    scheduler->forecast = forecast_new(scheduler);
    scheduler->played = UINT64_MAX;
    return scheduler;
}

void scheduler_free(struct scheduler *scheduler)
{
    struct charge *charge;

    if (scheduler == NULL) {
        return;
    }
    groups_free(scheduler);
    forecast_free(scheduler->forecast);
    while ((charge = scheduler->charges) != NULL) {
        scheduler->charges = charge->next;
        free(charge);
    }
    for (size_t i = 0; i < scheduler->team_count; i++) {
        heap_done(&scheduler->teams[i].ripe);
        order_done(&scheduler->teams[i]);
    }
    free(scheduler->teams);
    heap_done(&scheduler->delayed);
    heap_done(&scheduler->lingering);
    lines_free(scheduler->lines);
    budget_free(scheduler->budget);
    free(scheduler);
}

/* ---- Jobs ---- */

void job_place(struct scheduler *scheduler, struct job *job)
{
    assert(job->lane_place == 0 && job->delay_place == 0);
    if (job->left == 0 || job->blocked > 0) {
        return;
    }
    if (job->not_before_ms > scheduler->now_ms) {
        heap_add(&scheduler->delayed, job);
    } else {
        group_add_ready(scheduler, job);
    }
}

/* Takes a job out of wherever it waits. */
static void job_unplace(struct scheduler *scheduler, struct job *job)
{
    if (job->lane_place != 0) {
        group_remove_ready(scheduler, job);
    }
    if (job->delay_place != 0) {
        heap_remove(&scheduler->delayed, job);
    }
}

static void on_clear(struct claim *claim, void *arg)
{
    struct job *job = claim->owner;

    assert(job->blocked > 0);
    job->blocked--;
    if (job->blocked == 0) {
        job_place(arg, job);
    }
}

static void enter_lines(struct scheduler *scheduler, struct job *job)
{
    const struct action *action = job->action;
    char space = action->kind == DEVICE_MAC ? 'm' : 'i';

    job->claims = xcalloc(action->device_count, sizeof(*job->claims));
    for (size_t i = 0; i < action->device_count; i++) {
        job->claims[i].owner = job;
        job->claims[i].kind = job->group;
        if (!lines_enter(scheduler->lines, &job->claims[i], space, action->devices[i].canonical)) {
            job->blocked++;
        }
    }
}

/* Gives back what an admission holds, but for its mention in group->jobs. */
static void release_hold(struct scheduler *scheduler, size_t team, struct group *group,
                         const struct action *action)
{
    assert(scheduler->teams[team].held > 0 && group->held >= action->device_count);
    scheduler->teams[team].held--;
    group_release(scheduler, group, action->device_count);
}

static void queue_job(struct scheduler *scheduler, struct job *job, bool was_held, int64_t now_ms)
{
    assert(job->team < scheduler->team_count && job->action->device_count > 0);
    scheduler->now_ms = now_ms;
    job->order = ++scheduler->last_order;
    if (job->given == NULL) {
        job->given = xcalloc(job->action->device_count, sizeof(*job->given));
    }
    job->left = 0;
    for (size_t i = 0; i < job->action->device_count; i++) {
        job->left += job->given[i] == 0 ? 1 : 0;
    }
    assert(job->left > 0);
    job->not_before_ms = INT64_MIN;
    job->group = group_get(scheduler, job->action);
    if (was_held) { /* first: who lingers looks at who else is held */
        release_hold(scheduler, job->team, job->group, job->action);
        group_leave(scheduler, job->group);
    }
    group_arrived(scheduler, job->group);
    order_enter(scheduler, job);
    enter_lines(scheduler, job);
    job_place(scheduler, job);
}

void scheduler_restore_job(struct scheduler *scheduler, struct job *job, int64_t now_ms)
{
    queue_job(scheduler, job, false, now_ms);
}

void scheduler_add(struct scheduler *scheduler, struct job *job, int64_t now_ms)
{
    queue_job(scheduler, job, true, now_ms);
    forecast_note(scheduler->forecast, job->group, job->team, job->action->device_count);
}

void scheduler_leave(struct scheduler *scheduler, size_t team, const struct action *action)
{
    struct group *group = group_find(scheduler, action);

    release_hold(scheduler, team, group, action);
    group_leave(scheduler, group);
}

bool scheduler_untouched(const struct job *job)
{
    return job->left == job->action->device_count;
}

void scheduler_stop(struct scheduler *scheduler, struct job *job, int64_t now_ms)
{
    scheduler->now_ms = now_ms;
    job_unplace(scheduler, job);
    if (job->left > 0) {
        order_given(scheduler, job);
        job->left = 0;
    }
}

void scheduler_end(struct scheduler *scheduler, struct job *job, int64_t now_ms)
{
    scheduler_stop(scheduler, job, now_ms);
    order_leave(scheduler, job);
    for (size_t i = 0; i < job->action->device_count; i++) {
        lines_leave(scheduler->lines, &job->claims[i]);
    }
    group_leave(scheduler, job->group);
    free(job->claims);
    free(job->given);
    job->claims = NULL;
    job->given = NULL;
}

/* ---- Calls ---- */

static void release_delayed(struct scheduler *scheduler)
{
    struct job *job;

    while ((job = heap_first(&scheduler->delayed)) != NULL &&
           job->not_before_ms <= scheduler->now_ms) {
        heap_remove(&scheduler->delayed, job);
        job_place(scheduler, job);
    }
}

/* Brings everything that depends on time up to now. */
static void advance(struct scheduler *scheduler, int64_t now_ms)
{
    scheduler->now_ms = now_ms;
    share_expire(scheduler);
    release_delayed(scheduler);
    groups_ripen(scheduler);
    groups_forget_idle(scheduler, now_ms - scheduler->options.budget.window_ms);
}

struct batch *scheduler_next(struct scheduler *scheduler, int64_t now_ms)
{
    struct batch *batch;
    size_t free_slots;
    size_t team;

    advance(scheduler, now_ms);
    free_slots = budget_free_slots(scheduler->budget, now_ms);
    if (free_slots == 0 || now_ms < scheduler->paused_ms) {
        return NULL;
    }
    team = share_choose_team(scheduler, free_slots);
    if (team == SIZE_MAX) {
        return NULL;
    }
    batch = batch_make(scheduler, lane_first(heap_first(&scheduler->teams[team].ripe)));
    batch->slot = budget_take(scheduler->budget, now_ms);
    assert(batch->slot >= 0);
    batch->taken_ms = now_ms;
    batch->taken_count = ++scheduler->book_count;
    scheduler->changes++;
    batch->free_then = free_slots - 1;
    share_charge(scheduler, batch, team);
    if (!batch->parts[0].job->alone) {
        group_sent(scheduler, batch->group, batch->part_count);
    }
    return batch;
}

void scheduler_answered(struct scheduler *scheduler, struct batch *batch, int64_t now_ms)
{
    scheduler->now_ms = now_ms;
    budget_answered(scheduler->budget, batch->slot, now_ms);
    share_release_at(scheduler, batch, now_ms + scheduler->options.budget.window_ms);
    scheduler->latency_ms = (7 * scheduler->latency_ms + (now_ms - batch->taken_ms)) / 8;
}

void scheduler_unanswered(struct scheduler *scheduler, struct batch *batch, int64_t counted_ms,
                          int64_t now_ms)
{
    scheduler->now_ms = now_ms;
    budget_answered(scheduler->budget, batch->slot, counted_ms);
    share_release_at(scheduler, batch, counted_ms + scheduler->options.budget.window_ms);
}

void scheduler_give_back(struct scheduler *scheduler, struct batch *batch, int64_t now_ms)
{
    scheduler->now_ms = now_ms;
    budget_give_back(scheduler->budget, batch->slot);
    share_refund(scheduler, batch);
}

void scheduler_back(struct scheduler *scheduler, const struct batch_part *part,
                    int64_t not_before_ms, bool alone, int64_t now_ms)
{
    struct job *job = part->job;

    scheduler->now_ms = now_ms;
    job_unplace(scheduler, job);
    if (job->left == 0) {
        order_back(scheduler, job);
    }
    for (size_t i = 0; i < part->count; i++) {
        job->given[part->devices[i]] = 0;
    }
    job->left += part->count;
    job->not_before_ms = not_before_ms;
    job->alone = job->alone || alone;
    job_place(scheduler, job);
}

/* The earlier of two times, of which -1 means never. */
static int64_t earlier(int64_t a, int64_t b)
{
    if (a < 0 || b < 0) {
        return a < 0 ? b : a;
    }
    return a < b ? a : b;
}

/* When the jobs that are ripe may go: -1 is not before a call was answered. */
static int64_t ripe_wake_ms(const struct scheduler *scheduler)
{
    const struct charge *charge = scheduler->charges;
    int64_t now_ms = scheduler->now_ms;
    size_t free_slots = budget_free_slots(scheduler->budget, now_ms);
    int64_t wake;

    if (now_ms < scheduler->paused_ms) {
        return scheduler->paused_ms;
    }
    if (free_slots == 0) {
        return budget_next_free_ms(scheduler->budget, now_ms);
    }
    if (share_choose_team(scheduler, free_slots) != SIZE_MAX) {
        return now_ms;
    }
    /* Held up by reservations or maxima: until one more slot comes free, or a team's shares do. */
    wake = charge != NULL ? charge->free_ms : -1;
    if (free_slots < scheduler->options.budget.requests) {
        wake = earlier(wake, budget_estimate_ms(scheduler->budget, free_slots,
                                                scheduler->options.budget.timeout_ms, now_ms));
    }
    return wake;
}

int64_t scheduler_wake_ms(struct scheduler *scheduler, int64_t now_ms)
{
    const struct group *lingering;
    const struct job *delayed;
    int64_t wake = -1;
    bool ripe = false;

    advance(scheduler, now_ms);
    for (size_t i = 0; i < scheduler->team_count; i++) {
        ripe = ripe || scheduler->teams[i].ripe.count > 0;
    }
    if (ripe) {
        wake = ripe_wake_ms(scheduler);
    }
    lingering = heap_first(&scheduler->lingering);
    delayed = heap_first(&scheduler->delayed);
    wake = earlier(wake, lingering != NULL ? lingering->ripe_ms : -1);
    return earlier(wake, delayed != NULL ? delayed->not_before_ms : -1);
}

/* ---- The book ---- */

void scheduler_restore_call(struct scheduler *scheduler, int64_t taken_ms, int64_t answered_ms,
                            int64_t now_ms)
{
    budget_restore(scheduler->budget, taken_ms, answered_ms, now_ms);
}

void scheduler_pause(struct scheduler *scheduler, int64_t until_ms)
{
    scheduler->paused_ms = until_ms > scheduler->paused_ms ? until_ms : scheduler->paused_ms;
    scheduler->changes++;
}

/* The upstream counted this call and, of ours, at most those taken before it that were still in
 * the book and those taken since. What it counts beyond them is not ours. Slots taken out since
 * stand for calls of others that it counted too: those are not taken out twice. */
size_t scheduler_learn(struct scheduler *scheduler, const struct batch *batch, int64_t remaining,
                       int64_t now_ms)
{
    int64_t since = (int64_t)(scheduler->book_count - batch->taken_count);
    int64_t foreign = (int64_t)batch->free_then - since - remaining;
    size_t taken = 0;
    int64_t slot;

    if (remaining < 0) {
        return 0;
    }
    for (; foreign > 0 && (slot = budget_take(scheduler->budget, now_ms)) >= 0; foreign--) {
        budget_answered(scheduler->budget, slot, now_ms);
        taken++;
    }
    scheduler->book_count += taken;
    return taken;
}

const struct budget *scheduler_budget(const struct scheduler *scheduler)
{
    return scheduler->budget;
}

int64_t scheduler_latency_ms(const struct scheduler *scheduler)
{
    return scheduler->latency_ms;
}

size_t scheduler_team_depth(const struct scheduler *scheduler, size_t team)
{
    return scheduler->teams[team].queued;
}

size_t scheduler_depth(const struct scheduler *scheduler)
{
    return scheduler->depth;
}
