/* Scheduler, shared by its own files: scheduler.c (jobs and their life), groups.c (compatible
 * requests and how long they linger), share.c (teams' shares of the slots), batch.c (making a
 * call), order.c (order inside a team), forecast.c, estimate.c and configure.c. */
#ifndef POLICY_SCHEDULER_PRIV_H
#define POLICY_SCHEDULER_PRIV_H

#include "policy/heap.h"
#include "policy/lines.h"
#include "policy/scheduler.h"

#include <sys/queue.h>

#define ARRIVALS 32
#define LEVELS   8 /* of urgency */

/* The jobs of one team and level that have not ended, by arrival. */
struct level {
    TAILQ_HEAD(, job) jobs;
    uint32_t *counts; /* of jobs that wait, by place: a Fenwick tree */
    size_t size;
    size_t next; /* place that was given to nobody */
    size_t queued;
};

struct team_queue {
    struct scheduler_team options;
    struct heap ripe; /* lanes whose first job may be sent now, in the team's order */
    int64_t finish;   /* tag of start-time fair queueing */
    int64_t used;     /* slots of this window, in 1 / SCHEDULER_SHARE */
    size_t queued;    /* jobs not wholly given to calls */
    size_t held;      /* places given to jobs that are not here yet */
    struct level levels[LEVELS];
};

/* The jobs of one team in a group that could be sent, in the team's order: by priority, then by
 * arrival. Those that share no call have a lane of their own, which never lingers. */
struct lane {
    struct lane *next;  /* of the same group */
    struct lane *aside; /* while a call is made */
    struct group *group;
    size_t team;
    bool alone;
    struct heap jobs;
    size_t group_place; /* in heaps */
    size_t ripe_place;
};

/* Requests that can share calls: the same action, parameters and kind of device. */
struct group {
    struct group *next; /* in its bucket */
    TAILQ_ENTRY(group) idle;
    bool is_idle;
    char *key;
    size_t jobs;        /* that are in the scheduler at all, and places held for more */
    struct lane *lanes; /* all of them */
    struct heap ready;  /* lanes with jobs that take company, by the arrival of their first */
    size_t ready_jobs;
    size_t pending;   /* their devices */
    size_t held;      /* devices of requests that were admitted and are not here yet */
    bool ripe;        /* lingered enough: its ready lanes stand in their teams' heaps */
    int64_t ripe_ms;  /* until then it lingers */
    int64_t since_ms; /* when it began to linger */
    size_t linger_place;
    bool shared;       /* company was found lately: pays to wait for more */
    int64_t fair_ms;   /* the next call, were its calls spread evenly */
    int64_t sent_ms;   /* the last one */
    int64_t *arrivals; /* of the last ARRIVALS jobs, in a ring; NULL: never had company */
    size_t arrival_count;
    int64_t arrived_ms;  /* its last job; INT64_MIN: none */
    int64_t interval_ms; /* between jobs, moving average */
    int64_t intervals;   /* that it is the average of, about */
    size_t vain;         /* paced calls in a row that nobody joined while they waited */
    size_t skip;         /* calls that are not to be paced */
    TAILQ_ENTRY(group) holding;
    size_t holder; /* team of the first request that is held */
    /* Of the forecast. */
    size_t noted; /* requests that it remembers */
    uint64_t play;
    struct place *first;
    struct place **last;
};

/* Shares of the slots of calls that were answered: given back when the slots come free. */
struct charge {
    struct charge *next; /* comes free later */
    int64_t free_ms;
    size_t count;
    struct {
        size_t team;
        int64_t share;
    } shares[];
};

TAILQ_HEAD(idle_groups, group);

struct scheduler {
    struct scheduler_options options;
    struct budget *budget;
    struct lines *lines;
    struct heap delayed;         /* jobs with a time before which they do not go */
    struct heap lingering;       /* groups that are not ripe */
    TAILQ_HEAD(, group) holding; /* groups with requests that are held */
    struct group **buckets;
    size_t bucket_count;
    size_t group_count;
    struct idle_groups idle;
    struct charge *charges;
    struct charge *last_charge;
    int64_t virtual_time;
    int64_t reserved; /* slots, of all teams */
    int64_t unmet;    /* of all reservations, in 1 / SCHEDULER_SHARE */
    uint64_t last_order;
    uint64_t book_count; /* calls so far, and slots taken out for calls of others */
    int64_t latency_ms;
    int64_t paused_ms; /* nothing goes before */
    int64_t now_ms;    /* of the present call from outside, for callbacks */
    size_t depth;
    struct forecast *forecast;
    uint64_t changes; /* of what waits */
    uint64_t played;  /* what it was when the queue was last played */
    int64_t played_ms;
    bool played_all; /* and not just until a job was answered */
    size_t team_count;
    struct team_queue *teams;
};

/* scheduler.c: puts a job where it belongs, given what holds it up. */
void job_place(struct scheduler *scheduler, struct job *job);

/* configure.c: makes room for teams with these options, after those that are there. */
void teams_add(struct scheduler *scheduler, const struct scheduler_team *teams, size_t count);

/* order.c: a job arrives; is wholly given to calls; is not any more; ends. The number of jobs that
 * wait goes with it. */
void order_init(struct team_queue *team);
void order_done(struct team_queue *team);
void order_move(struct team_queue *to, struct team_queue *from); /* to is a copy of from */
void order_enter(struct scheduler *scheduler, struct job *job);
void order_given(struct scheduler *scheduler, struct job *job);
void order_back(struct scheduler *scheduler, struct job *job);
void order_leave(struct scheduler *scheduler, struct job *job);
struct job *order_next(const struct team_queue *team, const struct job *job); /* that waits */

/* groups.c */
struct group *group_get(struct scheduler *scheduler, const struct action *action);
struct group *group_find(const struct scheduler *scheduler, const struct action *action);
void group_leave(struct scheduler *scheduler, struct group *group); /* a job ended */
void group_arrived(struct scheduler *scheduler, struct group *group);
int64_t group_expected_ms(const struct scheduler *scheduler,
                          const struct group *group); /* when a group that lingers leaves, about */
bool group_ripens_before(const void *a, const void *b);
struct job *lane_first(const struct lane *lane);
bool lane_has_priority(const void *a, const void *b);
void group_add_ready(struct scheduler *scheduler, struct job *job);
void group_remove_ready(struct scheduler *scheduler, struct job *job);
void group_take(struct scheduler *scheduler, struct job *job); /* the same while a call is made */
void group_put(struct scheduler *scheduler, struct job *job);  /* and back */
void group_sent(struct scheduler *scheduler, struct group *group, size_t parts);
void group_hold(struct scheduler *scheduler, struct group *group, size_t team, size_t devices);
void group_release(struct scheduler *scheduler, struct group *group, size_t devices);
void groups_ripen(struct scheduler *scheduler);
void groups_linger_anew(struct scheduler *scheduler); /* the options changed */
void groups_forget_idle(struct scheduler *scheduler, int64_t before_ms);
void groups_free(struct scheduler *scheduler);

/* share.c */
size_t share_choose_team(const struct scheduler *scheduler, size_t free_slots); /* SIZE_MAX: none */
void share_charge(struct scheduler *scheduler, const struct batch *batch, size_t seed_team);
void share_refund(struct scheduler *scheduler, const struct batch *batch);
void share_release_at(struct scheduler *scheduler, const struct batch *batch, int64_t free_ms);
void share_expire(struct scheduler *scheduler);
void share_init(struct scheduler *scheduler);
void share_shift(struct scheduler *scheduler, int64_t by_ms); /* slots come free by so much later */

/* batch.c */
struct batch *batch_make(struct scheduler *scheduler, struct job *seed);

#endif
