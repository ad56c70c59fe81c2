/* Tests of the flood table, case by case. */
#include "policy/flood.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

#define MINUTE 60000

static const struct flood_options usual = {
    .addresses = 4,
    .each = {.at_once = 2, .per_minute = 60},
    .all = {.at_once = 1000, .per_minute = 1000},
    .counts = {.at_once = 1000, .per_minute = 1000},
    .bad_keys = {.at_once = 3, .per_minute = 6},
    .interval_ms = 10000,
};

static struct flood_verdict add(struct flood *flood, const char *remote, int64_t now_ms)
{
    struct flood_verdict verdict;

    flood_add(flood, remote, 0, false, now_ms, &verdict);
    return verdict;
}

/* All that is left, as "remote:number" of kind 0, in the order in which it comes. */
static void drain(struct flood *flood, char *ret_text, size_t size)
{
    struct flood_count count;
    size_t used = 0;

    ret_text[0] = '\0';
    while (flood_next(flood, true, 0, &count)) {
        used += (size_t)snprintf(ret_text + used, size - used, "%s%s:%d", used > 0 ? " " : "",
                                 count.remote, (int)count.kinds[0]);
    }
}

static void assert_left(struct flood *flood, const char *expected)
{
    char text[512];

    drain(flood, text, sizeof(text));
    assert_string_equal(text, expected);
}

static void test_the_first_are_recorded_and_the_rest_is_counted(void **state)
{
    struct flood *flood = flood_new(&usual);

    (void)state;
    assert_true(add(flood, "192.0.2.1", 0).record);
    assert_true(add(flood, "192.0.2.1", 0).record);
    assert_false(add(flood, "192.0.2.1", 999).record);
    assert_true(add(flood, "192.0.2.1", 1000).record);
    assert_false(add(flood, "192.0.2.1", 1000).record);
    assert_true(add(flood, "192.0.2.2", 1000).record);
    assert_left(flood, "192.0.2.1:2");
    assert_left(flood, "");
    flood_free(flood);
}

static void test_a_count_is_due_after_its_interval(void **state)
{
    struct flood *flood = flood_new(&usual);
    struct flood_verdict verdict;
    struct flood_count count;

    (void)state;
    for (int i = 0; i < 4; i++) {
        flood_add(flood, "192.0.2.1", (unsigned)i, false, 500, &verdict);
    }
    flood_add(flood, "192.0.2.1", 3, false, 700, &verdict);
    assert_false(flood_next(flood, false, 10499, &count));
    assert_true(flood_next(flood, false, 10500, &count));
    assert_string_equal(count.remote, "192.0.2.1");
    assert_int_equal(count.from_ms, 500);
    assert_int_equal(count.to_ms, 700);
    assert_memory_equal(count.kinds, ((uint64_t[FLOOD_KINDS]){0, 0, 1, 2}), sizeof(count.kinds));
    assert_false(flood_next(flood, true, 10500, &count));
    flood_free(flood);
}

static void test_all_addresses_together_have_a_rate(void **state)
{
    struct flood_options options = usual;
    struct flood *flood;

    (void)state;
    options.all = (struct flood_rate){.at_once = 3, .per_minute = 6};
    flood = flood_new(&options);
    assert_true(add(flood, "192.0.2.1", 0).record);
    assert_true(add(flood, "192.0.2.2", 0).record);
    assert_true(add(flood, "192.0.2.3", 0).record);
    assert_false(add(flood, "192.0.2.4", 0).record);
    /* It took nothing of its own meanwhile. */
    assert_true(add(flood, "192.0.2.4", 2 * MINUTE).record);
    assert_true(add(flood, "192.0.2.4", 2 * MINUTE).record);
    assert_left(flood, "192.0.2.4:1");
    flood_free(flood);
}

/* What clients of one network have in common, and what they have not. */
static void test_addresses(void **state)
{
    static const struct {
        const char *one;
        const char *other;
        const char *counted;
    } cases[] = {
        {"192.0.2.1", "192.0.2.1", "192.0.2.1:2"},
        {"192.0.2.1", "192.0.2.2", "192.0.2.1:1 192.0.2.2:1"},
        {"::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1:2"},
        {"2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:1::/64:2"},
        {"2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:1::/64:1 2001:db8:0:2::/64:1"},
        {"fe80::1%eth0", "fe80::2%eth1", "fe80::/64:2"},
        {"::1", "::1", "::/64:2"},
        {"unknown", "", "unknown:2"},
        {"192.0.2.1.", "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255:ffff:ffff:ffff", "unknown:2"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "unknown",
         "ffff:ffff:ffff:ffff::/64:1 unknown:1"},
        {"other", "unknown", "unknown:2"},
    };
    struct flood_options options = usual;

    (void)state;
    options.all.at_once = 1;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct flood *flood = flood_new(&options);
        assert_true(add(flood, "203.0.113.1", 0).record); /* all others are counted */
        (void)add(flood, cases[i].one, 0);
        (void)add(flood, cases[i].other, 0);
        assert_left(flood, cases[i].counted);
        flood_free(flood);
    }
}

static void test_bad_keys_over_the_rate_are_throttled(void **state)
{
    struct flood *flood = flood_new(&usual);
    struct flood_verdict verdict;

    (void)state;
    for (int i = 0; i < 5; i++) {
        flood_add(flood, "192.0.2.1", 0, true, 0, &verdict);
        assert_int_equal(verdict.throttle, i >= 3);
        flood_add(flood, "192.0.2.1", 0, false, 0, &verdict);
        assert_false(verdict.throttle);
    }
    flood_add(flood, "192.0.2.2", 0, true, 0, &verdict);
    assert_false(verdict.throttle);
    flood_add(flood, "192.0.2.1", 0, true, 9999, &verdict);
    assert_true(verdict.throttle);
    flood_add(flood, "192.0.2.1", 0, true, 10000, &verdict);
    assert_false(verdict.throttle);
    flood_add(flood, "192.0.2.1", 0, true, 10000, &verdict);
    assert_true(verdict.throttle);
    flood_free(flood);
}

static void fill(struct flood *flood, int from, int to, int64_t now_ms)
{
    char remote[32];

    for (int i = from; i < to; i++) {
        (void)snprintf(remote, sizeof(remote), "192.0.2.%d", i);
        for (int n = 0; n < 3; n++) {
            (void)add(flood, remote, now_ms);
        }
    }
}

static void test_the_quietest_makes_place(void **state)
{
    struct flood *flood = flood_new(&usual);
    struct flood_verdict verdict;

    (void)state;
    fill(flood, 1, 5, 0);
    (void)add(flood, "192.0.2.1", 5);
    verdict = add(flood, "192.0.2.5", 9);
    assert_true(verdict.record);
    assert_true(verdict.evicted);
    assert_string_equal(verdict.count.remote, "192.0.2.2");
    assert_int_equal(verdict.count.kinds[0], 1);
    assert_left(flood, "192.0.2.1:2 192.0.2.3:1 192.0.2.4:1");
    flood_free(flood);
}

static void test_nothing_to_say_of_one_that_makes_place(void **state)
{
    struct flood *flood = flood_new(&usual);

    (void)state;
    for (int i = 1; i < 6; i++) {
        char remote[32];
        (void)snprintf(remote, sizeof(remote), "192.0.2.%d", i);
        assert_false(add(flood, remote, 0).evicted);
    }
    assert_left(flood, "");
    flood_free(flood);
}

static void test_more_than_may_be_told_apart_are_others(void **state)
{
    struct flood_options options = usual;
    struct flood_count count;
    struct flood *flood;

    (void)state;
    options.counts = (struct flood_rate){.at_once = 1, .per_minute = 6};
    flood = flood_new(&options);
    fill(flood, 1, 9, 0); /* four have to go, one with its own count */
    assert_true(flood_next(flood, false, 10000, &count));
    assert_string_equal(count.remote, "192.0.2.5");
    assert_false(flood_next(flood, false, 19999, &count)); /* the others are due, but wait */
    assert_true(flood_next(flood, false, 20000, &count));
    assert_string_equal(count.remote, FLOOD_OTHER);
    assert_int_equal(count.kinds[0], 3);
    assert_left(flood, "192.0.2.6:1 192.0.2.7:1 192.0.2.8:1");
    flood_free(flood);
}

static void test_what_was_not_recorded_is_counted_again(void **state)
{
    struct flood *flood = flood_new(&usual);
    struct flood_count count;
    struct flood_count single = {.remote = "2001:db8::7", .from_ms = 1, .to_ms = 1, .kinds = {1}};

    (void)state;
    fill(flood, 1, 2, 0);
    assert_true(flood_next(flood, true, 0, &count));
    flood_return(flood, &count, 5000);
    assert_false(flood_next(flood, false, 14999, &count)); /* not at once again */
    assert_true(flood_next(flood, false, 15000, &count));
    assert_string_equal(count.remote, "192.0.2.1");
    assert_int_equal(count.from_ms, 0);
    for (int i = 0; i < 3; i++) {
        (void)add(flood, "192.0.2.1", 15000);
    }
    flood_return(flood, &count, 15000);
    assert_true(flood_next(flood, true, 15000, &count));
    assert_int_equal(count.from_ms, 0);
    assert_int_equal(count.to_ms, 15000);
    (void)add(flood, "2001:db8::7", 0);
    flood_return(flood, &single, 5000);
    flood_return(flood, &single, 5000);
    (void)snprintf(single.remote, sizeof(single.remote), "2001:db8::/64");
    flood_return(flood, &single, 5000);
    assert_left(flood, "2001:db8::/64:3");
    (void)snprintf(single.remote, sizeof(single.remote), "203.0.113.9"); /* it had to leave */
    flood_return(flood, &single, 5000);
    (void)snprintf(single.remote, sizeof(single.remote), FLOOD_OTHER);
    (void)add(flood, "unknown", 0);
    flood_return(flood, &single, 5000);
    assert_left(flood, FLOOD_OTHER ":2");
    flood_free(flood);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_are_recorded_and_the_rest_is_counted),
        cmocka_unit_test(test_a_count_is_due_after_its_interval),
        cmocka_unit_test(test_all_addresses_together_have_a_rate),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_bad_keys_over_the_rate_are_throttled),
        cmocka_unit_test(test_the_quietest_makes_place),
        cmocka_unit_test(test_nothing_to_say_of_one_that_makes_place),
        cmocka_unit_test(test_more_than_may_be_told_apart_are_others),
        cmocka_unit_test(test_what_was_not_recorded_is_counted_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
