/* Forecast: see forecast.h. What is played is simpler than what happens: a device that two ask for
 * counts twice, requests that wait for one another go as soon as there is room, and what a call
 * leaves behind does not linger. */
#include "policy/forecast.h"

#include "policy/scheduler_priv.h"

#include <stdlib.h>

#define MAX_WAITING   128 /* requests that are looked at, the oldest, */
#define LEAST_OF_TEAM 8   /* but of each team at least so many */
#define MAX_HELD      32  /* kinds of requests that were admitted and are not in the queue yet */
#define MAX_COMING    64  /* requests that are expected */
#define MAX_CALLS     64
#define HISTORY       64

/* A team while it is played. */
struct turn {
    struct place *first;
    struct place **last;
    int64_t finish;
    int64_t used;
    size_t known; /* requests that wait and are not given yet */
    size_t given;
    /* While the queue is looked at. */
    struct job *job; /* the next one; in the end, the first that is not looked at */
    size_t looked_at;
};

struct part {
    struct place *place;
    size_t count;
};

/* What a team gets back when a slot comes free. */
struct refund {
    int64_t free_ms;
    size_t team;
    int64_t share;
};

/* A request that came. */
struct arrival {
    struct group *group;
    size_t team;
    size_t devices;
    int64_t at_ms;
};

struct forecast {
    const struct scheduler *scheduler;
    struct arrival history[HISTORY]; /* a ring */
    size_t history_count;
    struct place *places;
    size_t waiting; /* the first of them; the others are expected */
    /* While it is played. */
    uint64_t play; /* marks groups that were met */
    size_t future;
    size_t place_count;
    size_t coming;     /* requests that came, or would have */
    int64_t coming_ms; /* the next one */
    size_t left;       /* places that wait and are not answered */
    int64_t now_ms;
    int64_t virtual_time;
    size_t calls;
    int64_t slots[MAX_CALLS]; /* when they come free: a ring from first_slot on */
    size_t slot_count;
    size_t first_slot;
    struct part *parts; /* of the call that is made */
    size_t part_count;
    bool limited;                /* teams have maxima or reservations */
    const struct charge *charge; /* of calls that were answered: the next that comes free */
    struct refund *refunds;      /* of other calls, in order of time */
    size_t refund_count;
    size_t next_refund;
    struct turn turns[];
};

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Not so a team that is no more. */
static bool is_there(const struct scheduler *scheduler, size_t team)
{
    return scheduler->teams[team].options.queue_limit > 0;
}

struct forecast *forecast_new(const struct scheduler *scheduler)
{
    size_t teams = scheduler->team_count;
    size_t places = MAX_WAITING + LEAST_OF_TEAM * teams + MAX_HELD + 2 + MAX_COMING;
    struct forecast *forecast = xcalloc(1, sizeof(*forecast) + teams * sizeof(forecast->turns[0]));

    forecast->scheduler = scheduler;
    forecast->limited = scheduler->reserved > 0;
    for (size_t i = 0; i < teams; i++) {
        const struct scheduler_team *team = &scheduler->teams[i].options;
        bool limited =
            is_there(scheduler, i) && team->max < (int64_t)scheduler->options.budget.requests;
        forecast->limited = forecast->limited || limited;
    }
    forecast->places = xcalloc(places, sizeof(*forecast->places));
    forecast->parts = xcalloc(places, sizeof(*forecast->parts));
    /* Each request is given once, and what is left of the last one of each call. */
    forecast->refunds = xcalloc(teams + places + MAX_CALLS, sizeof(*forecast->refunds));
    return forecast;
}

void forecast_free(struct forecast *forecast)
{
    free(forecast->places);
    free(forecast->parts);
    free(forecast->refunds);
    free(forecast);
}

struct forecast *forecast_renew(struct forecast *before_take)
{
    struct forecast *forecast = forecast_new(before_take->scheduler);
    size_t count = min_size(before_take->history_count, HISTORY);

    forecast->play = before_take->play; /* what groups are marked with */
    for (size_t i = before_take->history_count - count; i < before_take->history_count; i++) {
        const struct arrival *arrival = &before_take->history[i % HISTORY];
        if (is_there(forecast->scheduler, arrival->team)) {
            forecast->history[forecast->history_count++] = *arrival;
        } else {
            arrival->group->noted--;
        }
    }
    forecast_free(before_take);
    return forecast;
}

size_t forecast_calls(const struct forecast *forecast)
{
    return forecast->calls;
}

bool forecast_is_done(const struct forecast *forecast)
{
    return forecast->left == 0;
}

size_t forecast_given(const struct forecast *forecast, size_t team)
{
    return forecast->turns[team].given;
}

int64_t forecast_passed_ms(const struct forecast *forecast)
{
    return forecast->now_ms - forecast->scheduler->now_ms;
}

/* ---- What waits ---- */

/* Of all teams' next jobs the one that came first and is to be looked at. */
static struct turn *next_turn(struct forecast *forecast)
{
    size_t most = forecast->waiting < MAX_WAITING ? SIZE_MAX : LEAST_OF_TEAM;
    struct turn *first = NULL;

    for (size_t i = 0; i < forecast->scheduler->team_count; i++) {
        struct turn *turn = &forecast->turns[i];
        if (turn->job != NULL && turn->looked_at < most &&
            (first == NULL || turn->job->order < first->job->order)) {
            first = turn;
        }
    }
    return first;
}

/* Until when a request lingers that goes with a group, or with none. */
static int64_t ready_ms_of(const struct scheduler *scheduler, const struct group *group,
                           size_t devices)
{
    int64_t requests = (int64_t)scheduler->options.budget.requests;
    int64_t used;

    if (group != NULL && group->ready_jobs > 0) {
        bool full = group->pending + devices >= scheduler->options.max_devices;
        return group->ripe || full ? scheduler->now_ms : group_expected_ms(scheduler, group);
    }
    used = requests - (int64_t)budget_free_slots(scheduler->budget, scheduler->now_ms);
    return scheduler->now_ms + scheduler->options.linger_ms * used / requests;
}

/* behind: it begins no call, for more of its team wait before it than are looked at. */
static struct place *add(struct forecast *forecast, size_t team, struct group *group,
                         size_t devices, int64_t ready_ms, bool behind)
{
    struct place *place = &forecast->places[forecast->waiting++];

    *place = (struct place){
        .group = group, .team = team, .devices = devices, .ready_ms = ready_ms, .behind = behind};
    for (size_t i = 0; i < FORECAST_FUTURES; i++) {
        place->answered_ms[i] = FORECAST_NEVER;
    }
    forecast->turns[team].looked_at += behind ? 0 : 1;
    return place;
}

static void look_at_jobs(struct forecast *forecast)
{
    struct turn *turn;

    while ((turn = next_turn(forecast)) != NULL) {
        struct job *job = turn->job;
        struct group *group = job->alone ? NULL : job->group;
        bool lingers = group != NULL && job->lane_place != 0 && !group->ripe;
        int64_t ready_ms =
            max64(job->not_before_ms,
                  lingers ? group_expected_ms(forecast->scheduler, group) : INT64_MIN);
        add(forecast, job->team, group, job->left, ready_ms, false)->job = job;
        turn->job = order_next(&forecast->scheduler->teams[job->team], job);
    }
}

size_t forecast_look(struct forecast *forecast, struct place **ret_places)
{
    const struct scheduler *scheduler = forecast->scheduler;
    struct group *group;
    size_t held = 0;

    forecast->waiting = 0;
    for (size_t i = 0; i < scheduler->team_count; i++) {
        forecast->turns[i].looked_at = 0;
        forecast->turns[i].job = order_next(&scheduler->teams[i], NULL);
    }
    look_at_jobs(forecast);
    TAILQ_FOREACH(group, &scheduler->holding, holding)
    {
        if (held++ == MAX_HELD) {
            break;
        }
        (void)add(forecast, group->holder, group, group->held,
                  ready_ms_of(scheduler, group, group->held),
                  forecast->turns[group->holder].job != NULL);
    }
    *ret_places = forecast->places;
    return forecast->waiting;
}

/* Before it goes what its group has that is not looked at. */
struct place *forecast_add(struct forecast *forecast, size_t team, struct group *group,
                           size_t devices)
{
    size_t unseen = group != NULL ? group->pending + group->held : 0;

    for (size_t i = 0; i < forecast->waiting && unseen > 0; i++) {
        const struct place *other = &forecast->places[i];
        unseen -= other->group == group ? min_size(unseen, other->devices) : 0;
    }
    if (unseen > 0) {
        (void)add(forecast, team, group, unseen, 0, true);
    }
    return add(forecast, team, group, devices, ready_ms_of(forecast->scheduler, group, devices),
               forecast->turns[team].job != NULL);
}

/* ---- What will come ---- */

void forecast_note(struct forecast *forecast, struct group *group, size_t team, size_t devices)
{
    struct arrival *arrival = &forecast->history[forecast->history_count % HISTORY];

    if (forecast->history_count++ >= HISTORY) {
        arrival->group->noted--;
    }
    *arrival = (struct arrival){
        .group = group, .team = team, .devices = devices, .at_ms = forecast->scheduler->now_ms};
    group->noted++;
}

/* When the next one comes: as often as the last ones did, on average. A burst is not expected to
 * go on: they are taken to be at least those of a window. */
static void set_next_coming(struct forecast *forecast)
{
    const struct scheduler *scheduler = forecast->scheduler;
    size_t count = min_size(forecast->history_count, HISTORY);
    const struct arrival *oldest = &forecast->history[(forecast->history_count - count) % HISTORY];
    int64_t span_ms = max64(scheduler->now_ms - oldest->at_ms, scheduler->options.budget.window_ms);

    forecast->coming_ms = count < 2 || forecast->coming == MAX_COMING
                              ? FORECAST_NEVER
                              : scheduler->now_ms + span_ms * (2 * (int64_t)forecast->coming + 1) /
                                                        (2 * (int64_t)count);
}

static void append(struct forecast *forecast, struct place *place)
{
    struct turn *turn = &forecast->turns[place->team];
    struct group *group = place->group;

    place->left = place->devices;
    place->next = place->company = NULL;
    if (!place->behind) {
        *turn->last = place;
        turn->last = &place->next;
    }
    if (group != NULL) {
        if (group->play != forecast->play) {
            group->play = forecast->play;
            group->first = NULL;
            group->last = &group->first;
        }
        *group->last = place;
        group->last = &place->company;
    }
}

/* A request of a kind that was asked for again and again goes with those that wait. It is not
 * expected to begin a call: when would depend on how long it lingers. A kind that was asked for
 * once stands for others like it, each with a call of its own. */
static void come(struct forecast *forecast)
{
    size_t count = min_size(forecast->history_count, HISTORY);
    size_t begin = forecast->history_count + forecast->future * count / FORECAST_FUTURES;
    const struct arrival *arrival = &forecast->history[(begin + forecast->coming) % count];
    struct group *group = arrival->group->intervals > 0 ? arrival->group : NULL;
    struct place *place = &forecast->places[forecast->place_count];
    int64_t now_ms = forecast->coming_ms;

    forecast->coming++;
    set_next_coming(forecast);
    if (group != NULL && (group->play != forecast->play || group->first == NULL)) {
        return;
    }
    *place = (struct place){.group = group,
                            .team = arrival->team,
                            .devices = arrival->devices,
                            .ready_ms = group != NULL ? group->first->ready_ms : now_ms,
                            .expected = true};
    append(forecast, place);
    forecast->place_count++;
}

/* ---- Limits of teams: see share.c ---- */

/* What is used and not in the charges belongs to calls under way. */
static void begin_limits(struct forecast *forecast, int64_t period_ms)
{
    const struct scheduler *scheduler = forecast->scheduler;

    forecast->charge = scheduler->charges;
    forecast->refund_count = forecast->next_refund = 0;
    for (size_t i = 0; i < scheduler->team_count; i++) {
        forecast->refunds[forecast->refund_count++] = (struct refund){
            .free_ms = scheduler->now_ms + period_ms, .team = i, .share = scheduler->teams[i].used};
    }
    for (const struct charge *charge = scheduler->charges; charge != NULL; charge = charge->next) {
        for (size_t i = 0; i < charge->count; i++) {
            forecast->refunds[charge->shares[i].team].share -= charge->shares[i].share;
        }
    }
}

static void refund(struct forecast *forecast)
{
    const struct charge *charge;

    for (; (charge = forecast->charge) != NULL && charge->free_ms <= forecast->now_ms;
         forecast->charge = charge->next) {
        for (size_t i = 0; i < charge->count; i++) {
            forecast->turns[charge->shares[i].team].used -= charge->shares[i].share;
        }
    }
    for (; forecast->next_refund < forecast->refund_count; forecast->next_refund++) {
        const struct refund *next = &forecast->refunds[forecast->next_refund];
        if (next->free_ms > forecast->now_ms) {
            break;
        }
        forecast->turns[next->team].used -= next->share;
    }
}

static int64_t next_refund_ms(const struct forecast *forecast)
{
    int64_t next_ms = forecast->charge != NULL ? forecast->charge->free_ms : FORECAST_NEVER;

    return forecast->next_refund < forecast->refund_count
               ? min64(next_ms, forecast->refunds[forecast->next_refund].free_ms)
               : next_ms;
}

static bool eligible(const struct forecast *forecast, size_t team)
{
    const struct scheduler *scheduler = forecast->scheduler;
    int64_t slots = (int64_t)scheduler->options.budget.requests * SCHEDULER_SHARE;
    int64_t used = forecast->turns[team].used;

    for (size_t i = 0; i < scheduler->team_count; i++) {
        int64_t reserved = scheduler->teams[i].options.reserved * SCHEDULER_SHARE;
        slots -= i == team ? used : max64(reserved, forecast->turns[i].used);
    }
    return slots >= SCHEDULER_SHARE &&
           used + SCHEDULER_SHARE <= scheduler->teams[team].options.max * SCHEDULER_SHARE;
}

/* ---- A call ---- */

/* The team's first request that may begin one; else NULL, and *wake_ms is no later than when one
 * may. */
static struct place *first_ready(const struct forecast *forecast, struct turn *turn,
                                 int64_t *wake_ms)
{
    while (turn->first != NULL && turn->first->left == 0) {
        turn->first = turn->first->next;
    }
    if (turn->first == NULL) {
        turn->last = &turn->first;
    }
    for (struct place *place = turn->first; place != NULL; place = place->next) {
        if (place->left > 0 && place->ready_ms <= forecast->now_ms) {
            return place;
        }
        *wake_ms = place->left > 0 ? min64(*wake_ms, place->ready_ms) : *wake_ms;
    }
    return NULL;
}

/* Whose turn it is; of equal teams, whose request came first. */
static struct place *choose(struct forecast *forecast, int64_t *wake_ms)
{
    struct place *best = NULL;
    int64_t best_start = 0;

    for (size_t i = 0; i < forecast->scheduler->team_count; i++) {
        struct turn *turn = &forecast->turns[i];
        int64_t start = max64(forecast->virtual_time, turn->finish);
        struct place *place = first_ready(forecast, turn, wake_ms);
        if (place == NULL || (forecast->limited && !eligible(forecast, i))) {
            continue;
        }
        if (best == NULL || start < best_start || (start == best_start && place < best)) {
            best = place;
            best_start = start;
        }
    }
    return best;
}

static void give(struct forecast *forecast, struct place *place, size_t *room)
{
    size_t count = min_size(place->left, *room);

    forecast->parts[forecast->part_count++] = (struct part){.place = place, .count = count};
    place->left -= count;
    *room -= count;
    if (place->left == 0 && !place->expected) {
        struct turn *turn = &forecast->turns[place->team];
        turn->known -= place->behind ? 0 : 1;
        turn->given++;
        forecast->left--;
        place->answered_ms[forecast->future] = forecast->now_ms + forecast->scheduler->latency_ms;
    }
}

/* The first request, and of its group what fits. */
static void fill(struct forecast *forecast, struct place *seed)
{
    const struct scheduler *scheduler = forecast->scheduler;
    size_t max = scheduler->options.max_devices;
    size_t room = max;
    struct place **link;

    forecast->part_count = 0;
    give(forecast, seed, &room);
    if (seed->group == NULL) {
        return;
    }
    link = &seed->group->first;
    while (*link != NULL) {
        struct place *place = *link;
        int64_t most = scheduler->teams[place->team].options.max * SCHEDULER_SHARE;
        if (place != seed && (place->left <= room || (place->left > max && room > 0)) &&
            (!forecast->limited || forecast->turns[place->team].used < most)) {
            give(forecast, place, &room);
        }
        if (place->left == 0) {
            *link = place->company;
        } else {
            link = &place->company;
        }
    }
    seed->group->last = link;
}

static void charge(struct forecast *forecast, const struct place *seed, int64_t free_ms)
{
    const struct scheduler *scheduler = forecast->scheduler;
    size_t asked = 0;

    forecast->virtual_time = max64(forecast->virtual_time, forecast->turns[seed->team].finish);
    for (size_t i = 0; i < forecast->part_count; i++) {
        asked += forecast->parts[i].count;
    }
    for (size_t i = 0; i < forecast->part_count; i++) {
        size_t team = forecast->parts[i].place->team;
        struct turn *turn = &forecast->turns[team];
        int64_t share = SCHEDULER_SHARE;
        if (forecast->part_count > 1) {
            share = share * (int64_t)forecast->parts[i].count / (int64_t)asked;
        }
        turn->finish = max64(forecast->virtual_time, turn->finish) +
                       share / scheduler->teams[team].options.weight;
        if (forecast->limited) {
            turn->used += share;
            forecast->refunds[forecast->refund_count++] =
                (struct refund){.free_ms = free_ms, .team = team, .share = share};
        }
    }
}

/* ---- Playing ---- */

static int64_t period_ms(const struct scheduler *scheduler)
{
    return scheduler->latency_ms + scheduler->options.budget.window_ms;
}

void forecast_begin(struct forecast *forecast, size_t future)
{
    const struct scheduler *scheduler = forecast->scheduler;

    forecast->play++;
    forecast->future = future;
    forecast->place_count = forecast->left = forecast->waiting;
    forecast->coming = forecast->calls = forecast->first_slot = 0;
    forecast->now_ms = max64(scheduler->now_ms, scheduler->paused_ms);
    forecast->virtual_time = scheduler->virtual_time;
    forecast->slot_count = budget_slot_times(scheduler->budget, scheduler->latency_ms,
                                             scheduler->now_ms, MAX_CALLS, forecast->slots);
    for (size_t i = 0; i < scheduler->team_count; i++) {
        struct turn *turn = &forecast->turns[i];
        turn->first = NULL;
        turn->last = &turn->first;
        turn->finish = scheduler->teams[i].finish;
        turn->used = scheduler->teams[i].used;
        turn->known = turn->looked_at;
        turn->given = 0;
    }
    set_next_coming(forecast);
    for (size_t i = 0; i < forecast->waiting; i++) {
        append(forecast, &forecast->places[i]);
    }
    if (forecast->limited) {
        begin_limits(forecast, period_ms(scheduler));
    }
}

/* Whether a team's next request is one that is not looked at. */
static bool is_over(const struct forecast *forecast)
{
    for (size_t i = 0; i < forecast->scheduler->team_count; i++) {
        if (forecast->turns[i].known == 0 && forecast->turns[i].job != NULL) {
            return true;
        }
    }
    return forecast->calls == MAX_CALLS;
}

/* Goes on to when a request may begin a call. */
static struct place *next_seed(struct forecast *forecast)
{
    int64_t wake_ms = max64(forecast->now_ms, forecast->slots[forecast->first_slot]);
    struct place *seed = NULL;

    while (seed == NULL && wake_ms < FORECAST_NEVER) {
        forecast->now_ms = wake_ms;
        if (forecast->limited) {
            refund(forecast);
        }
        while (forecast->coming_ms <= forecast->now_ms) {
            come(forecast);
        }
        wake_ms = forecast->limited ? min64(forecast->coming_ms, next_refund_ms(forecast))
                                    : forecast->coming_ms;
        seed = choose(forecast, &wake_ms);
    }
    return seed;
}

bool forecast_step(struct forecast *forecast)
{
    struct place *seed = is_over(forecast) ? NULL : next_seed(forecast);
    int64_t free_ms = forecast->now_ms + period_ms(forecast->scheduler);

    if (seed == NULL) {
        return false;
    }
    fill(forecast, seed);
    charge(forecast, seed, free_ms);
    forecast->slots[forecast->first_slot] = free_ms;
    forecast->first_slot = (forecast->first_slot + 1) % forecast->slot_count;
    forecast->calls++;
    return true;
}
