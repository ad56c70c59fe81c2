/* Scheduler: decides what goes upstream next for one account: when, and which requests together.
 *
 * Teams share the slots of the budget by start-time fair queueing (Goyal, Vin, Cheng 1996): the
 * team with the least start tag goes first, and a call advances the tag of each team in it by its
 * share of the call's devices, divided by the team's weight. Inside a team, lower priority numbers
 * go first (RFC 9218 urgency), then arrival. The first request of that team takes compatible
 * requests of all teams along. Requests that contradict each other for one device keep their order.
 *
 * Pure: time is an argument (milliseconds on one clock that never goes back). One thread.
 * The dispatcher carries out what this decides, and tells it what became of each call. */
#ifndef POLICY_SCHEDULER_H
#define POLICY_SCHEDULER_H

#include "common/error.h"
#include "common/memory.h"
#include "policy/action.h"
#include "policy/budget.h"

#include <stdint.h>
#include <sys/queue.h>

struct claim;
struct group;
struct lane;
struct scheduler;

/* A request. Embedded in whatever the owner queues: zero it and set the first part. */
struct job {
    const struct action *action; /* borrowed until scheduler_end() */
    size_t team;
    int64_t priority; /* 0 goes first */
    bool alone;       /* shares no call; scheduler_back() sets it too */

    /* The scheduler's own. */
    uint64_t order;
    struct group *group;
    struct claim *claims;  /* one for each device */
    uint8_t *given;        /* for each device: whether it was given to a call */
    size_t left;           /* devices not given to a call */
    size_t blocked;        /* claims that wait for earlier requests */
    int64_t not_before_ms; /* INT64_MIN: now */
    TAILQ_ENTRY(job) in_level;
    size_t place;      /* there */
    int64_t due_ms;    /* the answer is expected */
    uint64_t due_at;   /* scheduler.changes when that was said */
    struct lane *lane; /* where it stands if it is ready */
    size_t lane_place; /* in heaps */
    size_t delay_place;
};

struct scheduler_team {
    int64_t weight;   /* 1 or more */
    int64_t reserved; /* slots of a window kept for the team */
    int64_t max;      /* slots of a window it may use */
    size_t queue_limit;
};

struct scheduler_options {
    struct budget_options budget;
    size_t max_devices; /* in one call */
    int64_t linger_ms;  /* longest wait for company while a slot is free; 0: none */
    size_t team_count;
    const struct scheduler_team *teams; /* copied */
};

/* What a job has in a call. */
struct batch_part {
    struct job *job;
    size_t count;
    size_t *devices; /* count indexes into the job's action->devices */
    size_t *places;  /* where each of them stands in the call */
    int64_t share;   /* of the call, in 1 / SCHEDULER_SHARE */
};

#define SCHEDULER_SHARE ((int64_t)1 << 20)

/* One call. Parts and strings are valid until batch_free(). */
struct batch {
    int64_t slot;
    int64_t taken_ms;
    size_t device_count;
    const char **devices; /* canonical, each once; borrowed from the jobs' actions */
    size_t part_count;
    struct batch_part *parts;
    /* The scheduler's own. */
    struct group *group;
    size_t free_then; /* slots free once this was taken */
    uint64_t taken_count;
};

struct scheduler *scheduler_new(const struct scheduler_options *options);

/* Jobs still there are the owner's to end first. */
void scheduler_free(struct scheduler *scheduler);

/* Changes the options of a scheduler in use. Teams keep their numbers, so there are at least as
 * many as before; one that is no more gets scheduler_no_team, and its jobs are the owner's to end.
 * What is in calls and in the book stays, as budget_configure() says; returns as that, and heeds
 * it.
 */
int64_t scheduler_configure(struct scheduler *scheduler, const struct scheduler_options *options,
                            int64_t now_ms);

extern const struct scheduler_team scheduler_no_team;

/* Whether no slot or place is taken by the team. If it also has no job, its number may be given to
 * another. */
bool scheduler_team_idle(struct scheduler *scheduler, size_t team, int64_t now_ms);

/* ---- Jobs ---- */

/* Asks for a place in a team's queue. OK: the place is held until scheduler_add() or
 * scheduler_leave(). ERR_FULL: the team's queue is full; *ret_eta_ms is the time until a place is
 * expected to come free. ERR_UNAVAILABLE: the answer is expected later than wait_ms from now
 * (wait_ms < 0: whenever). *ret_eta_ms is the expected time until the answer. */
enum err scheduler_admit(struct scheduler *scheduler, size_t team, const struct action *action,
                         int64_t wait_ms, int64_t now_ms, int64_t *ret_eta_ms) MUST_CHECK;

/* The same question without taking a place. */
enum err scheduler_ask(struct scheduler *scheduler, size_t team, const struct action *action,
                       int64_t wait_ms, int64_t now_ms, int64_t *ret_eta_ms,
                       bool *ret_would_share) MUST_CHECK;

/* Queues a job in the place its admission holds. */
void scheduler_add(struct scheduler *scheduler, struct job *job, int64_t now_ms);

/* Gives back a place that no job will take. */
void scheduler_leave(struct scheduler *scheduler, size_t team, const struct action *action);

/* Queues a job from before a restart, whatever the limits say. Oldest first. job->given may say
 * which devices do not go any more (malloc'ed, given away; not all of them); NULL: none. */
void scheduler_restore_job(struct scheduler *scheduler, struct job *job, int64_t now_ms);

/* Takes what was not given to a call out of the queue for good; the job keeps its place in the
 * order of each device until scheduler_end(). None of its parts may come back after that. */
void scheduler_stop(struct scheduler *scheduler, struct job *job, int64_t now_ms);

/* Ends a job: none of its devices is in a call any more, or it was never sent. */
void scheduler_end(struct scheduler *scheduler, struct job *job, int64_t now_ms);

/* Whether no device of the job was given to a call. */
bool scheduler_untouched(const struct job *job);

/* Jobs of its team that go before it; and the expected time until its answer. */
size_t scheduler_position(const struct scheduler *scheduler, const struct job *job);
int64_t scheduler_eta_ms(struct scheduler *scheduler, const struct job *job, int64_t now_ms);

/* The expected time until the answer to a new request of the team that finds no company. */
int64_t scheduler_team_eta_ms(struct scheduler *scheduler, size_t team, int64_t now_ms);

/* Jobs of a team that are not wholly in calls, and of all teams. */
size_t scheduler_team_depth(const struct scheduler *scheduler, size_t team);
size_t scheduler_depth(const struct scheduler *scheduler);

/* ---- Calls ---- */

/* The next call, its slot taken; NULL when nothing may go now. Free with batch_free(). */
struct batch *scheduler_next(struct scheduler *scheduler, int64_t now_ms);

/* What became of its slot: it was answered; or it was sent and can have been counted until
 * counted_ms; or nothing of it was sent. Exactly one of them for each call. See budget.h. */
void scheduler_answered(struct scheduler *scheduler, struct batch *batch, int64_t now_ms);
void scheduler_unanswered(struct scheduler *scheduler, struct batch *batch, int64_t counted_ms,
                          int64_t now_ms);
void scheduler_give_back(struct scheduler *scheduler, struct batch *batch, int64_t now_ms);

/* Nothing of this part was applied: its devices go back in the queue, in their old place, not to
 * be sent before not_before_ms; alone: without company. After the slot was accounted for. */
void scheduler_back(struct scheduler *scheduler, const struct batch_part *part,
                    int64_t not_before_ms, bool alone, int64_t now_ms);

void batch_free(struct batch *batch);

/* When scheduler_next() may give a call if nothing else happens; -1: not before something is
 * added or answered. */
int64_t scheduler_wake_ms(struct scheduler *scheduler, int64_t now_ms);

/* ---- The book ---- */

/* Puts a call from before a restart in the book: as budget_restore(). */
void scheduler_restore_call(struct scheduler *scheduler, int64_t taken_ms, int64_t answered_ms,
                            int64_t now_ms);

/* Charges a team for its share of such a call, until the slot comes free. */
void scheduler_restore_share(struct scheduler *scheduler, size_t team, int64_t share,
                             int64_t free_ms, int64_t now_ms);

/* Nothing is sent before that time: the upstream said so. */
void scheduler_pause(struct scheduler *scheduler, int64_t until_ms);

/* The upstream's answer to this call said how many more it would take. If that is less than the
 * book allows, somebody else uses the account: as many slots are taken out for a window. Returns
 * how many. Before the slot is accounted for. */
size_t scheduler_learn(struct scheduler *scheduler, const struct batch *batch, int64_t remaining,
                       int64_t now_ms);

const struct budget *scheduler_budget(const struct scheduler *scheduler);

/* A team's slots in the present window, in 1 / SCHEDULER_SHARE. */
int64_t scheduler_team_used(struct scheduler *scheduler, size_t team, int64_t now_ms);

/* Expected time from taking a slot to the answer. */
int64_t scheduler_latency_ms(const struct scheduler *scheduler);

#endif
