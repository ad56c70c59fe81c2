/* Forecast: plays the queue of a scheduler over the slot times that are known, call by call, as
 * scheduler_next() and batch_make() would. Of the files of the scheduler alone: estimate.c makes
 * estimates of what is played.
 *
 * The first requests of the queue are looked at one by one, so what it costs has a bound. More are
 * expected to come as the last ones did. As nobody knows in which order, that can be played in
 * FORECAST_FUTURES ways: with the same requests, begun at another place of what came before.
 *
 * Pure but for notes in groups that mean nothing elsewhere; time is the scheduler's now_ms. */
#ifndef POLICY_FORECAST_H
#define POLICY_FORECAST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct forecast;
struct group;
struct job;
struct scheduler;

#define FORECAST_FUTURES 4
#define FORECAST_NEVER   (INT64_MAX / 4)

/* A request that waits, or that is expected to come. */
struct place {
    struct job *job;     /* NULL: it is not in the queue */
    struct group *group; /* NULL: it shares no call */
    size_t team;
    size_t devices;
    int64_t ready_ms;                      /* begins no call before */
    bool behind;                           /* begins no call at all */
    int64_t answered_ms[FORECAST_FUTURES]; /* FORECAST_NEVER: that was not played */
    /* While it is played. */
    bool expected;
    size_t left;           /* devices */
    struct place *next;    /* of its team */
    struct place *company; /* next of its group */
};

/* Once the scheduler's teams are set. */
struct forecast *forecast_new(const struct scheduler *scheduler);
void forecast_free(struct forecast *forecast);

/* Another one for the same scheduler, whose options and teams changed; of what it noted, that of
 * teams that still are. */
struct forecast *forecast_renew(struct forecast *before_take);

/* Notes that a request came: others like it are expected. The group is kept while it is noted. */
void forecast_note(struct forecast *forecast, struct group *group, size_t team, size_t devices);

/* Looks at what waits now. Returns the number of places, from *ret_places on. */
size_t forecast_look(struct forecast *forecast, struct place **ret_places);

/* Adds a request behind those that wait. */
struct place *forecast_add(struct forecast *forecast, size_t team, struct group *group,
                           size_t devices);

/* Begins to play one of the futures. */
void forecast_begin(struct forecast *forecast, size_t future);

/* Plays the next call. False: what is looked at does not say which one that is. */
bool forecast_step(struct forecast *forecast);

/* Whether all that waits was answered. */
bool forecast_is_done(const struct forecast *forecast);

/* Of what was played so far: calls, requests of a team that were looked at and given to them, and
 * how long that takes. */
size_t forecast_calls(const struct forecast *forecast);
size_t forecast_given(const struct forecast *forecast, size_t team);
int64_t forecast_passed_ms(const struct forecast *forecast);

#endif
