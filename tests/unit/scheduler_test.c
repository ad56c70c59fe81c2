/* Tests of the scheduler by example, on a virtual clock. Random schedules: scheduler_sim_test.c;
 * what it promises in numbers: scheduler_bars_test.c. */
#include "policy/scheduler.h"

#include "common/memory.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

#define WINDOW_MS  60000
#define TIMEOUT_MS 30000

struct world {
    struct scheduler *scheduler;
    struct scheduler_team teams[3];
};

static struct world new_world(size_t requests, size_t max_devices, int64_t linger_ms)
{
    struct world world = {0};

    for (size_t i = 0; i < ARRAY_LEN(world.teams); i++) {
        world.teams[i] =
            (struct scheduler_team){.weight = 1, .max = (int64_t)requests, .queue_limit = 100};
    }
    world.scheduler = scheduler_new(&(struct scheduler_options){
        .budget = {.requests = requests, .window_ms = WINDOW_MS, .timeout_ms = TIMEOUT_MS},
        .max_devices = max_devices,
        .linger_ms = linger_ms,
        .team_count = ARRAY_LEN(world.teams),
        .teams = world.teams});
    return world;
}

/* The same with other teams. */
static void set_teams(struct world *world, size_t requests, const struct scheduler_team *teams)
{
    scheduler_free(world->scheduler);
    world->scheduler = scheduler_new(&(struct scheduler_options){
        .budget = {.requests = requests, .window_ms = WINDOW_MS, .timeout_ms = TIMEOUT_MS},
        .max_devices = 100,
        .team_count = 2,
        .teams = teams});
}

/* Devices as in "a b c". exempt_time < 0: none. */
static struct action *action_of(const char *name, int exempt_time, const char *devices)
{
    CLEANUP(cleanup_free) char *copy = xstrdup(devices);
    struct action *action = xcalloc(1, sizeof(*action));
    char *rest = NULL;

    action->type = action_type_find(name);
    action->params = exempt_time < 0 ? NULL : json_pack("{s:i}", "exempt_time", exempt_time);
    action->devices = xcalloc(strlen(devices) + 1, sizeof(*action->devices));
    for (char *one = strtok_r(copy, " ", &rest); one != NULL; one = strtok_r(NULL, " ", &rest)) {
        action->devices[action->device_count].asked = xstrdup(one);
        action->devices[action->device_count].canonical =
            action->devices[action->device_count].asked;
        action->device_count++;
    }
    return action;
}

static void free_action(const struct action *action)
{
    struct action *own = (struct action *)(uintptr_t)action;

    for (size_t i = 0; i < own->device_count; i++) {
        free(own->devices[i].asked);
    }
    free(own->devices);
    json_decref(own->params);
    free(own);
}

static struct job *add(struct world *world, size_t team, int64_t now, int exempt_time,
                       const char *devices)
{
    struct job *job = xcalloc(1, sizeof(*job));
    int64_t eta;

    job->action = action_of("exempt", exempt_time, devices);
    job->team = team;
    job->priority = 3;
    assert_int_equal(scheduler_admit(world->scheduler, team, job->action, -1, now, &eta), OK);
    scheduler_add(world->scheduler, job, now);
    return job;
}

static void end(struct world *world, struct job *job, int64_t now)
{
    scheduler_end(world->scheduler, job, now);
    free_action(job->action);
    free(job);
}

/* The next call is of that job alone, or first; answers it and ends the job. */
static void expect(struct world *world, const struct job *job, int64_t now)
{
    struct batch *batch = scheduler_next(world->scheduler, now);

    assert_non_null(batch);
    assert_ptr_equal(batch->parts[0].job, job);
    scheduler_answered(world->scheduler, batch, now);
    for (size_t i = 0; i < batch->part_count; i++) {
        if (batch->parts[i].job->left == 0) {
            end(world, batch->parts[i].job, now);
        }
    }
    batch_free(batch);
}

static void expect_none(struct world *world, int64_t now)
{
    assert_null(scheduler_next(world->scheduler, now));
}

/* ---- Merging and splitting ---- */

static void test_a_device_asked_twice_goes_once(void **state)
{
    struct world world = new_world(10, 100, 0);
    struct job *one = add(&world, 0, 0, 24, "a b");
    struct job *other = add(&world, 1, 0, 24, "c b d");
    struct job *alien = add(&world, 1, 0, 25, "e");
    struct batch *batch = scheduler_next(world.scheduler, 0);

    (void)state;
    assert_int_equal(batch->part_count, 2);
    assert_int_equal(batch->device_count, 4);
    assert_ptr_equal(batch->parts[0].job, one);
    assert_ptr_equal(batch->parts[1].job, other);
    assert_int_equal(batch->parts[1].count, 3);
    assert_string_equal(batch->devices[batch->parts[0].places[1]], "b");
    assert_int_equal(batch->parts[0].places[1], batch->parts[1].places[1]);
    assert_int_equal(batch->parts[0].share + batch->parts[1].share, SCHEDULER_SHARE);
    assert_true(batch->parts[1].share == SCHEDULER_SHARE * 3 / 5);
    assert_int_equal(scheduler_depth(world.scheduler), 1);
    scheduler_answered(world.scheduler, batch, 0);
    batch_free(batch);
    end(&world, one, 0);
    end(&world, other, 0);
    expect(&world, alien, 0);
    expect_none(&world, 0);
    scheduler_free(world.scheduler);
}

static void test_a_large_request_is_split(void **state)
{
    struct world world = new_world(10, 2, 0);
    struct job *large = add(&world, 0, 0, -1, "a b c d e");
    struct job *small = add(&world, 1, 0, -1, "f");
    struct batch *batches[3];

    (void)state;
    assert_true(scheduler_untouched(large));
    for (size_t i = 0; i < 3; i++) {
        batches[i] = scheduler_next(world.scheduler, 0);
        assert_int_equal(batches[i]->device_count, 2);
        assert_false(scheduler_untouched(large));
    }
    assert_int_equal(large->left, 0);
    assert_int_equal(small->left, 0);
    expect_none(&world, 0);
    for (size_t i = 0; i < 3; i++) {
        scheduler_answered(world.scheduler, batches[i], 100);
        batch_free(batches[i]);
    }
    end(&world, large, 100);
    end(&world, small, 100);
    scheduler_free(world.scheduler);
}

static void test_what_does_not_fit_goes_next(void **state)
{
    struct world world = new_world(10, 3, 0);
    struct job *first = add(&world, 0, 0, -1, "a b");
    struct job *wide = add(&world, 0, 0, -1, "c d");
    struct job *slim = add(&world, 0, 0, -1, "e");
    struct batch *batch = scheduler_next(world.scheduler, 0);

    (void)state;
    assert_int_equal(batch->part_count, 2);
    assert_ptr_equal(batch->parts[1].job, slim);
    scheduler_answered(world.scheduler, batch, 0);
    batch_free(batch);
    end(&world, first, 0);
    end(&world, slim, 0);
    expect(&world, wide, 0);
    scheduler_free(world.scheduler);
}

static void test_back_alone(void **state)
{
    struct world world = new_world(10, 100, 1000);
    struct job *jobs[3];
    struct batch *batch;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        static const char *const names[] = {"a", "b", "c"};
        jobs[i] = add(&world, i, 0, -1, names[i]);
    }
    expect_none(&world, 199);
    batch = scheduler_next(world.scheduler, 200); /* a crowd: more might come */
    assert_int_equal(batch->part_count, 3);
    scheduler_answered(world.scheduler, batch, 300);
    for (size_t i = 0; i < 3; i++) {
        scheduler_back(world.scheduler, &batch->parts[i], INT64_MIN, true, 300);
        assert_true(scheduler_untouched(jobs[i]));
    }
    batch_free(batch);
    assert_int_equal(scheduler_depth(world.scheduler), 3);
    for (size_t i = 0; i < 3; i++) { /* alone, and without lingering */
        batch = scheduler_next(world.scheduler, 300);
        assert_non_null(batch);
        assert_int_equal(batch->part_count, 1);
        scheduler_answered(world.scheduler, batch, 300);
        end(&world, batch->parts[0].job, 300);
        batch_free(batch);
    }
    expect_none(&world, 300);
    scheduler_free(world.scheduler);
}

static void test_back_later(void **state)
{
    struct world world = new_world(10, 100, 0);
    struct job *job = add(&world, 0, 0, -1, "a");
    struct batch *batch = scheduler_next(world.scheduler, 0);

    (void)state;
    scheduler_give_back(world.scheduler, batch, 50);
    scheduler_back(world.scheduler, &batch->parts[0], 2000, false, 50);
    batch_free(batch);
    assert_int_equal(budget_free_slots(scheduler_budget(world.scheduler), 50), 10);
    assert_true(scheduler_team_used(world.scheduler, 0, 50) == 0);
    assert_true(scheduler_wake_ms(world.scheduler, 50) == 2000);
    expect_none(&world, 1999);
    expect(&world, job, 2000);
    scheduler_free(world.scheduler);
}

static void test_contradicting_requests_keep_their_order(void **state)
{
    struct world world = new_world(10, 100, 0);
    struct job *first = add(&world, 0, 0, 1, "a b");
    struct job *second = add(&world, 1, 0, 2, "b");
    struct job *third = add(&world, 2, 0, 1, "b c");
    struct batch *batch = scheduler_next(world.scheduler, 0);

    (void)state;
    assert_int_equal(batch->part_count, 1);
    expect_none(&world, 0);
    scheduler_answered(world.scheduler, batch, 300);
    batch_free(batch);
    expect_none(&world, 300); /* answered, and not yet ended */
    end(&world, first, 300);
    expect(&world, second, 300);
    expect(&world, third, 300);
    scheduler_free(world.scheduler);
}

/* ---- Whose turn it is ---- */

static void test_urgency_counts_inside_a_team(void **state)
{
    struct world world = new_world(10, 100, 0);
    struct job *slow = add(&world, 0, 0, 1, "a");
    struct job *urgent = xcalloc(1, sizeof(*urgent));
    struct job *other = add(&world, 1, 0, 3, "c");

    (void)state;
    *urgent = (struct job){.action = action_of("exempt", 2, "b"), .team = 0, .priority = 0};
    scheduler_restore_job(world.scheduler, urgent, 0);
    expect(&world, other, 0); /* its team is not behind, and it came before */
    expect(&world, urgent, 0);
    expect(&world, slow, 0);
    scheduler_free(world.scheduler);
}

static void test_reserved_slots_are_kept(void **state)
{
    const struct scheduler_team teams[] = {
        {.weight = 1, .max = 3, .queue_limit = 10},
        {.weight = 1, .reserved = 1, .max = 3, .queue_limit = 10}};
    struct world world = new_world(3, 100, 0);
    struct job *jobs[3];
    struct job *other;

    (void)state;
    set_teams(&world, 3, teams);
    for (size_t i = 0; i < 3; i++) {
        jobs[i] = add(&world, 0, 0, (int)i, "a");
        if (i < 2) {
            expect(&world, jobs[i], 0);
        }
    }
    expect_none(&world, 0);
    assert_true(scheduler_wake_ms(world.scheduler, 0) == WINDOW_MS);
    other = add(&world, 1, 0, 9, "b");
    expect(&world, other, 0);
    expect(&world, jobs[2], WINDOW_MS);
    scheduler_free(world.scheduler);
}

/* What went before a restart does not go again; and keeps its place in the order of its device. */
static void test_a_job_of_before_a_restart_goes_on(void **state)
{
    struct world world = new_world(10, 2, 0);
    struct job *half = xcalloc(1, sizeof(*half));
    struct job *later;
    struct batch *batch;

    (void)state;
    *half = (struct job){.action = action_of("exempt", 2, "a b c d e"), .priority = 3};
    half->given = xcalloc(5, sizeof(*half->given));
    half->given[0] = 1;
    half->given[2] = 1;
    scheduler_restore_job(world.scheduler, half, 0);
    assert_int_equal(half->left, 3);
    assert_false(scheduler_untouched(half));
    assert_int_equal(scheduler_team_depth(world.scheduler, 0), 1);
    later = add(&world, 0, 0, 7, "a");
    batch = scheduler_next(world.scheduler, 0);
    assert_int_equal(batch->device_count, 2);
    assert_string_equal(batch->devices[0], "b");
    assert_string_equal(batch->devices[1], "d");
    scheduler_answered(world.scheduler, batch, 0);
    batch_free(batch);
    expect(&world, half, 0);
    expect(&world, later, 0);
    scheduler_free(world.scheduler);
}

/* What was not sent is not sent any more; what was sent still holds up who contradicts it. */
static void test_a_stopped_job_sends_no_more(void **state)
{
    struct world world = new_world(10, 2, 0);
    struct job *large = add(&world, 0, 0, 1, "a b c");
    struct job *later = add(&world, 0, 0, 2, "c");
    struct batch *batch = scheduler_next(world.scheduler, 0);

    (void)state;
    assert_int_equal(large->left, 1);
    scheduler_stop(world.scheduler, large, 0);
    assert_int_equal(large->left, 0);
    assert_int_equal(scheduler_team_depth(world.scheduler, 0), 1);
    expect_none(&world, 0);
    scheduler_answered(world.scheduler, batch, 5);
    batch_free(batch);
    expect_none(&world, 5);
    end(&world, large, 5);
    expect(&world, later, 5);
    scheduler_free(world.scheduler);
}

static void test_a_slot_of_before_a_restart_wakes(void **state)
{
    const struct scheduler_team teams[] = {
        {.weight = 1, .max = 2, .queue_limit = 10},
        {.weight = 1, .reserved = 1, .max = 2, .queue_limit = 10}};
    struct world world = new_world(2, 100, 0);
    struct job *job;

    (void)state;
    set_teams(&world, 2, teams);
    scheduler_restore_call(world.scheduler, 1000, 1500, 5000);
    job = add(&world, 0, 5000, -1, "a");
    expect_none(&world, 5000); /* the free slot is reserved, the other one held */
    assert_true(scheduler_wake_ms(world.scheduler, 5000) == 1500 + WINDOW_MS);
    expect(&world, job, 1500 + WINDOW_MS);
    scheduler_free(world.scheduler);
}

static void test_no_team_exceeds_its_maximum(void **state)
{
    const struct scheduler_team teams[] = {{.weight = 1, .max = 1, .queue_limit = 100},
                                           {.weight = 1, .max = 5, .queue_limit = 100}};
    struct world world = new_world(5, 100, 0);
    struct job *capped;
    struct job *more[40];
    struct job *company;
    struct batch *batch;

    (void)state;
    set_teams(&world, 5, teams);
    capped = add(&world, 0, 0, 1, "a");
    expect(&world, capped, 0);
    for (size_t i = 0; i < 40; i++) {
        CLEANUP(cleanup_free) char *name = xasprintf("d%zu", i);
        more[i] = add(&world, 0, 0, 2, name);
    }
    expect_none(&world, 0);
    company = add(&world, 1, 0, 2, "x");
    (void)add(&world, 1, 0, 2, "y");
    batch = scheduler_next(world.scheduler, 0);
    assert_int_equal(batch->part_count, 2); /* both of the other team, past all of the first */
    assert_ptr_equal(batch->parts[0].job, company);
    scheduler_answered(world.scheduler, batch, 0);
    for (size_t i = 0; i < 2; i++) {
        end(&world, batch->parts[i].job, 0);
    }
    batch_free(batch);
    expect_none(&world, WINDOW_MS - 1);
    expect(&world, more[0], WINDOW_MS);
    expect_none(&world, WINDOW_MS);
    assert_int_equal(scheduler_depth(world.scheduler), 0);
    scheduler_free(world.scheduler);
}

static void test_given_back_is_not_charged(void **state)
{
    struct world world = new_world(10, 100, 0);
    struct job *mine = add(&world, 0, 0, 1, "a");
    struct batch *batch = scheduler_next(world.scheduler, 0);
    struct job *other = add(&world, 1, 0, 2, "b");

    (void)state;
    scheduler_give_back(world.scheduler, batch, 0);
    scheduler_back(world.scheduler, &batch->parts[0], INT64_MIN, false, 0);
    batch_free(batch);
    expect(&world, mine, 0); /* in its old place, before the other team's */
    expect(&world, other, 0);
    scheduler_free(world.scheduler);
}

/* ---- Places, waiting ---- */

static void test_places_are_bounded_for_each_team(void **state)
{
    const struct scheduler_team teams[] = {{.weight = 1, .max = 5, .queue_limit = 2},
                                           {.weight = 1, .max = 5, .queue_limit = 2}};
    struct world world = new_world(5, 100, 0);
    struct action *action = action_of("delete", -1, "a");
    struct job *jobs[2];
    int64_t eta;
    bool would_share;

    (void)state;
    set_teams(&world, 5, teams);
    jobs[0] = add(&world, 0, 0, 1, "a");
    assert_int_equal(scheduler_admit(world.scheduler, 0, action, -1, 0, &eta), OK);
    assert_int_equal(scheduler_admit(world.scheduler, 0, action, -1, 0, &eta), ERR_FULL);
    assert_int_equal(scheduler_ask(world.scheduler, 1, action, -1, 0, &eta, &would_share), OK);
    assert_true(would_share);
    scheduler_leave(world.scheduler, 0, action);
    assert_int_equal(scheduler_ask(world.scheduler, 1, action, -1, 0, &eta, &would_share), OK);
    assert_false(would_share);
    jobs[1] = add(&world, 0, 0, 1, "b");
    assert_int_equal(scheduler_team_depth(world.scheduler, 0), 2);
    assert_int_equal(scheduler_admit(world.scheduler, 0, action, -1, 0, &eta), ERR_FULL);
    end(&world, jobs[1], 0);
    assert_int_equal(scheduler_ask(world.scheduler, 0, action, -1, 0, &eta, &would_share), OK);
    expect(&world, jobs[0], 0);
    free_action(action);
    scheduler_free(world.scheduler);
}

static void test_who_would_wait_too_long_is_not_admitted(void **state)
{
    struct world world = new_world(1, 100, 0);
    struct action *action = action_of("delete", -1, "a");
    struct job *job = add(&world, 0, 0, 1, "a");
    int64_t eta = 0;

    (void)state;
    expect(&world, job, 0);
    assert_int_equal(scheduler_admit(world.scheduler, 0, action, 30000, 1000, &eta),
                     ERR_UNAVAILABLE);
    assert_in_range(eta, WINDOW_MS - 1000, WINDOW_MS);
    assert_int_equal(scheduler_admit(world.scheduler, 0, action, eta, 1000, &eta), OK);
    scheduler_leave(world.scheduler, 0, action);
    free_action(action);
    scheduler_free(world.scheduler);
}

static void test_positions(void **state)
{
    struct world world = new_world(1, 100, 0);
    struct job *jobs[4];
    struct batch *batch;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        jobs[i] = add(&world, 0, 0, (int)i, "a");
        assert_int_equal(scheduler_position(world.scheduler, jobs[i]), i);
    }
    expect(&world, jobs[0], 0);
    assert_int_equal(scheduler_position(world.scheduler, jobs[1]), 0);
    assert_int_equal(scheduler_position(world.scheduler, jobs[3]), 2);
    assert_true(scheduler_eta_ms(world.scheduler, jobs[1], 0) >= WINDOW_MS);
    batch = scheduler_next(world.scheduler, WINDOW_MS);
    assert_ptr_equal(batch->parts[0].job, jobs[1]);
    assert_int_equal(scheduler_position(world.scheduler, jobs[3]), 1);
    scheduler_give_back(world.scheduler, batch, WINDOW_MS);
    scheduler_back(world.scheduler, &batch->parts[0], INT64_MIN, false, WINDOW_MS);
    batch_free(batch);
    assert_int_equal(scheduler_position(world.scheduler, jobs[3]), 2);
    for (size_t i = 1; i < 4; i++) {
        end(&world, jobs[i], 0);
    }
    scheduler_free(world.scheduler);
}

static struct job *add_urgent(struct world *world, int64_t priority, int exempt_time)
{
    struct job *job = xcalloc(1, sizeof(*job));

    job->action = action_of("exempt", exempt_time, "a");
    job->priority = priority;
    scheduler_restore_job(world->scheduler, job, 0);
    return job;
}

static void expect_positions(const struct world *world, struct job *const *jobs,
                             const size_t *positions, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (jobs[i] != NULL) {
            assert_int_equal(scheduler_position(world->scheduler, jobs[i]), positions[i]);
        }
    }
}

static void test_positions_by_urgency(void **state)
{
    static const int64_t priorities[] = {3, 7, 3, 0, 3, 7};
    struct world world = new_world(1, 100, 0);
    struct job *other = add(&world, 1, 0, 9, "b");
    struct job *jobs[ARRAY_LEN(priorities)];
    struct batch *batch;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
        jobs[i] = add_urgent(&world, priorities[i], (int)i);
    }
    expect_positions(&world, jobs, (size_t[]){1, 4, 2, 0, 3, 5}, 6);
    assert_int_equal(scheduler_position(world.scheduler, other), 0); /* of another team */
    end(&world, TAKE(jobs[2]), 0); /* cancelled: only those behind it move up */
    expect_positions(&world, jobs, (size_t[]){1, 3, 0, 0, 2, 4}, 6);
    end(&world, TAKE(jobs[4]), 0);
    end(&world, other, 0);
    expect_positions(&world, jobs, (size_t[]){1, 2, 0, 0, 0, 3}, 6);
    batch = scheduler_next(world.scheduler, 0);
    assert_ptr_equal(batch->parts[0].job, jobs[0]); /* it came first to device a */
    expect_positions(&world, jobs, (size_t[]){1, 1, 0, 0, 0, 2}, 6);
    scheduler_give_back(world.scheduler, batch, 0);
    scheduler_back(world.scheduler, &batch->parts[0], INT64_MIN, false, 0);
    batch_free(batch);
    expect_positions(&world, jobs, (size_t[]){1, 2, 0, 0, 0, 3}, 6);
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
        if (jobs[i] != NULL) {
            end(&world, jobs[i], 0);
        }
    }
    scheduler_free(world.scheduler);
}

/* Places are numbered anew when many came and went. */
static void test_positions_of_many(void **state)
{
    enum { COUNT = 200 };
    struct world world = new_world(1, 100, 0);
    struct job *jobs[COUNT];
    size_t from = 0;

    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        jobs[i] = add_urgent(&world, 3, (int)i);
        if (i % 3 > 0) {
            end(&world, jobs[from++], 0);
        }
        assert_int_equal(scheduler_position(world.scheduler, jobs[i]), i - from);
    }
    for (; from < COUNT; from++) {
        assert_int_equal(scheduler_position(world.scheduler, jobs[from]), 0);
        assert_int_equal(scheduler_position(world.scheduler, jobs[COUNT - 1]), COUNT - 1 - from);
        end(&world, jobs[from], 0);
    }
    scheduler_free(world.scheduler);
}

/* More than is looked at one by one: what lies behind is expected to go on as it began. */
static void test_estimates_in_a_long_queue(void **state)
{
    struct world world = new_world(10, 100, 0);
    struct action *own = action_of("exempt", 9999, "x");
    struct action *merged = action_of("unexempt", -1, "x");
    struct job *jobs[600];
    int64_t eta = 0;
    bool would_share;

    (void)state;
    set_teams(&world, 10,
              (struct scheduler_team[]){{.weight = 1, .max = 10, .queue_limit = 1000},
                                        {.weight = 1, .max = 10, .queue_limit = 1000}});
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
        CLEANUP(cleanup_free) char *device = xasprintf("%zu", i);
        jobs[i] = add(&world, 0, 0, (int)i, device);
    }
    assert_int_equal(scheduler_ask(world.scheduler, 0, own, -1, 0, &eta, &would_share), OK);
    assert_in_range(eta, 58 * WINDOW_MS, 62 * WINDOW_MS); /* ten in each */
    assert_int_equal(scheduler_ask(world.scheduler, 1, own, -1, 0, &eta, &would_share), OK);
    assert_in_range(eta, 0, 1000); /* the other team's turn comes first */
    assert_in_range(scheduler_eta_ms(world.scheduler, jobs[20], 0), 2 * WINDOW_MS, 3 * WINDOW_MS);
    assert_in_range(scheduler_eta_ms(world.scheduler, jobs[400], 0), 38 * WINDOW_MS,
                    42 * WINDOW_MS);
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
        end(&world, jobs[i], 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++) { /* six calls of a hundred: at once */
        jobs[i] = xcalloc(1, sizeof(*jobs[i]));
        jobs[i]->action = action_of("unexempt", -1, "a");
        free(jobs[i]->action->devices[0].asked);
        jobs[i]->action->devices[0].asked = jobs[i]->action->devices[0].canonical =
            xasprintf("%zu", i);
        jobs[i]->priority = 3;
        scheduler_restore_job(world.scheduler, jobs[i], 0);
    }
    assert_int_equal(scheduler_ask(world.scheduler, 1, merged, -1, 0, &eta, &would_share), OK);
    assert_true(would_share);
    assert_in_range(eta, 0, 1000);
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
        end(&world, jobs[i], 0);
    }
    free_action(own);
    free_action(merged);
    scheduler_free(world.scheduler);
}

/* A team that can never go is told a long time, and nothing breaks. */
static void test_estimates_of_who_is_shut_out(void **state)
{
    struct world world = {0};
    struct action *action = action_of("exempt", 1, "a");
    struct job *job;
    int64_t eta = 0;
    bool would_share;

    (void)state;
    set_teams(&world, 2,
              (struct scheduler_team[]){{.weight = 1, .reserved = 2, .max = 2, .queue_limit = 9},
                                        {.weight = 1, .max = 2, .queue_limit = 9}});
    assert_int_equal(scheduler_ask(world.scheduler, 1, action, -1, 0, &eta, &would_share), OK);
    assert_true(eta >= 100 * (int64_t)WINDOW_MS);
    job = add(&world, 1, 0, 1, "a");
    assert_true(scheduler_eta_ms(world.scheduler, job, 0) >= 100 * (int64_t)WINDOW_MS);
    assert_int_equal(scheduler_ask(world.scheduler, 0, action, -1, 0, &eta, &would_share), OK);
    assert_in_range(eta, 0, 1000);
    end(&world, job, 0);
    free_action(action);
    scheduler_free(world.scheduler);
}

static void test_lingering(void **state)
{
    struct world world = new_world(10, 3, 1000);
    struct job *lone = add(&world, 0, 0, 1, "a");
    struct job *next;
    struct job *first;

    (void)state;
    expect_none(&world, 0);
    expect(&world, lone, 10); /* nothing is used: all but at once */
    next = add(&world, 0, 5000, 1, "b");
    expect_none(&world, 5000);
    assert_true(scheduler_wake_ms(world.scheduler, 5000) == 5100); /* one of ten is used */
    expect(&world, next, 5100);
    (void)add(&world, 0, 9000, 1, "c");
    first = add(&world, 1, 9000, 1, "d");
    expect_none(&world, 9000);
    (void)add(&world, 2, 9000, 1, "e");
    expect(&world, first, 9000); /* full; begun by a team that has used nothing yet */
    expect_none(&world, 9000);
    assert_int_equal(scheduler_depth(world.scheduler), 0);
    scheduler_free(world.scheduler);
}

/* What a call has no room for is not sent at once, but waits for company of its own. */
static void test_what_is_left_lingers_anew(void **state)
{
    struct world world = new_world(10, 3, 1000);
    struct job *large = add(&world, 0, 0, 1, "a b c d");
    struct batch *batch = scheduler_next(world.scheduler, 0);

    (void)state;
    assert_int_equal(batch->device_count, 3);
    expect_none(&world, 99);
    assert_true(scheduler_wake_ms(world.scheduler, 99) == 100);
    scheduler_answered(world.scheduler, batch, 100);
    batch_free(batch);
    expect(&world, large, 100);
    scheduler_free(world.scheduler);
}

/* ---- The book ---- */

static void test_a_pause(void **state)
{
    struct world world = new_world(10, 100, 0);
    struct job *job = add(&world, 0, 0, 1, "a");

    (void)state;
    scheduler_pause(world.scheduler, 7000);
    scheduler_pause(world.scheduler, 3000); /* the longer one holds */
    expect_none(&world, 6999);
    assert_true(scheduler_wake_ms(world.scheduler, 0) == 7000);
    assert_true(scheduler_eta_ms(world.scheduler, job, 0) >= 7000);
    expect(&world, job, 7000);
    scheduler_free(world.scheduler);
}

static void test_foreign_calls_are_learnt_once(void **state)
{
    struct world world = new_world(10, 100, 0);
    struct job *jobs[2];
    struct batch *batches[2];

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        jobs[i] = add(&world, 0, 0, (int)i, "a");
    }
    batches[0] = scheduler_next(world.scheduler, 0);
    assert_null(scheduler_next(world.scheduler, 0)); /* one device, two kinds: not at once */
    scheduler_answered(world.scheduler, batches[0], 0);
    assert_int_equal(scheduler_learn(world.scheduler, batches[0], 9, 0), 0); /* all ours */
    assert_int_equal(scheduler_learn(world.scheduler, batches[0], -1, 0), 0);
    end(&world, jobs[0], 0);
    batches[1] = scheduler_next(world.scheduler, 0);
    assert_int_equal(scheduler_learn(world.scheduler, batches[1], 5, 100), 3);
    assert_int_equal(scheduler_learn(world.scheduler, batches[1], 5, 100), 0);
    assert_int_equal(budget_free_slots(scheduler_budget(world.scheduler), 100), 5);
    scheduler_answered(world.scheduler, batches[1], 100);
    end(&world, jobs[1], 100);
    batch_free(batches[0]);
    batch_free(batches[1]);
    assert_int_equal(budget_free_slots(scheduler_budget(world.scheduler), 100 + WINDOW_MS), 10);
    scheduler_free(world.scheduler);
}

static void test_calls_in_flight_together_learn_once(void **state)
{
    struct world world = new_world(10, 100, 0);
    struct job *jobs[2] = {add(&world, 0, 0, 1, "a"), add(&world, 0, 0, 2, "b")};
    struct batch *batches[2];

    (void)state;
    batches[0] = scheduler_next(world.scheduler, 0);
    batches[1] = scheduler_next(world.scheduler, 0);
    assert_int_equal(scheduler_learn(world.scheduler, batches[1], 5, 100), 3);
    assert_int_equal(scheduler_learn(world.scheduler, batches[0], 5, 100), 0); /* the same three */
    for (size_t i = 0; i < 2; i++) {
        scheduler_unanswered(world.scheduler, batches[i], 200, 100);
        batch_free(batches[i]);
        end(&world, jobs[i], 200);
    }
    assert_int_equal(budget_free_slots(scheduler_budget(world.scheduler), 199 + WINDOW_MS), 8);
    assert_int_equal(budget_free_slots(scheduler_budget(world.scheduler), 200 + WINDOW_MS), 10);
    scheduler_free(world.scheduler);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_device_asked_twice_goes_once),
        cmocka_unit_test(test_a_large_request_is_split),
        cmocka_unit_test(test_what_does_not_fit_goes_next),
        cmocka_unit_test(test_back_alone),
        cmocka_unit_test(test_back_later),
        cmocka_unit_test(test_contradicting_requests_keep_their_order),
        cmocka_unit_test(test_urgency_counts_inside_a_team),
        cmocka_unit_test(test_reserved_slots_are_kept),
        cmocka_unit_test(test_a_slot_of_before_a_restart_wakes),
        cmocka_unit_test(test_a_job_of_before_a_restart_goes_on),
        cmocka_unit_test(test_a_stopped_job_sends_no_more),
        cmocka_unit_test(test_no_team_exceeds_its_maximum),
        cmocka_unit_test(test_given_back_is_not_charged),
        cmocka_unit_test(test_places_are_bounded_for_each_team),
        cmocka_unit_test(test_who_would_wait_too_long_is_not_admitted),
        cmocka_unit_test(test_positions),
        cmocka_unit_test(test_positions_by_urgency),
        cmocka_unit_test(test_positions_of_many),
        cmocka_unit_test(test_estimates_in_a_long_queue),
        cmocka_unit_test(test_estimates_of_who_is_shut_out),
        cmocka_unit_test(test_lingering),
        cmocka_unit_test(test_what_is_left_lingers_anew),
        cmocka_unit_test(test_a_pause),
        cmocka_unit_test(test_foreign_calls_are_learnt_once),
        cmocka_unit_test(test_calls_in_flight_together_learn_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
