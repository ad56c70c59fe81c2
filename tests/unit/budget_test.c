/* Budget: examples on a virtual clock. Random schedules are in budget_sim_test.c. */
#include "common/memory.h"
#include "policy/budget.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- Examples ---- */

static const struct budget_options ten_a_minute = {
    .requests = 10, .window_ms = 60000, .timeout_ms = 30000};
static const struct budget_options two_a_minute = {
    .requests = 2, .window_ms = 60000, .timeout_ms = 30000};

static void slot_comes_free_a_window_after_the_answer(void **state)
{
    struct budget *budget = budget_new(&ten_a_minute);
    int64_t slots[10];

    (void)state;
    assert_int_equal(budget_next_free_ms(budget, 1000), 1000);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(budget_free_slots(budget, 1000), 10 - i);
        slots[i] = budget_take(budget, 1000);
        assert_true(slots[i] >= 0);
    }
    assert_int_equal(budget_take(budget, 1000), -1);
    assert_int_equal(budget_in_flight(budget), 10);
    assert_int_equal(budget_next_free_ms(budget, 1000), 91000);

    budget_answered(budget, slots[7], 1500);
    budget_answered(budget, slots[2], 1600);
    assert_int_equal(budget_in_flight(budget), 8);
    assert_int_equal(budget_next_free_ms(budget, 2000), 61500);
    assert_int_equal(budget_take(budget, 61499), -1);
    assert_int_equal(budget_free_slots(budget, 61500), 1);
    assert_true(budget_take(budget, 61500) >= 0);
    assert_int_equal(budget_take(budget, 61500), -1);
    assert_true(budget_take(budget, 61600) >= 0);
    budget_free(budget);
    budget_free(NULL);
}

static void unanswered_call_holds_its_slot(void **state)
{
    struct budget *budget = budget_new(&two_a_minute);
    int64_t told = budget_take(budget, 0);

    (void)state;
    assert_true(budget_take(budget, 10) >= 0); /* nobody ever says a word of this one */
    budget_unanswered(budget, told);
    assert_int_equal(budget_in_flight(budget), 1);
    assert_int_equal(budget_next_free_ms(budget, 500), 90000);
    assert_int_equal(budget_take(budget, 89999), -1);
    assert_true(budget_take(budget, 90000) >= 0);
    assert_int_equal(budget_take(budget, 90009), -1);
    assert_true(budget_take(budget, 90010) >= 0);
    budget_free(budget);
}

static void slot_given_back_is_free_at_once(void **state)
{
    struct budget *budget = budget_new(&two_a_minute);
    int64_t first = budget_take(budget, 0);
    int64_t second = budget_take(budget, 0);

    (void)state;
    assert_int_not_equal(first, second);
    budget_give_back(budget, first);
    assert_int_equal(budget_in_flight(budget), 1);
    assert_int_equal(budget_free_slots(budget, 0), 1);
    assert_true(budget_take(budget, 0) >= 0);
    assert_int_equal(budget_take(budget, 0), -1);
    /* Its end is known, so a second word changes nothing: the call that took the place stays. */
    budget_give_back(budget, first);
    budget_answered(budget, first, 5);
    assert_int_equal(budget_in_flight(budget), 2);
    assert_int_equal(budget_take(budget, 60005), -1);
    budget_free(budget);
}

static void word_after_its_time_is_ignored(void **state)
{
    static const struct budget_options one = {
        .requests = 1, .window_ms = 60000, .timeout_ms = 30000};
    struct budget *budget = budget_new(&one);
    int64_t old = budget_take(budget, 0);
    int64_t new = budget_take(budget, 90000);

    (void)state;
    assert_true(new >= 0 && new != old);
    budget_answered(budget, old, 90001);
    budget_give_back(budget, old);
    budget_unanswered(budget, old);
    assert_int_equal(budget_in_flight(budget), 1);
    assert_int_equal(budget_next_free_ms(budget, 90002), 180000);
    budget_answered(budget, new, 180000); /* over, though nobody took the slot yet */
    assert_int_equal(budget_free_slots(budget, 180000), 1);
    budget_free(budget);
}

static void restart_forgets_nothing(void **state)
{
    struct budget *budget = budget_new(&two_a_minute);

    (void)state;
    budget_restore(budget, 100000, 101000, 165000); /* until 161000: over */
    budget_restore(budget, 75000, -1, 165000);      /* until 165000: over now */
    assert_int_equal(budget_free_slots(budget, 165000), 2);
    budget_restore(budget, 110000, 111000, 165000); /* until 171000 */
    budget_restore(budget, 80000, -1, 165000);      /* until 170000 */
    assert_int_equal(budget_in_flight(budget), 0);
    assert_int_equal(budget_free_slots(budget, 165000), 0);
    assert_int_equal(budget_next_free_ms(budget, 165000), 170000);
    assert_int_equal(budget_take(budget, 169999), -1);
    assert_true(budget_take(budget, 170000) >= 0);
    assert_int_equal(budget_take(budget, 170000), -1);
    assert_true(budget_take(budget, 171000) >= 0);
    budget_free(budget);
}

static void more_calls_than_slots_are_all_kept(void **state)
{
    struct budget *budget = budget_new(&two_a_minute);

    (void)state;
    for (int64_t i = 4; i > 0; i--) {
        budget_restore(budget, 1000 * i, 1000 * i, 5000); /* until 61000 … 64000 */
    }
    assert_int_equal(budget_free_slots(budget, 5000), 0);
    assert_int_equal(budget_next_free_ms(budget, 5000), 63000);
    assert_int_equal(budget_estimate_ms(budget, 0, 0, 5000), 63000);
    assert_int_equal(budget_estimate_ms(budget, 1, 0, 5000), 64000);
    assert_int_equal(budget_estimate_ms(budget, 2, 0, 5000), 123000);
    assert_int_equal(budget_take(budget, 62999), -1);
    assert_true(budget_take(budget, 63000) >= 0);
    assert_int_equal(budget_take(budget, 63000), -1);
    budget_free(budget);
}

/* After a clock went back, records lie in the future: they hold from now, not for hours. */
static void records_of_the_future_count_as_now(void **state)
{
    struct budget *budget = budget_new(&two_a_minute);

    (void)state;
    budget_restore(budget, 3600000, 3601000, 5000);
    budget_restore(budget, 3600000, -1, 5000);
    assert_int_equal(budget_next_free_ms(budget, 5000), 65000);
    assert_int_equal(budget_take(budget, 64999), -1);
    assert_true(budget_take(budget, 65000) >= 0);
    assert_int_equal(budget_next_free_ms(budget, 65000), 95000);
    budget_free(budget);

    /* It went back while the call was under way: the later of the two moments counts. */
    budget = budget_new(&two_a_minute);
    budget_restore(budget, 4000, 1000, 5000);
    budget_restore(budget, 4000, 4000, 5000);
    assert_int_equal(budget_next_free_ms(budget, 5000), 64000);
    budget_free(budget);
}

static void estimate(void **state)
{
    struct budget *budget = budget_new(&ten_a_minute);

    (void)state;
    assert_int_equal(budget_estimate_ms(budget, 9, 500, 1000), 1000);
    assert_int_equal(budget_estimate_ms(budget, 10, 500, 1000), 61500);
    assert_int_equal(budget_estimate_ms(budget, 19, 500, 1000), 61500);
    assert_int_equal(budget_estimate_ms(budget, 20, 500, 1000), 122000);
    assert_int_equal(budget_estimate_ms(budget, 10000000, 500, 1000), 60500001000);
    assert_int_equal(budget_estimate_ms(budget, SIZE_MAX, 500, 1000), INT64_MAX);
    for (int64_t i = 0; i < 10; i++) {
        int64_t slot = budget_take(budget, 1000 + i);
        if (i == 4) {
            budget_answered(budget, slot, 1005);
        } else if (i == 5) {
            budget_unanswered(budget, slot);
        }
    }
    /* Answered: 61005. In flight: taken + 500 + 60000, but at least now + 60000. */
    assert_int_equal(budget_estimate_ms(budget, 0, 500, 1100), 61005);
    assert_int_equal(budget_estimate_ms(budget, 1, 500, 1100), 61500);
    assert_int_equal(budget_estimate_ms(budget, 8, 500, 1100), 61509);
    assert_int_equal(budget_estimate_ms(budget, 1, 500, 2000), 62000);
    assert_int_equal(budget_estimate_ms(budget, 8, 500, 2000), 62000);
    /* The one without an answer: 91005. The next round of the others comes later. */
    assert_int_equal(budget_estimate_ms(budget, 9, 500, 1100), 91005);
    assert_int_equal(budget_estimate_ms(budget, 10, 500, 1100), 121505);
    budget_free(budget);
}

static void many_slots(void **state)
{
    enum { SLOTS = 300000 };
    static const struct budget_options many = {
        .requests = SLOTS, .window_ms = 60000, .timeout_ms = 30000};
    struct budget *budget = budget_new(&many);
    int64_t *slots = xcalloc(SLOTS, sizeof(*slots));

    (void)state;
    for (size_t i = 0; i < SLOTS; i++) {
        slots[i] = budget_take(budget, 0);
        assert_true(slots[i] >= 0 && budget_next_free_ms(budget, 0) >= 0);
    }
    assert_int_equal(budget_take(budget, 0), -1);
    for (size_t i = SLOTS; i-- > 0;) {
        budget_answered(budget, slots[i], 1000);
    }
    assert_int_equal(budget_next_free_ms(budget, 1000), 61000);
    assert_int_equal(budget_free_slots(budget, 61000), SLOTS);
    for (size_t i = 0; i < SLOTS; i++) {
        assert_true(budget_take(budget, 61000) >= 0);
    }
    assert_int_equal(budget_take(budget, 61000), -1);
    free(slots);
    budget_free(budget);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slot_comes_free_a_window_after_the_answer),
        cmocka_unit_test(unanswered_call_holds_its_slot),
        cmocka_unit_test(slot_given_back_is_free_at_once),
        cmocka_unit_test(word_after_its_time_is_ignored),
        cmocka_unit_test(restart_forgets_nothing),
        cmocka_unit_test(more_calls_than_slots_are_all_kept),
        cmocka_unit_test(records_of_the_future_count_as_now),
        cmocka_unit_test(estimate),
        cmocka_unit_test(many_slots),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
