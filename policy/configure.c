/* Scheduler, other options while it is in use: see scheduler_configure(). Jobs, groups, lanes and
 * charges know their team by its number, which stays; so a team that is no more leaves a number
 * behind, until the owner gives it to another. */
#include "policy/forecast.h"
#include "policy/scheduler_priv.h"

#include <assert.h>
#include <stdlib.h>

const struct scheduler_team scheduler_no_team = {.weight = 1};

void teams_add(struct scheduler *scheduler, const struct scheduler_team *teams, size_t count)
{
    size_t before = scheduler->team_count;
    struct team_queue *queues = xcalloc(before + count, sizeof(*queues));

    for (size_t i = 0; i < before; i++) {
        queues[i] = scheduler->teams[i];
        order_move(&queues[i], &scheduler->teams[i]);
    }
    for (size_t i = before; i < before + count; i++) {
        queues[i].options = teams[i - before];
        order_init(&queues[i]);
        heap_init(&queues[i].ripe, lane_has_priority, offsetof(struct lane, ripe_place));
    }
    free(scheduler->teams);
    scheduler->teams = queues;
    scheduler->team_count = before + count;
}

static void change_teams(struct scheduler *scheduler, const struct scheduler_options *options)
{
    size_t before = scheduler->team_count;

    assert(options->team_count >= before);
    for (size_t i = 0; i < before; i++) {
        scheduler->teams[i].options = options->teams[i];
    }
    if (options->team_count > before) {
        teams_add(scheduler, options->teams + before, options->team_count - before);
    }
}

int64_t scheduler_configure(struct scheduler *scheduler, const struct scheduler_options *options,
                            int64_t now_ms)
{
    int64_t pause_ms = budget_configure(scheduler->budget, &options->budget, now_ms);
    int64_t longer_ms = options->budget.window_ms - scheduler->options.budget.window_ms;

    assert(options->max_devices >= 1 && options->linger_ms >= 0);
    scheduler->now_ms = now_ms;
    share_expire(scheduler);
    share_shift(scheduler, longer_ms);
    scheduler_pause(scheduler, pause_ms);
    scheduler->options = *options;
    scheduler->options.teams = NULL;
    change_teams(scheduler, options);
    share_init(scheduler);
    groups_linger_anew(scheduler);
    scheduler->forecast = forecast_renew(scheduler->forecast);
    scheduler->changes++;
    scheduler->played = UINT64_MAX;
    return pause_ms;
}

bool scheduler_team_idle(struct scheduler *scheduler, size_t team, int64_t now_ms)
{
    const struct team_queue *queue = &scheduler->teams[team];

    scheduler->now_ms = now_ms;
    share_expire(scheduler);
    return queue->queued == 0 && queue->held == 0 && queue->used == 0;
}
