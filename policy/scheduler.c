/* Scheduler: see scheduler.h. One queue in order of arrival over the budget's slots. */
#include "policy/scheduler.h"

#include <assert.h>
#include <stdlib.h>

#define FIRST_LATENCY_MS 500 /* believed until an answer was seen */

struct team_queue {
    size_t limit;
    size_t queued; /* jobs in the queue */
    size_t held;   /* places given to jobs that are not here yet */
};

struct scheduler {
    struct budget *budget;
    struct job head; /* ring: head.next goes first */
    size_t depth;
    size_t held;
    int64_t latency_ms; /* moving average of taking a slot to its answer */
    size_t team_count;
    struct team_queue teams[];
};

struct scheduler *scheduler_new(const struct scheduler_options *options)
{
    struct scheduler *scheduler =
        xcalloc(1, sizeof(*scheduler) + options->team_count * sizeof(scheduler->teams[0]));

    scheduler->budget = budget_new(&options->budget);
    scheduler->head.next = scheduler->head.previous = &scheduler->head;
    scheduler->latency_ms = FIRST_LATENCY_MS;
    scheduler->team_count = options->team_count;
    for (size_t i = 0; i < options->team_count; i++) {
        scheduler->teams[i].limit = options->queue_limits[i];
    }
    return scheduler;
}

void scheduler_free(struct scheduler *scheduler)
{
    if (scheduler != NULL) {
        budget_free(scheduler->budget);
        free(scheduler);
    }
}

int64_t scheduler_eta_ms(const struct scheduler *scheduler, size_t position, int64_t now_ms)
{
    return budget_estimate_ms(scheduler->budget, position, scheduler->latency_ms, now_ms) - now_ms +
           scheduler->latency_ms;
}

enum err scheduler_admit(struct scheduler *scheduler, size_t team, int64_t wait_ms, int64_t now_ms,
                         int64_t *ret_eta_ms)
{
    struct team_queue *queue = &scheduler->teams[team];

    if (queue->queued + queue->held >= queue->limit) {
        *ret_eta_ms = scheduler_eta_ms(scheduler, 0, now_ms) - scheduler->latency_ms;
        return ERR_FULL;
    }
    *ret_eta_ms = scheduler_eta_ms(scheduler, scheduler->depth + scheduler->held, now_ms);
    if (wait_ms >= 0 && *ret_eta_ms > wait_ms) {
        return ERR_UNAVAILABLE;
    }
    queue->held++;
    scheduler->held++;
    return OK;
}

static void insert(struct scheduler *scheduler, struct job *job, struct job *after)
{
    job->previous = after;
    job->next = after->next;
    after->next->previous = job;
    after->next = job;
    scheduler->depth++;
    scheduler->teams[job->team].queued++;
}

void scheduler_leave(struct scheduler *scheduler, size_t team)
{
    assert(scheduler->teams[team].held > 0);
    scheduler->teams[team].held--;
    scheduler->held--;
}

void scheduler_restore_job(struct scheduler *scheduler, struct job *job, size_t team,
                           int64_t now_ms)
{
    assert(team < scheduler->team_count);
    job->team = team;
    job->queued_ms = now_ms;
    insert(scheduler, job, scheduler->head.previous);
}

void scheduler_add(struct scheduler *scheduler, struct job *job, size_t team, int64_t now_ms)
{
    scheduler_leave(scheduler, team);
    scheduler_restore_job(scheduler, job, team, now_ms);
}

void scheduler_restore_call(struct scheduler *scheduler, int64_t taken_ms, int64_t answered_ms,
                            int64_t now_ms)
{
    budget_restore(scheduler->budget, taken_ms, answered_ms, now_ms);
}

struct job *scheduler_next(struct scheduler *scheduler, int64_t now_ms, int64_t *ret_slot)
{
    struct job *job = scheduler->head.next;
    int64_t slot;

    if (job == &scheduler->head) {
        return NULL;
    }
    slot = budget_take(scheduler->budget, now_ms);
    if (slot < 0) {
        return NULL;
    }
    scheduler_remove(scheduler, job);
    *ret_slot = slot;
    return job;
}

void scheduler_return(struct scheduler *scheduler, struct job *job)
{
    insert(scheduler, job, &scheduler->head);
}

void scheduler_remove(struct scheduler *scheduler, struct job *job)
{
    job->previous->next = job->next;
    job->next->previous = job->previous;
    job->next = job->previous = NULL;
    scheduler->depth--;
    scheduler->teams[job->team].queued--;
}

void scheduler_each(struct scheduler *scheduler, void (*each)(struct job *job, void *arg),
                    void *arg)
{
    struct job *next;

    for (struct job *job = scheduler->head.next; job != &scheduler->head; job = next) {
        next = job->next;
        each(job, arg);
    }
}

void scheduler_answered(struct scheduler *scheduler, int64_t slot, int64_t taken_ms, int64_t now_ms)
{
    budget_answered(scheduler->budget, slot, now_ms);
    scheduler->latency_ms = (7 * scheduler->latency_ms + (now_ms - taken_ms)) / 8;
}

void scheduler_unanswered(struct scheduler *scheduler, int64_t slot, int64_t counted_ms)
{
    budget_answered(scheduler->budget, slot, counted_ms);
}

void scheduler_give_back(struct scheduler *scheduler, int64_t slot)
{
    budget_give_back(scheduler->budget, slot);
}

int64_t scheduler_wake_ms(const struct scheduler *scheduler, int64_t now_ms)
{
    return scheduler->depth > 0 ? budget_next_free_ms(scheduler->budget, now_ms) : -1;
}

size_t scheduler_position(const struct scheduler *scheduler, const struct job *job)
{
    size_t position = 0;

    for (const struct job *at = job->previous; at != &scheduler->head; at = at->previous) {
        position++;
    }
    return position;
}

size_t scheduler_team_depth(const struct scheduler *scheduler, size_t team)
{
    return scheduler->teams[team].queued;
}

size_t scheduler_depth(const struct scheduler *scheduler)
{
    return scheduler->depth;
}

const struct budget *scheduler_budget(const struct scheduler *scheduler)
{
    return scheduler->budget;
}
