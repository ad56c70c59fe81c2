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
    struct team_queue *before = scheduler->teams;
    size_t had = scheduler->team_count;

    scheduler->team_count += count;
    scheduler->teams = xcalloc(scheduler->team_count, sizeof(*scheduler->teams));
    for (size_t i = 0; i < had; i++) {
        scheduler->teams[i] = before[i];
        order_move(&scheduler->teams[i], &before[i]);
    }
    free(before);
    for (size_t i = 0; i < count; i++) {
        struct team_queue *team = &scheduler->teams[had + i];
        team->options = teams[i];
        order_init(team);
        heap_init(&team->ripe, lane_has_priority, offsetof(struct lane, ripe_place));
    }
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
    forecast_configure(scheduler->forecast);
    scheduler->changes++;
    groups_linger_anew(scheduler);
    return pause_ms;
}

bool scheduler_team_idle(struct scheduler *scheduler, size_t team, int64_t now_ms)
{
    const struct team_queue *queue = &scheduler->teams[team];

    scheduler->now_ms = now_ms;
    share_expire(scheduler);
    return queue->queued == 0 && queue->held == 0 && queue->used == 0;
}
