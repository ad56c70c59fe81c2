/* Tests of the scheduler on a virtual clock: order, places, estimates; and by random schedules
 * that nothing is lost and no slot that could be used stays idle. */
#include "policy/scheduler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

#define WINDOW_MS  60000
#define TIMEOUT_MS 30000

static struct scheduler *new_scheduler(size_t requests, size_t limit)
{
    const size_t limits[] = {limit, limit};
    struct scheduler_options options = {
        .budget = {.requests = requests, .window_ms = WINDOW_MS, .timeout_ms = TIMEOUT_MS},
        .team_count = 2,
        .queue_limits = limits,
    };

    return scheduler_new(&options);
}

static void add(struct scheduler *scheduler, struct job *job, size_t team, int64_t now)
{
    int64_t eta;

    assert_int_equal(scheduler_admit(scheduler, team, -1, now, &eta), OK);
    scheduler_add(scheduler, job, team, now);
}

static void test_first_come_first_served(void **state)
{
    struct scheduler *scheduler = new_scheduler(2, 10);
    struct job jobs[3] = {0};
    int64_t slot[2];

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        add(scheduler, &jobs[i], i % 2, 0);
    }
    assert_int_equal(scheduler_position(scheduler, &jobs[2]), 2);
    assert_int_equal(scheduler_team_depth(scheduler, 0), 2);
    assert_ptr_equal(scheduler_next(scheduler, 0, &slot[0]), &jobs[0]);
    assert_ptr_equal(scheduler_next(scheduler, 0, &slot[1]), &jobs[1]);
    assert_null(scheduler_next(scheduler, 0, &slot[0]));
    assert_true(scheduler_wake_ms(scheduler, 0) == TIMEOUT_MS + WINDOW_MS);
    scheduler_answered(scheduler, slot[0], 0, 500);
    assert_true(scheduler_wake_ms(scheduler, 500) == 500 + WINDOW_MS);
    assert_null(scheduler_next(scheduler, 499 + WINDOW_MS, &slot[0]));
    assert_ptr_equal(scheduler_next(scheduler, 500 + WINDOW_MS, &slot[0]), &jobs[2]);
    assert_true(scheduler_wake_ms(scheduler, 500 + WINDOW_MS) == -1);
    scheduler_free(scheduler);
}

static void test_a_returned_job_goes_first(void **state)
{
    struct scheduler *scheduler = new_scheduler(2, 10);
    struct job jobs[2] = {0};
    int64_t slot;

    (void)state;
    add(scheduler, &jobs[0], 0, 0);
    add(scheduler, &jobs[1], 0, 0);
    assert_ptr_equal(scheduler_next(scheduler, 0, &slot), &jobs[0]);
    scheduler_give_back(scheduler, slot);
    scheduler_return(scheduler, &jobs[0]);
    assert_ptr_equal(scheduler_next(scheduler, 0, &slot), &jobs[0]);
    assert_ptr_equal(scheduler_next(scheduler, 0, &slot), &jobs[1]);
    scheduler_free(scheduler);
}

static void test_places_are_bounded_for_each_team(void **state)
{
    struct scheduler *scheduler = new_scheduler(1, 2);
    struct job jobs[2] = {0};
    int64_t eta;

    (void)state;
    assert_int_equal(scheduler_admit(scheduler, 0, -1, 0, &eta), OK);
    assert_int_equal(scheduler_admit(scheduler, 0, -1, 0, &eta), OK);
    assert_int_equal(scheduler_admit(scheduler, 0, -1, 0, &eta), ERR_FULL);
    assert_int_equal(scheduler_admit(scheduler, 1, -1, 0, &eta), OK);
    scheduler_leave(scheduler, 0);
    assert_int_equal(scheduler_admit(scheduler, 0, -1, 0, &eta), OK);
    scheduler_add(scheduler, &jobs[0], 0, 0);
    scheduler_add(scheduler, &jobs[1], 0, 0);
    assert_int_equal(scheduler_admit(scheduler, 0, -1, 0, &eta), ERR_FULL);
    scheduler_remove(scheduler, &jobs[0]);
    assert_int_equal(scheduler_admit(scheduler, 0, -1, 0, &eta), OK);
    scheduler_free(scheduler);
}

static void test_who_would_wait_too_long_is_not_admitted(void **state)
{
    struct scheduler *scheduler = new_scheduler(1, 10);
    struct job jobs[2] = {0};
    int64_t eta = 0;
    int64_t slot;

    (void)state;
    add(scheduler, &jobs[0], 0, 0);
    assert_ptr_equal(scheduler_next(scheduler, 0, &slot), &jobs[0]);
    scheduler_answered(scheduler, slot, 0, 400);
    assert_int_equal(scheduler_admit(scheduler, 0, 30000, 1000, &eta), ERR_UNAVAILABLE);
    assert_in_range(eta, 400 + WINDOW_MS - 1000, 400 + WINDOW_MS - 1000 + 1000);
    assert_int_equal(scheduler_admit(scheduler, 0, eta, 1000, &eta), OK);
    assert_int_equal(scheduler_admit(scheduler, 0, eta, 1000, &eta), ERR_UNAVAILABLE);
    assert_true(eta > 2 * WINDOW_MS - 1000); /* the place that is held goes first */
    scheduler_free(scheduler);
}

/* ---- Random schedules ---- */

#define JOBS 400

struct flying {
    struct job *job;
    int64_t slot;
    int64_t taken_ms;
    int64_t answer_ms;
};

struct world {
    struct scheduler *scheduler;
    struct job jobs[JOBS];
    int done[JOBS];
    struct flying flying[JOBS];
    size_t flying_count;
    size_t added;
    size_t ended;
    int64_t now;
};

static void answer_due(struct world *world)
{
    for (size_t i = 0; i < world->flying_count;) {
        struct flying call = world->flying[i];
        if (call.answer_ms > world->now) {
            i++;
            continue;
        }
        world->flying[i] = world->flying[--world->flying_count];
        if (rand() % 8 == 0) { /* nothing was applied: it goes again */
            scheduler_answered(world->scheduler, call.slot, call.taken_ms, world->now);
            scheduler_return(world->scheduler, call.job);
        } else {
            scheduler_answered(world->scheduler, call.slot, call.taken_ms, world->now);
            world->done[call.job - world->jobs]++;
            world->ended++;
        }
    }
}

static void send_all(struct world *world)
{
    struct job *job;
    int64_t slot;

    while ((job = scheduler_next(world->scheduler, world->now, &slot)) != NULL) {
        world->flying[world->flying_count++] =
            (struct flying){.job = job,
                            .slot = slot,
                            .taken_ms = world->now,
                            .answer_ms = world->now + 1 + rand() % 1500};
    }
    /* Nothing that could go stays: either the queue is empty or no slot is free. */
    assert_true(scheduler_depth(world->scheduler) == 0 ||
                budget_free_slots(scheduler_budget(world->scheduler), world->now) == 0);
}

static void run_world(unsigned seed)
{
    struct world world = {.scheduler = new_scheduler(10, JOBS)};

    srand(seed);
    while (world.ended < JOBS) {
        for (int burst = rand() % 4 == 0 ? rand() % 30 : 0; burst > 0 && world.added < JOBS;
             burst--) {
            add(world.scheduler, &world.jobs[world.added++], (size_t)rand() % 2, world.now);
        }
        send_all(&world);
        world.now += 1 + rand() % 400;
        answer_due(&world);
        if (world.now > 100 * WINDOW_MS) {
            fail_msg("seed %u: %zu of %d ended", seed, world.ended, JOBS);
        }
    }
    for (size_t i = 0; i < JOBS; i++) {
        assert_int_equal(world.done[i], 1);
    }
    scheduler_free(world.scheduler);
}

static void test_every_job_ends_once(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 60; seed++) {
        run_world(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_come_first_served),
        cmocka_unit_test(test_a_returned_job_goes_first),
        cmocka_unit_test(test_places_are_bounded_for_each_team),
        cmocka_unit_test(test_who_would_wait_too_long_is_not_admitted),
        cmocka_unit_test(test_every_job_ends_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
