/* Scheduler, the order inside a team: how many of its jobs go before one. Each level of urgency
 * keeps its jobs in order of arrival until they end, and counts those that wait in a Fenwick tree
 * over their places, so that a position costs O(log n). See scheduler.h. */
#include "policy/scheduler_priv.h"

#include <stdlib.h>

#define FIRST_PLACES 16

static size_t level_of(const struct job *job)
{
    int64_t level = job->priority < 0 ? 0 : job->priority;

    return level < LEVELS ? (size_t)level : LEVELS - 1;
}

static struct level *find_level(struct scheduler *scheduler, const struct job *job)
{
    return &scheduler->teams[job->team].levels[level_of(job)];
}

static void count(struct level *level, size_t place, int by)
{
    for (size_t i = place + 1; i <= level->size; i += i & (~i + 1)) {
        level->counts[i - 1] += (uint32_t)by;
    }
    level->queued += (size_t)by;
}

/* Places are given out one after the other: when none is left, those of jobs that ended go. */
static void renumber(struct level *level)
{
    struct job *job;
    size_t jobs = 0;

    TAILQ_FOREACH(job, &level->jobs, in_level)
    {
        job->place = jobs++;
    }
    level->next = jobs;
    level->size = FIRST_PLACES + 2 * jobs;
    level->queued = 0;
    free(level->counts);
    level->counts = xcalloc(level->size, sizeof(*level->counts));
    TAILQ_FOREACH(job, &level->jobs, in_level)
    {
        if (job->left > 0) {
            count(level, job->place, 1);
        }
    }
}

static void change(struct scheduler *scheduler, const struct job *job, int by)
{
    count(find_level(scheduler, job), job->place, by);
    scheduler->teams[job->team].queued += (size_t)by;
    scheduler->depth += (size_t)by;
    scheduler->changes++;
}

void order_init(struct team_queue *team)
{
    for (size_t i = 0; i < LEVELS; i++) {
        TAILQ_INIT(&team->levels[i].jobs);
    }
}

/* The head of a list is pointed to by its first. */
void order_move(struct team_queue *to, struct team_queue *from)
{
    for (size_t i = 0; i < LEVELS; i++) {
        TAILQ_INIT(&to->levels[i].jobs);
        TAILQ_CONCAT(&to->levels[i].jobs, &from->levels[i].jobs, in_level);
    }
}

void order_done(struct team_queue *team)
{
    for (size_t i = 0; i < LEVELS; i++) {
        free(team->levels[i].counts);
    }
}

void order_enter(struct scheduler *scheduler, struct job *job)
{
    struct level *level = find_level(scheduler, job);

    if (level->next == level->size) {
        renumber(level);
    }
    job->place = level->next++;
    TAILQ_INSERT_TAIL(&level->jobs, job, in_level);
    change(scheduler, job, 1);
}

void order_given(struct scheduler *scheduler, struct job *job)
{
    change(scheduler, job, -1);
}

void order_back(struct scheduler *scheduler, struct job *job)
{
    change(scheduler, job, 1);
}

void order_leave(struct scheduler *scheduler, struct job *job)
{
    TAILQ_REMOVE(&find_level(scheduler, job)->jobs, job, in_level);
}

struct job *order_next(const struct team_queue *team, const struct job *job)
{
    size_t level = job != NULL ? level_of(job) : 0;
    struct job *next = job != NULL ? TAILQ_NEXT(job, in_level) : TAILQ_FIRST(&team->levels[0].jobs);

    for (;;) {
        while (next != NULL && next->left == 0) {
            next = TAILQ_NEXT(next, in_level);
        }
        if (next != NULL || ++level == LEVELS) {
            return next;
        }
        next = TAILQ_FIRST(&team->levels[level].jobs);
    }
}

size_t scheduler_position(const struct scheduler *scheduler, const struct job *job)
{
    const struct team_queue *team = &scheduler->teams[job->team];
    size_t level = level_of(job);
    size_t before = 0;

    for (size_t i = 0; i < level; i++) {
        before += team->levels[i].queued;
    }
    for (size_t i = job->place; i > 0; i -= i & (~i + 1)) {
        before += team->levels[level].counts[i - 1];
    }
    return before;
}
