/* Scheduler: decides which queued job of one account goes upstream next, and when. Today: one
 * queue, first come first served, each job its own call. The dispatcher carries out what this
 * decides, and tells it what became of each call.
 *
 * Pure: time is an argument (milliseconds on one clock that never goes back). One thread. */
#ifndef POLICY_SCHEDULER_H
#define POLICY_SCHEDULER_H

#include "common/error.h"
#include "common/memory.h"
#include "policy/budget.h"

#include <stdint.h>

struct scheduler;

/* Embedded in whatever the owner queues. Zero it; the members are the scheduler's. */
struct job {
    struct job *next;
    struct job *previous;
    size_t team;
    int64_t queued_ms;
};

struct scheduler_options {
    struct budget_options budget;
    size_t team_count;
    const size_t *queue_limits; /* one for each team: jobs queued or being made durable; copied */
};

struct scheduler *scheduler_new(const struct scheduler_options *options);

/* Jobs still queued are the owner's to free. */
void scheduler_free(struct scheduler *scheduler);

/* Asks for a place in a team's queue. OK: the place is held until scheduler_add() or
 * scheduler_leave(). ERR_FULL: the team's queue is full. ERR_UNAVAILABLE: the answer is expected
 * later than wait_ms from now (wait_ms < 0: the caller does not wait). For OK and ERR_UNAVAILABLE
 * *ret_eta_ms is the expected time until the answer; for ERR_FULL the time until a place is
 * expected to come free. */
enum err scheduler_admit(struct scheduler *scheduler, size_t team, int64_t wait_ms, int64_t now_ms,
                         int64_t *ret_eta_ms) MUST_CHECK;

/* Puts a job in the place its admission holds. */
void scheduler_add(struct scheduler *scheduler, struct job *job, size_t team, int64_t now_ms);

/* Gives back a place that no job will take. */
void scheduler_leave(struct scheduler *scheduler, size_t team);

/* Puts a job from before a restart in the queue, whatever the limits say. */
void scheduler_restore_job(struct scheduler *scheduler, struct job *job, size_t team,
                           int64_t now_ms);

/* Puts a call from before a restart in the book: as budget_restore(). */
void scheduler_restore_call(struct scheduler *scheduler, int64_t taken_ms, int64_t answered_ms,
                            int64_t now_ms);

/* The next job to send, with the slot of the budget taken for it; NULL when there is none or no
 * slot is free. */
struct job *scheduler_next(struct scheduler *scheduler, int64_t now_ms, int64_t *ret_slot);

/* Puts a job that was given out back at the head of the queue: nothing of it was applied. */
void scheduler_return(struct scheduler *scheduler, struct job *job);

/* Takes a queued job out. */
void scheduler_remove(struct scheduler *scheduler, struct job *job);

/* Calls each for every queued job, first to go first; each may remove the job it is given. */
void scheduler_each(struct scheduler *scheduler, void (*each)(struct job *job, void *arg),
                    void *arg);

/* What became of the call in a slot: it was answered; or it was sent and can have been counted
 * until counted_ms; or nothing of it was sent. See budget.h. */
void scheduler_answered(struct scheduler *scheduler, int64_t slot, int64_t taken_ms,
                        int64_t now_ms);
void scheduler_unanswered(struct scheduler *scheduler, int64_t slot, int64_t counted_ms);
void scheduler_give_back(struct scheduler *scheduler, int64_t slot);

/* When scheduler_next() may give a job again if nothing else happens; -1: not before something
 * is added or answered. */
int64_t scheduler_wake_ms(const struct scheduler *scheduler, int64_t now_ms);

/* How many jobs go before this one, and the expected time until its answer. */
size_t scheduler_position(const struct scheduler *scheduler, const struct job *job);
int64_t scheduler_eta_ms(const struct scheduler *scheduler, size_t position, int64_t now_ms);

/* Jobs queued: of one team, or of all. */
size_t scheduler_team_depth(const struct scheduler *scheduler, size_t team);
size_t scheduler_depth(const struct scheduler *scheduler);

const struct budget *scheduler_budget(const struct scheduler *scheduler);

#endif
