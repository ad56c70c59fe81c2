/* Scheduler, estimates: when a request will be answered, and whether that is soon enough. From
 * playing what waits and what is to be expected: forecast.h. See scheduler.h. */
#include "policy/forecast.h"
#include "policy/scheduler_priv.h"

#include <string.h>

#define PLAY_AGAIN_MS 1000 /* however little has changed */

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* By insertion: they are few, and this happens for every estimate of every future. */
static void sort_ms(int64_t times[FORECAST_FUTURES])
{
    for (size_t i = 1; i < FORECAST_FUTURES; i++) {
        int64_t time = times[i];
        size_t at = i;
        for (; at > 0 && times[at - 1] > time; at--) {
            times[at] = times[at - 1];
        }
        times[at] = time;
    }
}

/* The time that is at most a slot time away from as many of the futures as can be. */
static int64_t likely_ms(const struct scheduler *scheduler, const struct place *place)
{
    const struct budget_options *budget = &scheduler->options.budget;
    int64_t width_ms = 2 * budget->window_ms / (int64_t)budget->requests;
    int64_t times[FORECAST_FUTURES];
    int64_t likely = 0;
    size_t most = 0;

    memcpy(times, place->answered_ms, sizeof(times));
    sort_ms(times);
    for (size_t from = 0, to = 0; from < FORECAST_FUTURES; from++) {
        while (to + 1 < FORECAST_FUTURES && times[to + 1] - times[from] <= width_ms) {
            to++;
        }
        if (to - from + 1 > most) {
            most = to - from + 1;
            likely = times[from] + (times[to] - times[from]) / 2;
        }
    }
    return likely;
}

/* A team that can never begin a call, as things are: others have reserved all slots, or it may
 * have none. */
static bool is_shut_out(const struct scheduler *scheduler, size_t team)
{
    const struct scheduler_team *options = &scheduler->teams[team].options;
    int64_t others = scheduler->reserved - options->reserved;

    return options->max < 1 || (int64_t)scheduler->options.budget.requests - others < 1;
}

/* When a request is answered that so many of its team go before: they go on at the pace of those
 * in the future that was played last, or as fast as slots come free. */
static int64_t beyond_ms(const struct scheduler *scheduler, size_t team, size_t ahead)
{
    const struct forecast *forecast = scheduler->forecast;
    size_t played = forecast_given(forecast, team);
    double given = played > 0 ? (double)played : 1;
    double times = (double)ahead > given ? (double)ahead / given : 1;
    double passed_ms = times * (double)forecast_passed_ms(forecast);
    int64_t free_ms;

    if (is_shut_out(scheduler, team)) {
        return scheduler->now_ms + 1000 * scheduler->options.budget.window_ms;
    }
    free_ms =
        budget_estimate_ms(scheduler->budget, (size_t)(times * (double)forecast_calls(forecast)),
                           scheduler->latency_ms, scheduler->now_ms);

    free_ms = min64(free_ms, FORECAST_NEVER);
    return max64(scheduler->now_ms + (int64_t)passed_ms, free_ms) + scheduler->latency_ms;
}

/* Of a request that was not reached: at the latest when its team's turn comes, or when that of
 * the company does that it has. */
static int64_t late_ms(const struct scheduler *scheduler, size_t team, const struct group *group,
                       size_t devices)
{
    const struct team_queue *queue = &scheduler->teams[team];
    int64_t late = beyond_ms(scheduler, team, queue->queued + queue->held);
    const struct job *first;

    if (group == NULL || group->ready_jobs == 0 ||
        group->pending + group->held + devices > scheduler->options.max_devices) {
        return late;
    }
    first = lane_first(heap_first(&group->ready));
    return min64(late, beyond_ms(scheduler, first->team, scheduler_position(scheduler, first)));
}

/* Expected time of the answer to a request that is not in the queue. */
static int64_t play_new(struct scheduler *scheduler, size_t team, struct group *group,
                        size_t devices)
{
    struct forecast *forecast = scheduler->forecast;
    struct place *place;

    scheduler->played = UINT64_MAX; /* what it says of others is gone */
    (void)forecast_look(forecast, &place);
    place = forecast_add(forecast, team, group, devices);
    for (size_t i = 0; i < FORECAST_FUTURES; i++) {
        forecast_begin(forecast, i);
        while (place->left > 0) {
            if (!forecast_step(forecast)) {
                return late_ms(scheduler, team, group, devices);
            }
        }
    }
    return likely_ms(scheduler, place);
}

/* Tells the jobs that were answered in all futures. */
static void tell(struct scheduler *scheduler, const struct place *places, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct place *place = &places[i];
        bool answered = place->job != NULL;
        for (size_t k = 0; k < FORECAST_FUTURES; k++) {
            answered = answered && place->answered_ms[k] < FORECAST_NEVER;
        }
        if (answered) {
            place->job->due_ms = likely_ms(scheduler, place);
            place->job->due_at = scheduler->changes;
        }
    }
}

/* Plays what waits until this job is answered; all of it if it is NULL, or too far behind. */
static void play_queue(struct scheduler *scheduler, const struct job *job)
{
    struct forecast *forecast = scheduler->forecast;
    const struct place *until = NULL;
    struct place *places;
    size_t count = forecast_look(forecast, &places);

    for (size_t i = 0; i < count && job != NULL; i++) {
        until = places[i].job == job ? &places[i] : until;
    }
    for (size_t i = 0; i < FORECAST_FUTURES; i++) {
        bool goes_on = true;
        forecast_begin(forecast, i);
        while (goes_on && (until != NULL ? until->left > 0 : !forecast_is_done(forecast))) {
            goes_on = forecast_step(forecast);
        }
    }
    tell(scheduler, places, count);
    scheduler->played_all = until == NULL;
}

/* Many ask, and little changes meanwhile: who was told is not played again. */
int64_t scheduler_eta_ms(struct scheduler *scheduler, const struct job *job, int64_t now_ms)
{
    int64_t due_ms;

    scheduler->now_ms = now_ms;
    if (job->left == 0) {
        return scheduler->latency_ms; /* under way */
    }
    if (scheduler->played != scheduler->changes || now_ms >= scheduler->played_ms + PLAY_AGAIN_MS) {
        scheduler->played = ++scheduler->changes;
        scheduler->played_ms = now_ms;
        play_queue(scheduler, job);
    } else if (job->due_at != scheduler->changes && !scheduler->played_all) {
        play_queue(scheduler, NULL);
    }
    due_ms = job->due_at == scheduler->changes
                 ? job->due_ms
                 : beyond_ms(scheduler, job->team, scheduler_position(scheduler, job));
    return max64(due_ms - now_ms, scheduler->latency_ms);
}

enum err scheduler_ask(struct scheduler *scheduler, size_t team, const struct action *action,
                       int64_t wait_ms, int64_t now_ms, int64_t *ret_eta_ms, bool *ret_would_share)
{
    const struct team_queue *queue = &scheduler->teams[team];
    struct group *group = group_find(scheduler, action);
    const struct job *first;

    scheduler->now_ms = now_ms;
    *ret_would_share = group != NULL && group->pending + group->held > 0;
    if (queue->queued + queue->held >= queue->options.queue_limit) {
        first = order_next(queue, NULL);
        *ret_eta_ms = first != NULL ? scheduler_eta_ms(scheduler, first, now_ms)
                                    : scheduler_team_eta_ms(scheduler, team, now_ms);
        return ERR_FULL;
    }
    *ret_eta_ms = play_new(scheduler, team, group, action->device_count) - now_ms;
    return wait_ms >= 0 && *ret_eta_ms > wait_ms ? ERR_UNAVAILABLE : OK;
}

enum err scheduler_admit(struct scheduler *scheduler, size_t team, const struct action *action,
                         int64_t wait_ms, int64_t now_ms, int64_t *ret_eta_ms)
{
    bool would_share;
    enum err err =
        scheduler_ask(scheduler, team, action, wait_ms, now_ms, ret_eta_ms, &would_share);

    if (err == OK) {
        group_hold(scheduler, group_get(scheduler, action), team, action->device_count);
        scheduler->teams[team].held++;
    }
    return err;
}

int64_t scheduler_team_eta_ms(struct scheduler *scheduler, size_t team, int64_t now_ms)
{
    scheduler->now_ms = now_ms;
    return play_new(scheduler, team, NULL, 1) - now_ms;
}
