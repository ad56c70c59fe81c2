/*
 * The limiter on a virtual clock: the edges of each algorithm, and random schedules compared
 * with a slow, obviously right count.
 */
#include "limiter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define SECOND ((int64_t)1000000)
#define WINDOW (60 * SECOND)
#define START  (1000 * WINDOW) /* the beginning of an aligned window */

static bool arrive(struct limiter *limiter, int64_t now_us)
{
    bool allowed = limiter_allows(limiter, now_us);

    if (allowed) {
        limiter_count(limiter, now_us);
    }
    return allowed;
}

static int64_t arrive_often(struct limiter *limiter, int64_t now_us, int times)
{
    int64_t allowed = 0;

    for (int i = 0; i < times; i++) {
        allowed += arrive(limiter, now_us) ? 1 : 0;
    }
    return allowed;
}

static void sliding_frees_a_slot_exactly_a_window_later(void **state)
{
    struct limiter *limiter = limiter_new(LIMITER_SLIDING, 10, WINDOW);

    (void)state;
    assert_int_equal(arrive_often(limiter, START, 1), 1);
    assert_int_equal(arrive_often(limiter, START + 59 * SECOND, 20), 9);
    assert_false(arrive(limiter, START + WINDOW - 1));
    assert_true(arrive(limiter, START + WINDOW));
    assert_false(arrive(limiter, START + WINDOW));
    assert_int_equal(limiter_get_peak(limiter), 10);
    limiter_free(limiter);
}

static void fixed_starts_anew_at_the_aligned_window(void **state)
{
    struct limiter *limiter = limiter_new(LIMITER_FIXED, 10, WINDOW);

    (void)state;
    assert_int_equal(arrive_often(limiter, START + 59 * SECOND, 20), 10);
    assert_false(arrive(limiter, START + WINDOW - 1));
    assert_int_equal(arrive_often(limiter, START + WINDOW, 20), 10);
    assert_int_equal(limiter_get_peak(limiter), 20);
    limiter_free(limiter);
}

static void bucket_refills_evenly(void **state)
{
    struct limiter *limiter = limiter_new(LIMITER_BUCKET, 10, WINDOW);

    (void)state;
    assert_int_equal(arrive_often(limiter, START, 20), 10);
    assert_false(arrive(limiter, START + 6 * SECOND - 1));
    assert_true(arrive(limiter, START + 6 * SECOND));
    assert_false(arrive(limiter, START + 6 * SECOND));
    assert_int_equal(arrive_often(limiter, START + 24 * SECOND, 20), 3);
    assert_int_equal(arrive_often(limiter, START + 10 * WINDOW, 20), 10);
    limiter_free(limiter);
}

/* Many tiny refills must add up to exactly as much as one. */
static void bucket_loses_no_fractions(void **state)
{
    struct limiter *limiter = limiter_new(LIMITER_BUCKET, 7, WINDOW);
    int64_t allowed = 0;

    (void)state;
    assert_int_equal(arrive_often(limiter, START, 7), 7);
    for (int64_t now_us = START + 1; now_us <= START + WINDOW; now_us += 997) {
        allowed += arrive(limiter, now_us) ? 1 : 0;
    }
    allowed += arrive(limiter, START + WINDOW) ? 1 : 0;
    assert_int_equal(allowed, 7);
    limiter_free(limiter);
}

static void state_tells_what_is_left(void **state)
{
    struct limiter *sliding = limiter_new(LIMITER_SLIDING, 10, WINDOW);
    struct limiter *fixed = limiter_new(LIMITER_FIXED, 10, WINDOW);
    struct limiter *bucket = limiter_new(LIMITER_BUCKET, 10, WINDOW);
    int64_t then_us = START + 20 * SECOND;

    (void)state;
    assert_int_equal(limiter_get_state(sliding, START).reset_us, 0);
    assert_int_equal(limiter_get_state(fixed, START).reset_us, 0);
    assert_int_equal(limiter_get_state(bucket, START).reset_us, 0);
    arrive_often(sliding, START + 5 * SECOND, 10);
    arrive_often(fixed, START + 5 * SECOND, 10);
    arrive_often(bucket, START + 19 * SECOND, 10);
    assert_int_equal(limiter_get_state(sliding, then_us).limit, 10);
    assert_int_equal(limiter_get_state(sliding, then_us).remaining, 0);
    assert_int_equal(limiter_get_state(sliding, then_us).reset_us, 45 * SECOND);
    assert_int_equal(limiter_get_state(fixed, then_us).remaining, 0);
    assert_int_equal(limiter_get_state(fixed, then_us).reset_us, 40 * SECOND);
    assert_int_equal(limiter_get_state(bucket, then_us).remaining, 0);
    assert_int_equal(limiter_get_state(bucket, then_us).reset_us, 5 * SECOND);
    limiter_free(sliding);
    limiter_free(fixed);
    limiter_free(bucket);
}

static void peak_can_be_reset_without_freeing_slots(void **state)
{
    struct limiter *limiter = limiter_new(LIMITER_SLIDING, 3, WINDOW);

    (void)state;
    arrive_often(limiter, START, 3);
    limiter_reset_peak(limiter);
    assert_int_equal(limiter_get_peak(limiter), 0);
    assert_false(arrive(limiter, START + 1));
    arrive(limiter, START + WINDOW);
    assert_int_equal(limiter_get_peak(limiter), 1);
    limiter_free(limiter);
}

#define ARRIVALS 3000

/* How many of the counted arrivals are younger than a window. */
static int64_t count_younger(const int64_t *counted, size_t count, int64_t now_us, int64_t window)
{
    int64_t younger = 0;

    for (size_t i = 0; i < count; i++) {
        younger += now_us - counted[i] < window ? 1 : 0;
    }
    return younger;
}

static void check_random_schedule(enum limiter_algorithm algorithm, int64_t limit, int64_t window)
{
    struct limiter *limiter = limiter_new(algorithm, limit, window);
    static int64_t counted[ARRIVALS];
    size_t count = 0;
    int64_t now_us = START;
    int64_t peak = 0;

    for (int i = 0; i < ARRIVALS; i++) {
        int64_t younger = 0;
        bool allowed = false;

        now_us += rand() % 3 == 0 ? 0 : rand() % (2 * window / limit);
        younger = count_younger(counted, count, now_us, window);
        allowed = arrive(limiter, now_us);
        if (algorithm == LIMITER_SLIDING) {
            assert_int_equal(allowed, younger < limit);
        }
        if (allowed) {
            counted[count++] = now_us;
            peak = younger + 1 > peak ? younger + 1 : peak;
        }
        assert_true(limiter_get_state(limiter, now_us).remaining >= 0);
    }
    assert_int_equal(limiter_get_peak(limiter), peak);
    assert_in_range(peak, 1, algorithm == LIMITER_SLIDING ? limit : 2 * limit);
    limiter_free(limiter);
}

static void random_schedules_agree_with_a_slow_count(void **state)
{
    (void)state;
    srand(7);
    for (int64_t limit = 1; limit <= 12; limit += 3) {
        check_random_schedule(LIMITER_SLIDING, limit, WINDOW);
        check_random_schedule(LIMITER_SLIDING, limit, 50);
        check_random_schedule(LIMITER_FIXED, limit, WINDOW);
        check_random_schedule(LIMITER_BUCKET, limit, 77777);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sliding_frees_a_slot_exactly_a_window_later),
        cmocka_unit_test(fixed_starts_anew_at_the_aligned_window),
        cmocka_unit_test(bucket_refills_evenly),
        cmocka_unit_test(bucket_loses_no_fractions),
        cmocka_unit_test(state_tells_what_is_left),
        cmocka_unit_test(peak_can_be_reset_without_freeing_slots),
        cmocka_unit_test(random_schedules_agree_with_a_slow_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
