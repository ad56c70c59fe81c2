/* Scheduler, the teams' shares: start-time fair queueing over slots, with reservations and caps
 * decided by eligibility. See scheduler.h. */
#include "policy/scheduler_priv.h"

#include <stdlib.h>

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* What of a team's reservation it does not use at present. */
static int64_t unmet(const struct team_queue *team)
{
    return max64(0, team->options.reserved * SCHEDULER_SHARE - team->used);
}

static void change_used(struct scheduler *scheduler, size_t index, int64_t by)
{
    struct team_queue *team = &scheduler->teams[index];
    int64_t before = unmet(team);

    team->used += by;
    scheduler->unmet += unmet(team) - before;
}

void share_init(struct scheduler *scheduler)
{
    scheduler->reserved = scheduler->unmet = 0;
    for (size_t i = 0; i < scheduler->team_count; i++) {
        scheduler->reserved += scheduler->teams[i].options.reserved;
        scheduler->unmet += unmet(&scheduler->teams[i]);
    }
}

/* A team may start a call if that keeps it within its maximum, and leaves as many slots as the
 * others have reserved and not used. */
static bool eligible(const struct scheduler *scheduler, const struct team_queue *team,
                     size_t free_slots)
{
    int64_t kept = scheduler->unmet - unmet(team);

    return team->used + SCHEDULER_SHARE <= team->options.max * SCHEDULER_SHARE &&
           (int64_t)free_slots * SCHEDULER_SHARE - kept >= SCHEDULER_SHARE;
}

size_t share_choose_team(const struct scheduler *scheduler, size_t free_slots)
{
    size_t best = SIZE_MAX;
    int64_t best_start = 0;
    uint64_t best_order = 0;

    for (size_t i = 0; i < scheduler->team_count; i++) {
        const struct team_queue *team = &scheduler->teams[i];
        const struct lane *lane = heap_first(&team->ripe);
        int64_t start = max64(scheduler->virtual_time, team->finish);
        const struct job *first;
        if (lane == NULL || !eligible(scheduler, team, free_slots)) {
            continue;
        }
        first = lane_first(lane);
        if (best == SIZE_MAX || start < best_start ||
            (start == best_start && first->order < best_order)) {
            best = i;
            best_start = start;
            best_order = first->order;
        }
    }
    return best;
}

void share_charge(struct scheduler *scheduler, const struct batch *batch, size_t seed_team)
{
    scheduler->virtual_time = max64(scheduler->virtual_time, scheduler->teams[seed_team].finish);
    for (size_t i = 0; i < batch->part_count; i++) {
        size_t index = batch->parts[i].job->team;
        struct team_queue *team = &scheduler->teams[index];
        team->finish = max64(scheduler->virtual_time, team->finish) +
                       batch->parts[i].share / team->options.weight;
        change_used(scheduler, index, batch->parts[i].share);
    }
}

void share_refund(struct scheduler *scheduler, const struct batch *batch)
{
    for (size_t i = 0; i < batch->part_count; i++) {
        size_t index = batch->parts[i].job->team;
        struct team_queue *team = &scheduler->teams[index];
        team->finish -= batch->parts[i].share / team->options.weight;
        change_used(scheduler, index, -batch->parts[i].share);
    }
}

/* Charges stand in the order in which they end; nearly always a new one is the last. */
static void insert_charge(struct scheduler *scheduler, struct charge *charge)
{
    struct charge **link = &scheduler->charges;

    if (scheduler->last_charge != NULL && scheduler->last_charge->free_ms <= charge->free_ms) {
        link = &scheduler->last_charge->next;
    }
    while (*link != NULL && (*link)->free_ms <= charge->free_ms) {
        link = &(*link)->next;
    }
    charge->next = *link;
    *link = charge;
    if (charge->next == NULL) {
        scheduler->last_charge = charge;
    }
}

void share_release_at(struct scheduler *scheduler, const struct batch *batch, int64_t free_ms)
{
    struct charge *charge =
        xcalloc(1, sizeof(*charge) + batch->part_count * sizeof(charge->shares[0]));

    charge->free_ms = free_ms;
    for (size_t i = 0; i < batch->part_count; i++) {
        size_t team = batch->parts[i].job->team;
        size_t k = 0;
        while (k < charge->count && charge->shares[k].team != team) {
            k++;
        }
        charge->count += k == charge->count ? 1 : 0;
        charge->shares[k].team = team;
        charge->shares[k].share += batch->parts[i].share;
    }
    insert_charge(scheduler, charge);
}

void scheduler_restore_share(struct scheduler *scheduler, size_t team, int64_t share,
                             int64_t free_ms, int64_t now_ms)
{
    struct charge *charge = xcalloc(1, sizeof(*charge) + sizeof(charge->shares[0]));

    scheduler->now_ms = now_ms;
    charge->free_ms = free_ms;
    charge->count = 1;
    charge->shares[0].team = team;
    charge->shares[0].share = share;
    change_used(scheduler, team, share);
    insert_charge(scheduler, charge);
}

void share_expire(struct scheduler *scheduler)
{
    struct charge *charge;

    while ((charge = scheduler->charges) != NULL && charge->free_ms <= scheduler->now_ms) {
        for (size_t i = 0; i < charge->count; i++) {
            change_used(scheduler, charge->shares[i].team, -charge->shares[i].share);
        }
        scheduler->charges = charge->next;
        if (charge->next == NULL) {
            scheduler->last_charge = NULL;
        }
        free(charge);
    }
}

void share_shift(struct scheduler *scheduler, int64_t by_ms)
{
    for (struct charge *charge = scheduler->charges; charge != NULL; charge = charge->next) {
        charge->free_ms += by_ms;
    }
}

int64_t scheduler_team_used(struct scheduler *scheduler, size_t team, int64_t now_ms)
{
    scheduler->now_ms = now_ms;
    share_expire(scheduler);
    return scheduler->teams[team].used;
}
