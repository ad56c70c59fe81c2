/* Store: what every backend must do (one suite for all). Beside this: keys (store_key_test.c),
 * lists (store_list_test.c), kill -9 (store_kill_test.c), and what is SQLite's own
 * (store_sqlite_test.c). */
#include "common/clock.h"
#include "common/mailbox.h"
#include "common/memory.h"
#include "store/store_priv.h"
#include "store_fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void test_action_round_trip(void **state)
{
    struct fixture *fixture = *state;
    struct store_action action = sample_action("act_1");
    struct store_write *write;

    assert_int_equal(read_action(fixture, "act_1", NULL), ERR_NOT_FOUND);
    assert_int_equal(do_write(fixture, action_write("act_1")), OK);
    assert_int_equal(read_action(fixture, "act_1", &action), OK);

    action.state = "dispatched";
    action.call_id = "call-1";
    assert_int_equal(do_write(fixture, change_write("act_1", "dispatched", 0)), OK);
    assert_int_equal(read_action(fixture, "act_1", &action), OK);

    action.progress = "{\"devices\":[[0,3,1]]}";
    write = store_write_new();
    store_write_set_progress(write, "act_1", "dispatched", action.progress);
    store_write_set_state(write, "act_1", "dispatched", "call-2");
    assert_int_equal(do_write(fixture, write), OK);
    action.call_id = "call-2";
    assert_int_equal(read_action(fixture, "act_1", &action), OK);

    action.state = "unknown";
    action.finished_ms = 1795341601000;
    action.progress = NULL;
    action.problem = "{\"type\":\"x\"}";
    write = store_write_new();
    store_write_set_state(write, "act_1", "dispatched", NULL);
    store_write_finish_action(write, "act_1", "unknown", 1795341601000, NULL, action.problem);
    assert_int_equal(do_write(fixture, write), OK);
    assert_int_equal(read_action(fixture, "act_1", &action), OK);

    reopen_store(fixture);
    assert_int_equal(read_action(fixture, "act_1", &action), OK);
}

struct ids {
    char text[64];
    int limit;
};

static bool on_open_action(const struct store_action *action, void *arg)
{
    struct ids *ids = arg;
    struct store_action wanted = sample_action(action->id);

    wanted.submitted_ms = action->submitted_ms;
    same_action(action, &wanted);
    (void)strncat(ids->text, action->id, sizeof(ids->text) - strlen(ids->text) - 1);
    return --ids->limit > 0;
}

static void test_open_actions_in_order_of_submission(void **state)
{
    static const int64_t submitted_ms[] = {5000, 5000, 4000, 5000};
    static const char *const ids[] = {"z", "c", "y", "b"};
    struct fixture *fixture = *state;
    struct store_action action;
    struct store_write *write = store_write_new();
    struct ids got = {.limit = 100};

    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        action = sample_action(ids[i]);
        action.submitted_ms = submitted_ms[i];
        store_write_add_action(write, &action);
    }
    action = sample_action("other");
    action.account = "other";
    store_write_add_action(write, &action);
    action = sample_action("done");
    action.finished_ms = 6000;
    store_write_add_action(write, &action);
    assert_int_equal(do_write(fixture, write), OK);
    assert_int_equal(do_write(fixture, change_write("c", "completed", 7000)), OK);

    reopen_store(fixture);
    assert_int_equal(store_load_open_actions(fixture->store, "main", on_open_action, &got, NULL),
                     OK);
    assert_string_equal(got.text, "zyb");
    got = (struct ids){.limit = 2};
    assert_int_equal(store_load_open_actions(fixture->store, "main", on_open_action, &got, NULL),
                     OK);
    assert_string_equal(got.text, "zy");
}

static bool on_grant(const struct store_grant *grant, void *arg)
{
    char **text = arg;
    char *more = xasprintf("%s%s,%s,%s,%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%s;", *text,
                           grant->call_id, grant->account, grant->boot_id, grant->taken_boot_ms,
                           grant->taken_wall_ms, grant->answered_boot_ms, grant->answered_wall_ms,
                           grant->detail);

    free(*text);
    *text = more;
    return true;
}

static void test_grants(void **state)
{
    struct fixture *fixture = *state;
    struct store_grant grant = {"call-2", "main", "boot-1", 10, 1000, -1, -1, "{\"actions\":[]}"};
    struct store_write *write = store_write_new();
    char *text = xstrdup("");

    store_write_add_grant(write, &grant);
    grant.call_id = "call-1";
    grant.taken_boot_ms = 20;
    store_write_add_grant(write, &grant);
    grant.call_id = "call-3";
    store_write_add_grant(write, &grant);
    grant.call_id = "call-4";
    grant.account = "other";
    store_write_add_grant(write, &grant);
    assert_int_equal(do_write(fixture, write), OK);
    write = store_write_new();
    store_write_answer_grant(write, "call-1", 30, 1030);
    store_write_drop_grant(write, "call-3");
    assert_int_equal(do_write(fixture, write), OK);

    reopen_store(fixture);
    assert_int_equal(store_load_grants(fixture->store, "main", on_grant, &text, NULL), OK);
    assert_string_equal(text, "call-2,main,boot-1,10,1000,-1,-1,{\"actions\":[]};"
                              "call-1,main,boot-1,20,1000,30,1030,{\"actions\":[]};");
    free(text);
}

static bool on_account(const char *account, void *arg)
{
    struct ids *ids = arg;

    (void)strncat(ids->text, account, sizeof(ids->text) - strlen(ids->text) - 1);
    return --ids->limit > 0;
}

/* Of what has not ended, and of grants; each once. */
static void test_accounts(void **state)
{
    static const char *const of_actions[] = {"d", "b", "b", "x"};
    static const char *const ids[] = {"0", "1", "2", "3"};
    struct fixture *fixture = *state;
    struct store_grant grant = {"call-1", "a", "boot-1", 10, 1000, 20, 1010, NULL};
    struct store_write *write = store_write_new();
    struct ids got = {.limit = 100};

    for (size_t i = 0; i < ARRAY_LEN(of_actions); i++) {
        struct store_action action = sample_action(ids[i]);
        action.account = of_actions[i];
        action.finished_ms = i == 3 ? 1 : 0;
        store_write_add_action(write, &action);
    }
    store_write_add_grant(write, &grant);
    grant.account = "b";
    grant.call_id = "call-2";
    store_write_add_grant(write, &grant);
    assert_int_equal(do_write(fixture, write), OK);
    reopen_store(fixture);
    assert_int_equal(store_load_accounts(fixture->store, on_account, &got, NULL), OK);
    assert_string_equal(got.text, "abd");
    got = (struct ids){.limit = 2};
    assert_int_equal(store_load_accounts(fixture->store, on_account, &got, NULL), OK);
    assert_string_equal(got.text, "ab");
}

struct records {
    char *nodes[4];
    char *texts[4];
    size_t count;
};

static bool on_record(const char *node, int64_t seq, const char *record, size_t len, void *arg)
{
    struct records *records = arg;

    (void)seq;
    records->nodes[records->count] = xstrdup(node);
    records->texts[records->count++] = xstrndup(record, len);
    return records->count < ARRAY_LEN(records->texts);
}

static void same_record(const char *record, const char *start, const char *end,
                        int64_t not_before_ms)
{
    size_t start_len = strlen(start);
    char time[CLOCK_TEXT_SIZE];
    int64_t time_ms;

    assert_int_equal(strlen(record), start_len + strlen("2026-11-22T10:00:00.000Z") + strlen(end));
    assert_memory_equal(record, start, start_len);
    (void)snprintf(time, sizeof(time), "%.24s", record + start_len);
    assert_int_equal(clock_parse(time, &time_ms), OK);
    assert_in_range(time_ms, not_before_ms, clock_wall_ms());
    assert_string_equal(record + start_len + 24, end);
}

static void test_records_are_kept_as_built(void **state)
{
    struct fixture *fixture = *state;
    struct store *store;
    struct records records = {0};
    int64_t started_ms = clock_wall_ms();
    struct store_write *write = store_write_new();

    store_write_add_record(write, xstrdup("\"event\":\"a\",\"x\":\"\\u0000 \xc3\xa9\" }"));
    store_write_add_record(write, xstrdup("\"event\":\"b\"}"));
    assert_int_equal(do_write(fixture, write), OK);

    close_store(fixture);
    assert_int_equal(store_open(fixture->url, "a \"node\"", &store, NULL), OK);
    fixture->store = store;
    write = store_write_new();
    store_write_add_record(write, xstrdup("\"event\":\"c\"}"));
    assert_int_equal(do_write(fixture, write), OK);

    assert_int_equal(store_each_record(fixture->url, on_record, &records, NULL), OK);
    assert_int_equal(records.count, 3);
    assert_string_equal(records.nodes[0], "a \"node\"");
    assert_string_equal(records.nodes[1], "gw-1");
    same_record(records.texts[0], "{\"v\":1,\"node\":\"a \\\"node\\\"\",\"seq\":0,\"time\":\"",
                "\",\"event\":\"c\"}", started_ms);
    same_record(records.texts[1], "{\"v\":1,\"node\":\"gw-1\",\"seq\":0,\"time\":\"",
                "\",\"event\":\"a\",\"x\":\"\\u0000 \xc3\xa9\" }", started_ms);
    same_record(records.texts[2], "{\"v\":1,\"node\":\"gw-1\",\"seq\":1,\"time\":\"",
                "\",\"event\":\"b\"}", started_ms);
    for (size_t i = 0; i < records.count; i++) {
        free(records.nodes[i]);
        free(records.texts[i]);
    }
}

static void test_reopening_continues_seq(void **state)
{
    static const int wanted[] = {0, 1, 2};
    struct fixture *fixture = *state;

    for (int i = 0; i < 3; i++) {
        assert_int_equal(do_write(fixture, record_write(i)), OK);
        reopen_store(fixture);
    }
    assert_numbers(fixture, wanted, 3);
}

/* More than a page, both in rows and in bytes; and false stops. */
static void test_each_record_goes_through_all(void **state)
{
    struct fixture *fixture = *state;
    struct store_write *write = store_write_new();
    char *padding = xcalloc(1, 700001);
    struct records records = {0};
    int wanted[1504];

    memset(padding, 'x', 700000);
    for (int i = 0; i < 1504; i++) {
        wanted[i] = i;
        store_write_add_record(
            write, xasprintf("\"n\":%d,\"pad\":\"%s\"}", i, i % 500 == 3 ? padding : ""));
    }
    free(padding);
    assert_int_equal(do_write(fixture, write), OK);
    assert_numbers(fixture, wanted, 1504);

    assert_int_equal(store_each_record(fixture->url, on_record, &records, NULL), OK);
    assert_int_equal(records.count, ARRAY_LEN(records.texts));
    for (size_t i = 0; i < records.count; i++) {
        free(records.nodes[i]);
        free(records.texts[i]);
    }
}

/* A write that cannot be stored says why, leaves nothing, and leaves the store healthy. */
static void test_errors_of_writes(void **state)
{
    static const int wanted[] = {7};
    struct fixture *fixture = *state;
    struct store_action action = sample_action("act_2");
    struct store_grant grant = {"call-1", "main", "boot-1", 10, 1000, -1, -1, NULL};
    struct store_write *write;

    assert_int_equal(do_write(fixture, action_write("act_1")), OK);
    assert_int_equal(do_write(fixture, action_write("act_1")), ERR_EXISTS);
    assert_int_equal(do_write(fixture, change_write("act_9", "queued", 0)), ERR_NOT_FOUND);
    assert_int_equal(do_write(fixture, change_write("act_1", "completed", 5)), OK);
    assert_int_equal(do_write(fixture, change_write("act_1", "queued", 0)), ERR_NOT_FOUND);
    assert_int_equal(do_write(fixture, change_write("act_1", "failed", 6)), ERR_NOT_FOUND);
    write = store_write_new();
    action.account = NULL;
    store_write_add_action(write, &action);
    assert_int_equal(do_write(fixture, write), ERR_INVALID);
    write = store_write_new();
    store_write_drop_grant(write, "call-1");
    assert_int_equal(do_write(fixture, write), ERR_NOT_FOUND);
    write = store_write_new();
    store_write_answer_grant(write, "call-1", 1, 1);
    assert_int_equal(do_write(fixture, write), ERR_NOT_FOUND);

    /* The parts before the one that fails are undone. */
    write = action_write("act_2");
    store_write_add_record(write, xstrdup("\"n\":1}"));
    store_write_add_grant(write, &grant);
    store_write_add_grant(write, &grant);
    store_write_add_record(write, xstrdup("\"n\":2}"));
    assert_int_equal(do_write(fixture, write), ERR_EXISTS);
    assert_int_equal(read_action(fixture, "act_2", NULL), ERR_NOT_FOUND);
    assert_true(store_healthy(fixture->store));
    assert_int_equal(do_write(fixture, record_write(7)), OK);
    assert_numbers(fixture, wanted, 1);
    assert_int_equal(do_write(fixture, store_write_new()), OK);
}

/* The writer is held, so that all of these are one group. */
static void test_failures_in_a_group_are_alone(void **state)
{
    static const int wanted[] = {0, 2, 4, 6, 8};
    struct fixture *fixture = *state;
    struct outcome outcomes[10];
    void *held;

    assert_int_equal(do_write(fixture, action_write("there")), OK);
    held = backend->hold(fixture->url);
    for (int i = 0; i < 10; i++) {
        struct store_write *write = record_write(i);
        if (i % 4 == 1) {
            store_write_set_state(write, "not there", "queued", NULL);
        } else if (i % 4 == 3) {
            struct store_action action = sample_action("there");
            store_write_add_action(write, &action);
        }
        submit(fixture, write, &outcomes[i]);
    }
    backend->release(held);
    for (int i = 0; i < 10; i++) {
        wait_for(fixture, &outcomes[i]);
        assert_int_equal(outcomes[i].result, i % 4 == 1   ? ERR_NOT_FOUND
                                             : i % 4 == 3 ? ERR_EXISTS
                                                          : OK);
    }
    assert_numbers(fixture, wanted, 5);
}

enum { MANY = 3 * STORE_WRITES_MAX };

/* Held longer than it waits, the store says so and is not healthy; it takes only so many writes;
 * each is answered once; and it comes back. */
static void test_locked_and_full(void **state)
{
    struct fixture *fixture = *state;
    struct outcome *outcomes = xcalloc(MANY, sizeof(*outcomes));
    struct error problem;
    void *held = backend->hold(fixture->url);
    int ok = 0;
    int count = 0;
    enum err err = OK;

    while (err == OK && count < MANY) {
        struct store_write *write = record_write(count);
        err = store_submit(fixture->store, write, fixture->replies, on_written, &outcomes[count]);
        if (err == OK) {
            count++;
        } else {
            store_write_free(write);
        }
    }
    assert_int_equal(err, ERR_FULL);
    assert_in_range(count, STORE_WRITES_MAX, 2 * STORE_WRITES_MAX);
    wait_for(fixture, &outcomes[0]);
    assert_int_equal(outcomes[0].result, ERR_UNAVAILABLE);
    assert_false(store_healthy(fixture->store));
    store_problem(fixture->store, &problem);
    assert_int_equal(problem.code, ERR_UNAVAILABLE);
    assert_string_not_equal(problem.text, "");
    backend->release(held);
    for (int i = 0; i < count; i++) {
        wait_for(fixture, &outcomes[i]);
        assert_true(outcomes[i].result == OK || outcomes[i].result == ERR_UNAVAILABLE);
        ok += outcomes[i].result == OK;
    }
    assert_true(ok > 0);
    assert_true(store_healthy(fixture->store));
    {
        struct numbers numbers = read_numbers(fixture);
        assert_int_equal(numbers.count, ok);
        for (int i = 0; i < numbers.count; i++) {
            assert_int_equal(outcomes[numbers.n[i]].result, OK);
        }
        free(numbers.n);
    }
    free(outcomes);
}

/* Bytes are bounded too. (What the bytes are does not matter here.) */
static void test_full_of_bytes(void **state)
{
    struct fixture *fixture = *state;
    size_t len = STORE_WRITE_BYTES_MAX / 16;
    struct store_write *writes[17];
    struct outcome outcomes[17] = {0};
    int count = 0;
    enum err err = OK;

    for (int i = 0; i < 17; i++) { /* before it is held, which is not for ever */
        char *tail = xcalloc(1, len + 1);
        memset(tail, '"', len);
        writes[i] = record_write(i);
        store_write_add_record(writes[i], tail);
    }
    void *held = backend->hold(fixture->url);
    while (err == OK && count < 17) {
        err = store_submit(fixture->store, writes[count], fixture->replies, on_written,
                           &outcomes[count]);
        count += err == OK ? 1 : 0;
    }
    for (int i = count; i < 17; i++) {
        store_write_free(writes[i]);
    }
    assert_int_equal(err, ERR_FULL);
    assert_int_equal(count, 15);
    backend->release(held);
    for (int i = 0; i < count; i++) {
        wait_for(fixture, &outcomes[i]);
        assert_int_equal(outcomes[i].result, OK);
    }
    assert_int_equal(do_write(fixture, record_write(0)), OK);
}

static void test_close_does_and_answers_what_waits(void **state)
{
    struct fixture *fixture = *state;
    struct outcome outcomes[3000];
    struct expected expected = {0};

    for (int i = 0; i < 3000; i++) {
        submit(fixture, record_write(i), &outcomes[i]);
    }
    assert_int_equal(store_submit(fixture->store, record_write(3000), NULL, NULL, NULL), OK);
    assert_int_equal(
        store_read_action(fixture->store, "none", fixture->replies, on_action, &expected), OK);
    close_store(fixture);
    mailbox_free(fixture->replies);
    fixture->replies = NULL;
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(outcomes[i].calls, 1);
        assert_int_equal(outcomes[i].result, OK);
    }
    assert_int_equal(expected.calls, 1);
    assert_int_equal(expected.result, ERR_NOT_FOUND);
    {
        struct numbers numbers = read_numbers(fixture);
        assert_int_equal(numbers.count, 3001);
        free(numbers.n);
    }
}

/* A read sees what was answered before it, while other writes go on, as does another reader. */
static void test_reads_during_writes(void **state)
{
    struct fixture *fixture = *state;
    struct outcome outcomes[200 * 10];

    for (int i = 0; i < 200; i++) {
        struct outcome mine;
        char id[32];
        for (int j = 0; j < 10; j++) {
            submit(fixture, record_write(i * 10 + j), &outcomes[i * 10 + j]);
        }
        (void)snprintf(id, sizeof(id), "act_%d", i);
        submit(fixture, action_write(id), &mine);
        wait_for(fixture, &mine);
        assert_int_equal(mine.result, OK);
        assert_int_equal(read_action(fixture, id, NULL), OK);
        if (i % 50 == 0) {
            struct numbers numbers = read_numbers(fixture);
            assert_true(numbers.count >= (i + 1) * 10);
            free(numbers.n);
        }
    }
}

static void test_second_open_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct store *store = NULL;
    struct error error = {0};

    assert_int_equal(store_open(fixture->url, "gw-1", &store, &error), ERR_UNAVAILABLE);
    assert_null(store);
    assert_non_null(strstr(error.text, "stop it first"));
    /* Being refused has not hurt the first. */
    assert_int_equal(do_write(fixture, record_write(0)), OK);
}

static void test_bad_urls(void **state)
{
    static const char *const urls[] = {"", "sqlite", "sqlite:", "mysql:x", "/tmp/x.db"};
    struct store *store = NULL;
    struct error error = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        assert_int_equal(store_open(urls[i], "gw-1", &store, &error), ERR_INVALID);
        assert_int_equal(error.code, ERR_INVALID);
        assert_int_equal(store_each_record(urls[i], on_record, NULL, NULL), ERR_INVALID);
        assert_null(store);
    }
}

/* ---- */

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    static const struct CMUnitTest suite[] = {
        TEST(test_action_round_trip),
        TEST(test_open_actions_in_order_of_submission),
        TEST(test_grants),
        TEST(test_accounts),
        TEST(test_records_are_kept_as_built),
        TEST(test_reopening_continues_seq),
        TEST(test_each_record_goes_through_all),
        TEST(test_errors_of_writes),
        TEST(test_failures_in_a_group_are_alone),
        TEST(test_locked_and_full),
        TEST(test_full_of_bytes),
        TEST(test_close_does_and_answers_what_waits),
        TEST(test_reads_during_writes),
        TEST(test_second_open_is_refused),
        cmocka_unit_test(test_bad_urls),
    };
    int failed = 0;

    for (size_t i = 0; i < backend_count; i++) {
        backend = &backends[i];
        failed += cmocka_run_group_tests_name(backend->name, suite, NULL, NULL);
    }
    return failed;
}
