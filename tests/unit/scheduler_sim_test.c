/* Random schedules of the scheduler: thousands of seeds, each a world of its own (teams, requests,
 * latencies, failures, restarts) played on a virtual clock. A failing seed is printed.
 * TOLLGATE_SEEDS=n plays n seeds; TOLLGATE_SEED=n plays that one and says what happens. */
#include "scheduler_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

#define SEEDS 4000

static const struct sim_kind kinds[] = {
    {"exempt", -1, DEVICE_ID},   {"exempt", 24, DEVICE_ID},    {"exempt", 24, DEVICE_MAC},
    {"unexempt", -1, DEVICE_ID}, {"unexempt", -1, DEVICE_MAC}, {"delete", -1, DEVICE_ID},
};

/* ---- Anything goes ---- */

static void draw_teams(struct sim_options *options, uint64_t *random)
{
    int64_t requests = (int64_t)options->scheduler.budget.requests;
    int64_t spare = requests - 1; /* all reserved: the others would wait for ever */

    options->scheduler.team_count = 1 + sim_random(random) % 5;
    for (size_t i = 0; i < options->scheduler.team_count; i++) {
        struct scheduler_team *team = &options->teams[i];
        team->weight = 1 + (int64_t)(sim_random(random) % 4);
        team->max = sim_random(random) % 3 > 0
                        ? requests
                        : 1 + (int64_t)(sim_random(random) % (uint64_t)requests);
        if (sim_random(random) % 3 == 0) {
            team->reserved = (int64_t)(sim_random(random) % (uint64_t)(spare + 1));
            team->reserved = team->reserved > team->max ? team->max : team->reserved;
            spare -= team->reserved;
        }
        team->queue_limit = sim_random(random) % 4 > 0 ? 1000 : 1 + sim_random(random) % 8;
    }
}

static struct sim_options draw_options(uint64_t seed)
{
    static const int64_t windows[] = {1000, 10000, 60000};
    static const int64_t lingers[] = {0, 100, 1000, 5000};
    uint64_t random = seed ^ UINT64_C(0x7011a7e);
    struct sim_options options = {.seed = seed, .check = true, .latency_min_ms = 0, .wait_ms = -1};
    bool faults = sim_random(&random) % 4 > 0;

    options.scheduler.budget.requests = 1 + sim_random(&random) % 12;
    options.scheduler.budget.window_ms = windows[sim_random(&random) % 3];
    options.latency_max_ms = 1 + (int64_t)(sim_random(&random) % 3000);
    options.scheduler.budget.timeout_ms =
        options.latency_max_ms + (int64_t)(sim_random(&random) % 10000);
    options.scheduler.max_devices = 1 + sim_random(&random) % 12;
    options.scheduler.linger_ms = lingers[sim_random(&random) % 4];
    draw_teams(&options, &random);
    for (size_t i = SIM_OK + 1; i < SIM_OUTCOMES && faults; i++) {
        options.per_mille[i] = (unsigned)(sim_random(&random) % 120);
    }
    options.foreign_per_mille = faults ? (unsigned)(sim_random(&random) % 100) : 0;
    options.hold_max_ms = sim_random(&random) % 2 == 0 ? 0 : 50;
    options.wait_ms = sim_random(&random) % 4 == 0 ? 30000 : -1;
    return options;
}

static void draw_requests(struct sim *sim)
{
    size_t max = sim->options.scheduler.max_devices;
    size_t ring = 3 * max + 1 + sim_below(sim, 40);
    size_t count = 5 + sim_below(sim, 45);
    size_t kind_count = 1 + sim_below(sim, sizeof(kinds) / sizeof(kinds[0]));
    int64_t span_ms = sim_between(sim, 1, 3 * sim->options.scheduler.budget.window_ms);

    for (size_t i = 0; i < count; i++) {
        size_t size = sim_below(sim, 4) > 0 ? 1 : 1 + sim_below(sim, 3 * max);
        int64_t at_ms = sim_between(sim, 0, span_ms);
        size_t team = sim_below(sim, sim->options.scheduler.team_count);
        const struct sim_kind *kind = &kinds[sim_below(sim, kind_count)];
        struct sim_request *request =
            sim_plan(sim, at_ms, team, kind, sim_below(sim, ring), size, ring);
        request->job.priority = sim_below(sim, 3) > 0 ? 3 : sim_between(sim, 0, 7);
        request->job.alone = sim_below(sim, 20) == 0;
        if (sim_below(sim, 8) == 0) {
            sim_plan_cancel(sim, at_ms + sim_between(sim, 0, span_ms), request);
        }
    }
    for (size_t i = sim_below(sim, 30); i > 0; i--) {
        sim_plan_poke(sim, sim_between(sim, 0, 2 * span_ms));
    }
    for (size_t i = sim_below(sim, 4) > 0 ? 0 : 1 + sim_below(sim, 3); i > 0; i--) {
        sim_plan_crash(sim, sim_between(sim, 0, span_ms));
    }
}

static void run_seed(uint64_t seed, bool trace)
{
    struct sim_options options = draw_options(seed);
    struct sim *sim;

    options.trace = trace;
    sim = sim_new(&options);
    draw_requests(sim);
    sim_run(sim, INT64_MAX);
    (void)sim_check_limit(sim);
    if (sim->unended > 0) {
        sim_fail(sim, "%zu requests wait for ever", sim->unended);
    }
    for (size_t i = 0; i < sim->request_count; i++) {
        if (sim->requests[i]->times_ended != 1) {
            sim_fail(sim, "request %zu ended %zu times", i, sim->requests[i]->times_ended);
        }
    }
    if (scheduler_depth(sim->scheduler) != 0) {
        sim_fail(sim, "the queue is not empty in the end");
    }
    sim_free(sim);
}

static uint64_t number_of(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);

    return text != NULL ? strtoull(text, NULL, 10) : fallback;
}

static void test_any_schedule(void **state)
{
    uint64_t one = number_of("TOLLGATE_SEED", 0);
    uint64_t seeds = number_of("TOLLGATE_SEEDS", SEEDS);

    (void)state;
    if (one > 0) {
        run_seed(one, true);
        return;
    }
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        run_seed(seed, false);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_schedule),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
