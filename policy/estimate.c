/* Scheduler, estimates: when a request will be answered, by what is known now. The queue is not
 * replayed request by request: what counts is how many calls go before, and that is kept up to
 * date group by group as requests come and go. See scheduler.h. */
#include "policy/scheduler_priv.h"

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static double min_of(double a, double b)
{
    return a < b ? a : b;
}

size_t calls_needed(const struct scheduler *scheduler, size_t devices)
{
    return (16 * devices + scheduler->devices_fit - 1) / scheduler->devices_fit;
}

/* Averages over past calls: how many devices fit where there is no lack of them, and how often
 * teams share a call. */
void estimate_learn(struct scheduler *scheduler, const struct batch *batch)
{
    bool mixed = false;

    for (size_t i = 1; i < batch->part_count; i++) {
        mixed = mixed || batch->parts[i].job->team != batch->parts[0].job->team;
    }
    scheduler->mixed = (15 * scheduler->mixed + (mixed ? 1024 : 0)) / 16;
    if (batch->group->pending > 0 && !batch->parts[0].job->alone) {
        scheduler->devices_fit = (7 * scheduler->devices_fit + 16 * batch->device_count) / 8;
    }
}

/* Slots of a window that a team can get at all: up to its maximum, and not what the others have
 * reserved. */
static int64_t most_slots(const struct scheduler *scheduler, const struct team_queue *team)
{
    int64_t most = (int64_t)scheduler->options.budget.requests -
                   (scheduler->reserved - team->options.reserved);

    return most < team->options.max ? most : team->options.max;
}

/* Calls of a team that fair queueing lets pass before one with that start tag: of those that wait
 * now, and of those that it will ask for within wait_windows, if it goes on as it did. */
static double calls_passing(const struct scheduler *scheduler, const struct team_queue *team,
                            double start, double waiting, double wait_windows)
{
    double lead = start - (double)max64(scheduler->virtual_time, team->finish);
    double turns =
        lead < 0 ? 0
                 : (double)(int64_t)(lead * (double)team->options.weight / (double)SCHEDULER_SHARE);
    double alone = 1 - (double)scheduler->mixed / 1024;
    double coming = alone * wait_windows * (double)team->used / (double)SCHEDULER_SHARE;

    double most = (double)most_slots(scheduler, team);
    double left = most - (double)team->used / (double)SCHEDULER_SHARE;
    double allowed = (left > 0 ? left : 0) + wait_windows * most;

    if (waiting > turns) { /* of equal tags, those that wait go first */
        return lead < 0 ? 0 : min_of(allowed, min_of(waiting, turns + 1));
    }
    return min_of(allowed, min_of(waiting + coming, turns));
}

/* Its own, and as many of each other team as fair queueing lets pass meanwhile. How long that is
 * depends on how many they are: found by going round. */
static size_t calls_before_more(const struct scheduler *scheduler, size_t index, size_t more)
{
    const struct team_queue *own = &scheduler->teams[index];
    size_t mine = (own->in_calls > own->calls ? own->in_calls : own->calls) + more;
    double start =
        (double)max64(scheduler->virtual_time, own->finish) +
        (double)(own->calls + more) * (double)SCHEDULER_SHARE / (double)own->options.weight;
    double requests = (double)scheduler->options.budget.requests;
    double free_slots = (double)budget_free_slots(scheduler->budget, scheduler->now_ms);
    double others = scheduler->calls > mine ? (double)(scheduler->calls - mine) : 0;
    double theirs = 0;
    double before = (double)mine;

    for (size_t i = 0; i < scheduler->team_count; i++) {
        theirs += i != index ? (double)scheduler->teams[i].in_calls : 0;
    }
    for (int round = 0; round < 5; round++) {
        double sum = (double)mine;
        double windows = before > free_slots ? (before - free_slots) / requests : 0;
        for (size_t i = 0; i < scheduler->team_count; i++) {
            const struct team_queue *team = &scheduler->teams[i];
            /* Of calls that teams share, each counts for one of them. */
            double waiting =
                theirs > others ? (double)team->in_calls * others / theirs : (double)team->in_calls;
            sum += i != index ? calls_passing(scheduler, team, start, waiting, windows) : 0;
        }
        before = sum;
    }
    return (size_t)(before + 0.5);
}

size_t calls_before(const struct scheduler *scheduler, size_t team)
{
    return calls_before_more(scheduler, team, 0);
}

/* The number, from now on, of the call that will carry devices more of a group, or of a kind that
 * has no group yet; and how long that call still lingers. */
static size_t call_number(const struct scheduler *scheduler, size_t team, const struct group *group,
                          size_t devices, int64_t *ret_linger_ms)
{
    size_t ahead = group != NULL ? group->pending + group->held : 0;
    size_t more;
    size_t first;

    *ret_linger_ms = 0;
    if (ahead == 0) {
        return calls_before_more(scheduler, team, calls_needed(scheduler, devices) - 1);
    }
    first = group->due > scheduler->taken_count ? (size_t)(group->due - scheduler->taken_count) : 0;
    if (!group->ripe && ahead + devices < scheduler->options.max_devices) {
        *ret_linger_ms = max64(0, group_expected_ms(scheduler, group) - scheduler->now_ms);
    }
    more = calls_needed(scheduler, ahead + devices) - 1;
    if (more > 0) {
        first += calls_before_more(scheduler, team, more) - calls_before_more(scheduler, team, 0);
    }
    /* Company is no disadvantage: at the latest it goes when its own team's turn comes. */
    return min_size(first,
                    calls_before_more(scheduler, team, calls_needed(scheduler, devices) - 1));
}

/* How long the team's own limits hold up a call that comes after so many others of its own: until
 * enough of the slots it uses have come free. */
static int64_t limit_wait_ms(const struct scheduler *scheduler, size_t index, size_t ahead)
{
    const struct team_queue *team = &scheduler->teams[index];
    int64_t window_ms = scheduler->options.budget.window_ms;
    int64_t most = most_slots(scheduler, team);
    int64_t missing = team->used + ((int64_t)ahead + 1) * SCHEDULER_SHARE - most * SCHEDULER_SHARE;
    int64_t used = team->used;

    if (most < 1) {
        return 1000 * window_ms; /* never, as things are */
    }
    if (most == (int64_t)scheduler->options.budget.requests) {
        return 0; /* held up by the budget alone */
    }
    for (const struct charge *charge = scheduler->charges; charge != NULL && missing > 0;
         charge = charge->next) {
        for (size_t i = 0; i < charge->count; i++) {
            missing -= charge->shares[i].team == index ? charge->shares[i].share : 0;
            used -= charge->shares[i].team == index ? charge->shares[i].share : 0;
        }
        if (missing <= 0) {
            return max64(0, charge->free_ms - scheduler->now_ms);
        }
    }
    if (missing <= 0) {
        return 0;
    }
    /* What is under way comes free a window after its answer; more than that, a window later for
     * as many calls as the team may have in one. */
    missing -= used;
    return scheduler->latency_ms + window_ms +
           (missing > 0 ? (missing + most * SCHEDULER_SHARE - 1) / (most * SCHEDULER_SHARE) : 0) *
               window_ms;
}

static int64_t eta_of(const struct scheduler *scheduler, size_t team, size_t number,
                      int64_t linger_ms)
{
    int64_t now = scheduler->now_ms;
    int64_t leaves = budget_estimate_ms(scheduler->budget, number, scheduler->latency_ms, now);
    size_t ahead = min_size(scheduler->teams[team].in_calls, number);
    int64_t wait_ms = max64(max64(leaves, scheduler->paused_ms) - now, linger_ms);

    return max64(wait_ms, limit_wait_ms(scheduler, team, ahead)) + scheduler->latency_ms;
}

static int64_t eta_of_new(const struct scheduler *scheduler, size_t team,
                          const struct action *action, bool *ret_would_share)
{
    const struct group *group = group_find(scheduler, action);
    int64_t linger_ms;
    size_t number = call_number(scheduler, team, group, action->device_count, &linger_ms);

    *ret_would_share = group != NULL && group->pending + group->held > 0;
    return eta_of(scheduler, team, number, linger_ms);
}

enum err scheduler_ask(struct scheduler *scheduler, size_t team, const struct action *action,
                       int64_t wait_ms, int64_t now_ms, int64_t *ret_eta_ms, bool *ret_would_share)
{
    const struct team_queue *queue = &scheduler->teams[team];

    scheduler->now_ms = now_ms;
    *ret_eta_ms = eta_of_new(scheduler, team, action, ret_would_share);
    if (queue->queued + queue->held >= queue->options.queue_limit) {
        *ret_eta_ms = eta_of(scheduler, team, 0, 0);
        return ERR_FULL;
    }
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
    return eta_of(scheduler, team, calls_before(scheduler, team), 0);
}

size_t scheduler_position(const struct scheduler *scheduler, const struct job *job)
{
    int64_t left = (int64_t)(scheduler->teams[job->team].departed - job->departed);
    int64_t ahead = (int64_t)job->ahead - left;

    return ahead > 0 ? (size_t)ahead : 0;
}

int64_t scheduler_eta_ms(const struct scheduler *scheduler, const struct job *job, int64_t now_ms)
{
    const struct group *group = job->group;
    int64_t linger_ms = 0;
    size_t number;

    if (job->left == 0) {
        return scheduler->latency_ms; /* under way */
    }
    if (job->lane_place == 0) { /* blocked or delayed: as if it came now */
        number = calls_before(scheduler, job->team);
    } else {
        number =
            group->due > scheduler->taken_count ? (size_t)(group->due - scheduler->taken_count) : 0;
        linger_ms = group->ripe ? 0 : max64(0, group_expected_ms(scheduler, group) - now_ms);
    }
    return eta_of(scheduler, job->team, number, linger_ms);
}
