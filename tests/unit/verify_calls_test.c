/* Tests of the rules between records: intents, outcomes, actions, and the budget. */
#include "verify_fixture.h"

#include "gateway/idmap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

static struct fake_log made;

static int start(void **state)
{
    (void)state;
    log_start(&made, "gw", 0, 2); /* two calls in 60 s */
    return 0;
}

static int done(void **state)
{
    (void)state;
    log_done(&made);
    return 0;
}

static struct verify *verify(void)
{
    log_seal(&made, "gw", 100);
    return log_verify(&made, NULL);
}

/* An action and a call of it that takes 100 ms. */
static void work(int64_t ms, int number)
{
    log_accept(&made, "gw", ms, number);
    log_intent(&made, "gw", ms, number, number);
    log_outcome(&made, "gw", ms + 100, number, true);
}

/* ---- What belongs together ---- */

static void test_an_outcome_without_intent(void **state)
{
    (void)state;
    log_outcome(&made, "gw", 10, 1, true);
    assert_first(verify(), 2, "outcome-without-intent");
}

static void test_an_outcome_before_its_intent(void **state)
{
    (void)state;
    log_accept(&made, "gw", 10, 1);
    log_outcome(&made, "gw", 10, 1, true);
    log_intent(&made, "gw", 10, 1, 1);
    assert_first(verify(), 3, "outcome-without-intent");
}

static void test_two_outcomes(void **state)
{
    (void)state;
    work(10, 1);
    log_outcome(&made, "gw", 200, 1, true);
    assert_first(verify(), 5, "outcome-duplicate");
}

static void test_two_intents(void **state)
{
    (void)state;
    work(10, 1);
    log_intent(&made, "gw", 200, 1, 1);
    assert_first(verify(), 5, "intent-duplicate");
}

static void test_an_intent_without_action(void **state)
{
    (void)state;
    log_intent(&made, "gw", 10, 1, 1);
    log_accept(&made, "gw", 10, 1); /* too late */
    assert_first(verify(), 2, "intent-without-action");
}

static void test_an_intent_that_names_none(void **state)
{
    (void)state;
    (void)log_add(&made, "gw", 10, "\"event\":\"call.intent\",\"call_id\":\"c\",\"detail\":{}");
    assert_first(verify(), 2, "intent-without-action");
}

static void test_records_of_calls_that_name_no_call(void **state)
{
    (void)state;
    (void)log_add(&made, "gw", 10, "\"event\":\"call.intent\"");
    (void)log_add(&made, "gw", 10, "\"event\":\"call.outcome\"");
    assert_first(verify(), 2, "intent-without-action");
}

static void test_an_intent_of_a_finished_action(void **state)
{
    (void)state;
    work(10, 1);
    log_finish(&made, "gw", 10, 1);
    log_intent(&made, "gw", 10, 2, 1);
    assert_first(verify(), 6, "intent-without-action");
}

static void test_an_end_without_a_beginning(void **state)
{
    (void)state;
    log_finish(&made, "gw", 10, 1);
    assert_first(verify(), 2, "finished-without-acceptance");
}

static void test_an_action_that_ends_twice(void **state)
{
    (void)state;
    work(10, 1);
    log_finish(&made, "gw", 10, 1);
    log_finish(&made, "gw", 10, 1);
    assert_first(verify(), 6, "finished-without-acceptance");
}

/* What is missing explains the rest. */
static void test_a_gap_is_told_alone(void **state)
{
    struct verify *verified;

    (void)state;
    work(10, 1);
    log_finish(&made, "gw", 10, 1);
    log_seal(&made, "gw", 100);
    free(made.rows[2].bytes);
    memmove(&made.rows[2], &made.rows[3], (made.row_count - 3) * sizeof(made.rows[0]));
    made.row_count--;
    verified = log_verify(&made, NULL);
    assert_int_equal(verify_findings(verified)->total, 1);
    assert_first(verified, 2, "seq-gap");
}

/* What one node accepted another may send and finish, whoever is read first. */
static void test_nodes_that_go_on_for_each_other(void **state)
{
    (void)state;
    log_start(&made, "a", 0, 2);
    log_start(&made, "z", 0, 2);
    log_accept(&made, "z", 5, 1);
    log_intent(&made, "gw", 10, 1, 1);
    log_outcome(&made, "z", 20, 1, true);
    log_finish(&made, "a", 20, 1);
    log_accept(&made, "a", 5, 2);
    log_intent(&made, "gw", 30, 2, 2);
    log_outcome(&made, "a", 40, 2, true);
    log_finish(&made, "gw", 50, 2);
    log_seal(&made, "a", 100);
    log_seal(&made, "z", 100);
    assert_good(verify());
}

static void test_nodes_without_the_other_half(void **state)
{
    (void)state;
    log_start(&made, "a", 0, 2);
    log_seal(&made, "a", 100);
    log_intent(&made, "gw", 10, 1, 1);
    assert_first(verify(), 2, "intent-without-action");
}

static void test_actions_of_pruned_records(void **state)
{
    (void)state;
    for (int i = 0; i < 260; i++) {
        log_accept(&made, "gw", 10, i);
    }
    log_intent(&made, "gw", 10, 1, 1);
    log_outcome(&made, "gw", 10, 1, true);
    log_finish(&made, "gw", 10, 1);
    log_seal(&made, "gw", 1000);
    made.pruned = 256;
    made.pruned_note = xstrdup(made.notes[0].text);
    for (size_t i = 0; i < 256; i++) {
        free(made.rows[i].bytes);
    }
    made.row_count -= 256;
    memmove(&made.rows[0], &made.rows[256], made.row_count * sizeof(made.rows[0]));
    assert_good(log_verify(&made, NULL));
}

/* ---- The budget ---- */

static void test_a_full_window(void **state)
{
    (void)state;
    work(0, 1);
    work(1000, 2);
    work(60100, 3); /* a minute after the answer to the first */
    work(61100, 4);
    assert_good(verify());
}

static void test_a_call_too_early(void **state)
{
    (void)state;
    work(0, 1);
    work(1000, 2);
    work(60099, 3);
    assert_first(verify(), 9, "over-budget");
}

static void test_calls_under_way(void **state)
{
    (void)state;
    log_accept(&made, "gw", 0, 1);
    log_intent(&made, "gw", 0, 1, 1);
    log_intent(&made, "gw", 0, 2, 1);
    log_intent(&made, "gw", 100000, 3, 1); /* nobody answered yet */
    log_outcome(&made, "gw", 100001, 1, true);
    assert_first(verify(), 5, "over-budget");
}

static void test_calls_of_which_nothing_was_sent(void **state)
{
    (void)state;
    log_accept(&made, "gw", 0, 1);
    for (int i = 0; i < 20; i++) {
        log_intent(&made, "gw", i, i, 1);
        log_outcome(&made, "gw", i, i, false);
    }
    assert_good(verify());
}

static void test_a_call_counted_late(void **state)
{
    (void)state;
    log_accept(&made, "gw", 0, 1);
    log_intent(&made, "gw", 0, 1, 1);
    log_intent(&made, "gw", 0, 2, 1);
    log_outcome(&made, "gw", 1000, 1, true);
    log_outcome(&made, "gw", 30000, 2, true); /* may lie ahead of the record */
    log_intent(&made, "gw", 61000, 3, 1);
    log_intent(&made, "gw", 89999, 4, 1);
    assert_first(verify(), 8, "over-budget");
}

static void test_a_process_that_died(void **state)
{
    (void)state;
    log_accept(&made, "gw", 0, 1);
    log_intent(&made, "gw", 0, 1, 1);
    log_intent(&made, "gw", 0, 2, 1);
    log_start(&made, "gw", 1000, 2);
    log_outcome(&made, "gw", 30000, 1, true); /* of the other it knows nothing */
    log_intent(&made, "gw", 60000, 3, 1);
    log_intent(&made, "gw", 60001, 4, 1); /* the first is held until 90000 */
    assert_first(verify(), 9, "over-budget");
}

static void test_a_budget_that_changed(void **state)
{
    (void)state;
    work(0, 1);
    work(0, 2);
    log_start(&made, "gw", 1000, 3);
    work(1000, 3);
    log_start(&made, "gw", 2000, 1);
    work(60100, 4);
    assert_first(verify(), 16, "over-budget"); /* the third is held */
}

/* What came free under the window of then is not held again by a longer one. */
static void test_a_window_that_became_longer(void **state)
{
    (void)state;
    work(0, 1);
    work(0, 2);
    (void)log_add(&made, "gw", 70000,
                  "\"event\":\"config.loaded\",\"detail\":{\"accounts\":{\"main\":"
                  "{\"requests\":2,\"window_s\":600}}}");
    work(70000, 3);
    work(70000, 4);
    work(140000, 5);
    assert_first(verify(), 16, "over-budget");
}

static void test_a_budget_that_is_not_in_the_log(void **state)
{
    struct verify *verified = verify_new(1);

    (void)state;
    log_done(&made);
    for (int i = 0; i < 4; i++) {
        work(i, i);
    }
    log_seal(&made, "gw", 100);
    for (int given = 0; given < 2; given++) {
        verified = given ? verify_new(1) : verified;
        verify_add_key(verified, log_key());
        if (given) {
            verify_set_budget(verified, "main", 2, 60);
        }
        assert_int_equal(verify_begin_node(verified, "gw", 12, 0, NULL), OK);
        for (size_t i = 0; i < made.row_count; i++) {
            const struct log_row *row = &made.rows[i];
            struct store_record record = {row->node, row->seq,  row->bytes,
                                          row->len,  row->leaf, row->leaf_len};
            verify_add_record(verified, &record);
        }
        verify_end_node(verified);
        verify_finish(verified, "gw");
        assert_int_equal(verify_account(verified, 0).unchecked, given ? 0 : 4);
        if (given) {
            assert_first(verified, 7, "over-budget");
        } else {
            assert_good(verified);
        }
    }
}

/* Records of an older version have no clock: their times must do. */
static void without_clock(int64_t ms, int call, const char *event)
{
    (void)log_add(&made, "gw", ms,
                  "\"event\":\"%s\",\"call_id\":\"call_%d\",\"account\":\"main\","
                  "\"detail\":{\"actions\":[\"act_1\"],\"nothing_sent\":false}",
                  event, call);
}

static void test_records_without_clock(void **state)
{
    (void)state;
    log_accept(&made, "gw", 0, 1);
    for (int i = 0; i < 3; i++) {
        without_clock(i * 59000, i, "call.intent"); /* a second early: records lag */
        without_clock(i * 59000, i, "call.outcome");
    }
    without_clock(170000, 4, "call.intent");
    without_clock(171000, 5, "call.intent");
    assert_first(verify(), 10, "over-budget");
}

/* The next process says what became of the call hours later; it was counted long before. */
static void test_an_old_record_of_a_process_that_died(void **state)
{
    (void)state;
    log_accept(&made, "gw", 0, 1);
    without_clock(0, 1, "call.intent");
    without_clock(0, 2, "call.intent");
    log_start(&made, "gw", 7200000, 2);
    without_clock(7200000, 1, "call.outcome");
    without_clock(7200000, 2, "call.outcome");
    without_clock(7200010, 3, "call.intent");
    without_clock(7200010, 4, "call.intent");
    assert_good(verify());
}

static void boot_record(const char *boot, int64_t wall_ms, int64_t ms, int call, bool intent)
{
    (void)log_add(&made, "gw", wall_ms,
                  "\"event\":\"%s\",\"call_id\":\"call_%d\",\"account\":\"main\",\"detail\":{"
                  "\"actions\":[\"act_1\"],\"nothing_sent\":false,\"clock\":{\"boot_id\":\"%s\","
                  "\"ms\":%lld}}",
                  intent ? "call.intent" : "call.outcome", call, boot, (long long)ms);
}

static void test_a_machine_that_restarted(void **state)
{
    (void)state;
    log_accept(&made, "gw", 0, 1);
    for (int i = 0; i < 2; i++) {
        boot_record("one", 0, 900000, i, true);
        boot_record("one", 100, 900100, i, false);
    }
    boot_record("two", 40000, 20000, 2, true); /* 40 s later, of which 20 are up */
    assert_first(verify(), 7, "over-budget");
}

static void test_a_clock_set_back_while_it_was_off(void **state)
{
    (void)state;
    log_accept(&made, "gw", 3600000, 1);
    for (int i = 0; i < 2; i++) {
        boot_record("one", 3600000, 900000, i, true);
        boot_record("one", 3600100, 900100, i, false);
    }
    boot_record("two", 70000, 60200, 2, true); /* it is up for longer than a window */
    assert_good(verify());
}

static void test_the_wall_clock_does_not_matter_within_a_boot(void **state)
{
    (void)state;
    log_accept(&made, "gw", 0, 1);
    boot_record("one", 0, 1000, 1, true);
    boot_record("one", 0, 1000, 1, false);
    boot_record("one", 0, 1000, 2, true);
    boot_record("one", 0, 1000, 2, false);
    boot_record("one", 3600000, 2000, 3, true); /* an hour by the wall, a second by the clock */
    assert_first(verify(), 7, "over-budget");
}

static void test_nodes_share_a_budget(void **state)
{
    (void)state;
    work(0, 1);
    work(10000, 2);
    log_start(&made, "other", 20000, 2);
    log_accept(&made, "other", 20000, 3);
    log_intent(&made, "other", 20000, 3, 3);
    log_outcome(&made, "other", 20100, 3, true);
    log_seal(&made, "other", 100);
    assert_first(verify(), 3, "over-budget");
}

static void test_nodes_that_keep_to_a_budget(void **state)
{
    (void)state;
    work(0, 1);
    work(10000, 2);
    log_start(&made, "other", 20000, 2);
    log_accept(&made, "other", 20000, 3);
    log_intent(&made, "other", 60200, 3, 3);
    log_outcome(&made, "other", 60300, 3, true);
    log_seal(&made, "other", 100);
    assert_good(verify());
}

/* ---- The table of ids ---- */

static void count(uint64_t hash, uint64_t number, void *arg)
{
    size_t *counted = arg;

    assert_int_not_equal(hash, 0);
    assert_true(number < 5000);
    (*counted)++;
}

static void test_idmap(void **state)
{
    static bool there[5000];
    struct idmap map;
    unsigned seed = 3;
    size_t expected = 0;
    size_t counted = 0;

    (void)state;
    idmap_init(&map);
    for (int round = 0; round < 100000; round++) {
        char id[16];
        size_t number = (size_t)rand_r(&seed) % ARRAY_LEN(there);
        size_t len = (size_t)snprintf(id, sizeof(id), "id-%zu", number);
        uint64_t hash = idmap_hash(&map, id, len);
        const uint64_t *found = idmap_find(&map, hash);
        assert_int_equal(found != NULL, there[number]);
        assert_true(found == NULL || *found == number);
        if (found == NULL) {
            idmap_add(&map, hash, number);
        } else {
            idmap_remove(&map, hash);
        }
        there[number] = !there[number];
    }
    for (size_t i = 0; i < ARRAY_LEN(there); i++) {
        expected += there[i] ? 1 : 0;
    }
    idmap_each(&map, count, &counted);
    assert_int_equal(counted, expected);
    assert_int_equal(map.count, expected);
    idmap_done(&map);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, start, done)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_an_outcome_without_intent),
        TEST(test_an_outcome_before_its_intent),
        TEST(test_two_outcomes),
        TEST(test_two_intents),
        TEST(test_an_intent_without_action),
        TEST(test_an_intent_that_names_none),
        TEST(test_records_of_calls_that_name_no_call),
        TEST(test_an_intent_of_a_finished_action),
        TEST(test_an_end_without_a_beginning),
        TEST(test_an_action_that_ends_twice),
        TEST(test_a_gap_is_told_alone),
        TEST(test_nodes_that_go_on_for_each_other),
        TEST(test_nodes_without_the_other_half),
        TEST(test_actions_of_pruned_records),
        TEST(test_a_full_window),
        TEST(test_a_call_too_early),
        TEST(test_calls_under_way),
        TEST(test_calls_of_which_nothing_was_sent),
        TEST(test_a_call_counted_late),
        TEST(test_a_process_that_died),
        TEST(test_a_budget_that_changed),
        TEST(test_a_window_that_became_longer),
        TEST(test_a_budget_that_is_not_in_the_log),
        TEST(test_records_without_clock),
        TEST(test_an_old_record_of_a_process_that_died),
        TEST(test_a_machine_that_restarted),
        TEST(test_a_clock_set_back_while_it_was_off),
        TEST(test_the_wall_clock_does_not_matter_within_a_boot),
        TEST(test_nodes_share_a_budget),
        TEST(test_nodes_that_keep_to_a_budget),
        cmocka_unit_test(test_idmap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
