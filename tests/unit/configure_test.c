/* Other options for a scheduler and its budget in use: random schedules on a virtual clock, played
 * beside a second book that is kept in the plainest way. TOLLGATE_SEED=n plays that one. */
#include "policy/scheduler.h"

#include "common/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

#define SEEDS     500
#define STEPS     400
#define TEAMS_MAX 12
#define KINDS     3
#define IN_FLIGHT INT64_MAX

struct request {
    struct job job;
    struct action action;
    struct action_device device;
    char name[24];
    bool ended;
};

struct call {
    struct batch *batch;
    int64_t counted_ms; /* IN_FLIGHT: not yet */
    int64_t until_ms;   /* it is answered by then */
    int64_t shares[TEAMS_MAX];
    bool charged; /* the teams still pay for it */
    bool nothing; /* nothing of it was sent */
};

struct world {
    uint64_t seed;
    uint64_t random;
    int64_t now_ms;
    struct scheduler *scheduler;
    struct scheduler_options options;
    struct scheduler_team teams[TEAMS_MAX];
    bool gone[TEAMS_MAX];
    struct request *requests[STEPS];
    size_t request_count;
    struct call calls[STEPS];
    size_t call_count;
};

static uint64_t below(struct world *world, uint64_t n)
{
    uint64_t z = (world->random += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (z ^ z >> 31) % n;
}

static void require(const struct world *world, bool good, const char *what)
{
    if (!good) {
        fail_msg("seed %llu, at %lld ms: %s", (unsigned long long)world->seed,
                 (long long)world->now_ms, what);
    }
}

/* ---- Options ---- */

static void draw_options(struct world *world)
{
    static const int64_t windows[] = {500, 1000, 4000, 20000};
    int64_t spare;

    world->options.budget.requests = 1 + below(world, 8);
    world->options.budget.window_ms = windows[below(world, 4)];
    world->options.budget.timeout_ms = 100 + (int64_t)below(world, 3000);
    world->options.max_devices = 1 + below(world, 6);
    world->options.linger_ms = below(world, 2) == 0 ? 0 : (int64_t)below(world, 800);
    spare = (int64_t)world->options.budget.requests - 1;
    for (size_t i = 0; i < world->options.team_count; i++) {
        struct scheduler_team *team = &world->teams[i];
        if (world->gone[i]) {
            *team = scheduler_no_team;
            continue;
        }
        team->weight = 1 + (int64_t)below(world, 5);
        team->max = 1 + (int64_t)below(world, world->options.budget.requests);
        team->reserved = below(world, 4) == 0 && spare > 0 ? 1 : 0;
        team->queue_limit = 1000;
        spare -= team->reserved;
    }
}

static bool has_requests(const struct world *world, size_t team)
{
    for (size_t i = 0; i < world->request_count; i++) {
        if (!world->requests[i]->ended && world->requests[i]->job.team == team) {
            return true;
        }
    }
    return false;
}

static struct call *call_of(struct world *world, const struct job *job)
{
    for (size_t i = 0; i < world->call_count; i++) {
        struct call *call = &world->calls[i];
        for (size_t k = 0; call->batch != NULL && k < call->batch->part_count; k++) {
            if (call->batch->parts[k].job == job) {
                return call;
            }
        }
    }
    return NULL;
}

static void end(struct world *world, struct request *request)
{
    scheduler_end(world->scheduler, &request->job, world->now_ms);
    request->ended = true;
}

/* Teams come and go: one that is no more ends what it has waiting; its number goes to the next
 * team once nothing of it is left. */
static void change_teams(struct world *world)
{
    size_t team = below(world, world->options.team_count);

    if (below(world, 2) == 0 && world->options.team_count > 1 && team > 0) {
        world->gone[team] = true;
    } else if (world->gone[team] && !has_requests(world, team) &&
               scheduler_team_idle(world->scheduler, team, world->now_ms)) {
        world->gone[team] = false;
    } else if (world->options.team_count < TEAMS_MAX) {
        world->options.team_count++;
    }
}

static void expire(struct world *world)
{
    for (size_t i = 0; i < world->call_count; i++) {
        struct call *call = &world->calls[i];
        if (call->counted_ms != IN_FLIGHT &&
            call->counted_ms + world->options.budget.window_ms <= world->now_ms) {
            call->charged = false;
        }
    }
}

static void configure(struct world *world)
{
    expire(world);
    change_teams(world);
    draw_options(world);
    (void)scheduler_configure(world->scheduler, &world->options, world->now_ms);
    for (size_t i = 0; i < world->request_count; i++) {
        struct request *request = world->requests[i];
        if (!request->ended && world->gone[request->job.team] &&
            call_of(world, &request->job) == NULL) {
            end(world, request);
        }
    }
}

/* ---- Requests and calls ---- */

static void add(struct world *world)
{
    static const char *const types[KINDS] = {"unexempt", "ignore", "dhcprenew"};
    struct request *request = xcalloc(1, sizeof(*request));
    size_t team = below(world, world->options.team_count);

    if (world->gone[team]) {
        free(request);
        return;
    }
    (void)snprintf(request->name, sizeof(request->name), "d%zu", world->request_count);
    request->device.canonical = request->name;
    request->action.type = action_type_find(types[below(world, KINDS)]);
    request->action.device_count = 1;
    request->action.devices = &request->device;
    request->job = (struct job){.action = &request->action, .team = team, .priority = 3};
    world->requests[world->request_count++] = request;
    int64_t eta_ms = 0;
    enum err err =
        scheduler_admit(world->scheduler, team, &request->action, -1, world->now_ms, &eta_ms);
    require(world, err == OK && eta_ms >= 0, "a request is not admitted");
    scheduler_add(world->scheduler, &request->job, world->now_ms);
}

/* Calls that the upstream may still count in a window that this moment ends. */
static size_t held(const struct world *world)
{
    size_t count = 0;

    for (size_t i = 0; i < world->call_count; i++) {
        const struct call *call = &world->calls[i];
        count +=
            !call->nothing && (call->counted_ms == IN_FLIGHT ||
                               call->counted_ms + world->options.budget.window_ms > world->now_ms);
    }
    return count;
}

static int64_t used(const struct world *world, size_t team)
{
    int64_t sum = 0;

    for (size_t i = 0; i < world->call_count; i++) {
        sum += world->calls[i].charged ? world->calls[i].shares[team] : 0;
    }
    return sum;
}

static void check_shares(struct world *world)
{
    expire(world);
    for (size_t i = 0; i < world->options.team_count; i++) {
        require(world, scheduler_team_used(world->scheduler, i, world->now_ms) == used(world, i),
                "a team's share is not what its calls make");
    }
}

static void check_turn(const struct world *world, const struct batch *batch, size_t held_before)
{
    size_t team = batch->parts[0].job->team;
    int64_t kept = 0;

    require(world, held_before < world->options.budget.requests, "a call is over the budget");
    require(world, !world->gone[team], "a team that is no more has a call");
    require(world, used(world, team) + SCHEDULER_SHARE <= world->teams[team].max * SCHEDULER_SHARE,
            "a team is over its maximum");
    for (size_t i = 0; i < world->options.team_count; i++) {
        int64_t unmet = world->teams[i].reserved * SCHEDULER_SHARE - used(world, i);
        kept += i != team && unmet > 0 ? unmet : 0;
    }
    require(world,
            (int64_t)(world->options.budget.requests - held_before) * SCHEDULER_SHARE - kept >=
                SCHEDULER_SHARE,
            "a call takes a slot that is reserved");
    require(world, batch->device_count <= world->options.max_devices, "a call is too large");
}

static void drain(struct world *world)
{
    struct batch *batch;
    int64_t wake_ms;

    for (;;) {
        size_t before = held(world);
        check_shares(world);
        batch = scheduler_next(world->scheduler, world->now_ms);
        if (batch == NULL) {
            break;
        }
        check_turn(world, batch, before);
        struct call *call = &world->calls[world->call_count++];
        *call = (struct call){.batch = batch, .counted_ms = IN_FLIGHT, .charged = true};
        call->until_ms = world->now_ms + world->options.budget.timeout_ms;
        for (size_t i = 0; i < batch->part_count; i++) {
            call->shares[batch->parts[i].job->team] += batch->parts[i].share;
        }
    }
    wake_ms = scheduler_wake_ms(world->scheduler, world->now_ms);
    require(world, wake_ms < 0 || wake_ms > world->now_ms, "it would wake at once, for nothing");
}

static void settle(struct world *world, struct call *call)
{
    struct batch *batch = call->batch;
    uint64_t dice = below(world, 10);
    bool back = dice == 0;

    if (back) {
        scheduler_give_back(world->scheduler, batch, world->now_ms);
        call->charged = false;
        call->nothing = true;
        call->counted_ms = world->now_ms;
    } else if (dice == 1) {
        call->counted_ms = world->now_ms;
        scheduler_unanswered(world->scheduler, batch, call->counted_ms, world->now_ms);
    } else {
        call->counted_ms = world->now_ms;
        scheduler_answered(world->scheduler, batch, world->now_ms);
    }
    for (size_t i = 0; i < batch->part_count; i++) {
        struct request *request = (struct request *)batch->parts[i].job;
        if (back && !world->gone[request->job.team]) {
            scheduler_back(world->scheduler, &batch->parts[i], INT64_MIN, false, world->now_ms);
        } else {
            end(world, request);
        }
    }
    call->batch = NULL;
    batch_free(batch);
}

static struct call *random_call(struct world *world)
{
    size_t from = world->call_count > 0 ? below(world, world->call_count) : 0;

    for (size_t i = 0; i < world->call_count; i++) {
        struct call *call = &world->calls[(from + i) % world->call_count];
        if (call->batch != NULL) {
            return call;
        }
    }
    return NULL;
}

/* ---- Playing ---- */

/* Estimates must bear whatever has changed. */
static void estimate(struct world *world)
{
    const struct request *request =
        world->request_count > 0 ? world->requests[below(world, world->request_count)] : NULL;

    for (size_t i = 0; i < world->options.team_count; i++) {
        require(world, scheduler_team_eta_ms(world->scheduler, i, world->now_ms) >= 0,
                "a team's estimate is negative");
    }
    if (request != NULL && !request->ended) {
        require(world, scheduler_position(world->scheduler, &request->job) < STEPS,
                "a position is out of the queue");
        require(world, scheduler_eta_ms(world->scheduler, &request->job, world->now_ms) >= 0,
                "an estimate is negative");
    }
}

/* A call is answered within the timeout that it began with. */
static void pass_time(struct world *world, int64_t ms)
{
    for (size_t i = 0; i < world->call_count; i++) {
        struct call *call = &world->calls[i];
        if (call->batch != NULL && call->until_ms < world->now_ms + ms) {
            settle(world, call);
        }
    }
    world->now_ms += ms;
}

static void step(struct world *world)
{
    struct call *call;

    switch (below(world, 8)) {
    case 0:
    case 1:
    case 2:
        add(world);
        break;
    case 3:
    case 4:
        if ((call = random_call(world)) != NULL) {
            settle(world, call);
        }
        break;
    case 5:
        configure(world);
        break;
    default:
        pass_time(world, (int64_t)below(world, 100));
        break;
    }
    drain(world);
    if (below(world, 8) == 0) {
        estimate(world);
    }
}

/* Nothing is configured any more: all that waits must go. */
static void finish(struct world *world)
{
    for (int i = 0; i < 100000; i++) {
        struct call *call = random_call(world);
        int64_t wake_ms;
        if (call != NULL) {
            settle(world, call);
            drain(world);
            continue;
        }
        wake_ms = scheduler_wake_ms(world->scheduler, world->now_ms);
        if (wake_ms < 0) {
            break;
        }
        world->now_ms = wake_ms;
        drain(world);
    }
    for (size_t i = 0; i < world->request_count; i++) {
        require(world, world->requests[i]->ended, "a request waits for ever");
    }
    require(world, scheduler_depth(world->scheduler) == 0, "the queue is not empty");
}

static void play(uint64_t seed)
{
    struct world *world = xcalloc(1, sizeof(*world));

    world->seed = world->random = seed;
    world->now_ms = 1000;
    world->options.team_count = 1 + below(world, 3);
    world->options.teams = world->teams;
    draw_options(world);
    world->scheduler = scheduler_new(&world->options);
    for (int i = 0; i < STEPS / 2; i++) { /* no more requests, so no more calls than fit */
        step(world);
    }
    finish(world);
    scheduler_free(world->scheduler);
    for (size_t i = 0; i < world->request_count; i++) {
        free(world->requests[i]);
    }
    free(world);
}

static void test_any_schedule(void **state)
{
    const char *one = getenv("TOLLGATE_SEED");

    (void)state;
    if (one != NULL) {
        play(strtoull(one, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        play(seed);
    }
}

/* ---- Examples ---- */

static const struct budget_options two_in_ten = {
    .requests = 2, .window_ms = 10000, .timeout_ms = 1000};

static void test_a_longer_window(void **state)
{
    struct budget *budget = budget_new(&two_in_ten);
    struct budget_options longer = {.requests = 2, .window_ms = 30000, .timeout_ms = 1000};

    (void)state;
    budget_answered(budget, budget_take(budget, 0), 0);
    budget_answered(budget, budget_take(budget, 5000), 5000);
    /* The first came free at 10000, and is forgotten: but it counts until 30000 now. */
    assert_int_equal(budget_configure(budget, &longer, 12000), 30000);
    assert_int_equal(budget_free_slots(budget, 12000), 1);
    assert_int_equal(budget_free_slots(budget, 34999), 1);
    assert_int_equal(budget_free_slots(budget, 35000), 2);
    budget_free(budget);
}

static void test_a_longer_window_of_an_idle_budget(void **state)
{
    struct budget *budget = budget_new(&two_in_ten);
    struct budget_options longer = {.requests = 2, .window_ms = 30000, .timeout_ms = 1000};

    (void)state;
    assert_int_equal(budget_configure(budget, &longer, 12000), INT64_MIN);
    budget_answered(budget, budget_take(budget, 12000), 12000);
    assert_true(budget_configure(budget, &two_in_ten, 50000) <= 50000);
    assert_true(budget_configure(budget, &longer, 50000) <= 50000);
    budget_free(budget);
}

static void test_fewer_slots_than_calls(void **state)
{
    struct budget *budget = budget_new(&two_in_ten);
    struct budget_options one = {.requests = 1, .window_ms = 10000, .timeout_ms = 1000};

    (void)state;
    budget_answered(budget, budget_take(budget, 0), 0);
    budget_answered(budget, budget_take(budget, 3000), 3000);
    assert_int_equal(budget_configure(budget, &one, 4000), INT64_MIN);
    assert_int_equal(budget_free_slots(budget, 10000), 0);
    assert_int_equal(budget_next_free_ms(budget, 4000), 13000);
    assert_int_equal(budget_take(budget, 12999), -1);
    assert_true(budget_take(budget, 13000) >= 0);
    budget_free(budget);
}

/* What waits for company goes by the new time. */
static void test_no_more_lingering(void **state)
{
    struct action_device device = {.canonical = (char[]){"d"}};
    struct action action = {
        .type = action_type_find("unexempt"), .device_count = 1, .devices = &device};
    struct job job = {.action = &action, .priority = 3};
    struct scheduler_team team = {.weight = 1, .max = 2, .queue_limit = 1};
    struct scheduler_options options = {.budget = two_in_ten,
                                        .max_devices = 10,
                                        .linger_ms = 5000,
                                        .team_count = 1,
                                        .teams = &team};
    struct scheduler *scheduler = scheduler_new(&options);
    struct batch *batch;

    (void)state;
    scheduler_restore_job(scheduler, &job, 0);
    assert_null(scheduler_next(scheduler, 0));
    options.linger_ms = 0;
    (void)scheduler_configure(scheduler, &options, 1);
    batch = scheduler_next(scheduler, 1);
    assert_non_null(batch);
    scheduler_answered(scheduler, batch, 1);
    scheduler_end(scheduler, &job, 1);
    batch_free(batch);
    scheduler_free(scheduler);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_longer_window),
        cmocka_unit_test(test_a_longer_window_of_an_idle_budget),
        cmocka_unit_test(test_fewer_slots_than_calls),
        cmocka_unit_test(test_no_more_lingering),
        cmocka_unit_test(test_any_schedule),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
