/* Store: one suite for every backend (the table of backends says how to make a fresh store, and
 * how to hurt it), and what is SQLite's own after it. Faults are real ones: a file size limit
 * for a full disk, a failing sync, a deleted file, kill -9. */
#include "common/clock.h"
#include "common/mailbox.h"
#include "common/memory.h"
#include "store/store.h"
#include "store/store_priv.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- Backends ---- */

struct backend {
    const char *name;
    char *(*new_url)(void); /* of an empty store; NULL: not available here */
    void (*remove)(const char *url);
    void *(*hold)(const char *url); /* keeps every writer waiting */
    void (*release)(void *held);
};

static char *sqlite_new_url(void)
{
    char directory[] = "/tmp/store-test-XXXXXX";

    assert_non_null(mkdtemp(directory));
    return xasprintf("sqlite:%s/tollgate.db", directory);
}

static const char *path_of(const char *url)
{
    return strchr(url, ':') + 1;
}

static void sqlite_remove(const char *url)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", ".lock", ".away"};
    char *directory = xstrdup(path_of(url));

    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        char *name = xasprintf("%s%s", path_of(url), suffixes[i]);
        (void)unlink(name);
        free(name);
    }
    *strrchr(directory, '/') = '\0';
    assert_int_equal(rmdir(directory), 0);
    free(directory);
}

static sqlite3 *open_beside(const char *url)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(path_of(url), &db), SQLITE_OK);
    assert_int_equal(sqlite3_busy_timeout(db, 5000), SQLITE_OK);
    return db;
}

static void run_beside(sqlite3 *db, const char *sql)
{
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
}

static void *sqlite_hold(const char *url)
{
    sqlite3 *db = open_beside(url);

    run_beside(db, "BEGIN IMMEDIATE");
    return db;
}

static void sqlite_release(void *held)
{
    run_beside(held, "ROLLBACK");
    assert_int_equal(sqlite3_close(held), SQLITE_OK);
}

static const struct backend backends[] = {
    {"sqlite", sqlite_new_url, sqlite_remove, sqlite_hold, sqlite_release},
};
static const struct backend *backend;

/* ---- Fixture: a fresh store, and a loop with the mailbox for its answers ---- */

struct fixture {
    char *url;
    struct store *store;
    struct event_base *base;
    struct mailbox *replies;
};

/* What came back for one write. */
struct outcome {
    int calls;
    enum err result;
};

static void open_store(struct fixture *fixture)
{
    struct error error = {0};
    enum err err = store_open(fixture->url, "gw-1", &fixture->store, &error);

    if (err != OK) {
        fail_msg("store_open: %s", error.text);
    }
}

static void close_store(struct fixture *fixture)
{
    store_close(fixture->store);
    fixture->store = NULL;
}

static void reopen_store(struct fixture *fixture)
{
    close_store(fixture);
    open_store(fixture);
}

static int set_up(void **state)
{
    struct fixture *fixture = xcalloc(1, sizeof(*fixture));

    fixture->url = backend->new_url();
    fixture->base = event_base_new();
    fixture->replies = mailbox_new(fixture->base, 1, NULL, NULL);
    open_store(fixture);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    store_close(fixture->store);
    mailbox_free(fixture->replies);
    event_base_free(fixture->base);
    backend->remove(fixture->url);
    free(fixture->url);
    free(fixture);
    return 0;
}

static void on_written(enum err result, void *arg)
{
    struct outcome *outcome = arg;

    outcome->calls++;
    outcome->result = result;
}

static void submit(struct fixture *fixture, struct store_write *write, struct outcome *outcome)
{
    *outcome = (struct outcome){0};
    assert_int_equal(store_submit(fixture->store, write, fixture->replies, on_written, outcome),
                     OK);
    assert_int_equal(outcome->calls, 0);
}

static void wait_for(struct fixture *fixture, const struct outcome *outcome)
{
    while (outcome->calls == 0) {
        assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    }
    assert_int_equal(outcome->calls, 1);
}

static enum err do_write(struct fixture *fixture, struct store_write *write)
{
    struct outcome outcome;

    submit(fixture, write, &outcome);
    wait_for(fixture, &outcome);
    return outcome.result;
}

/* ---- Things to store ---- */

static struct store_action sample_action(const char *id)
{
    return (struct store_action){
        .id = id,
        .account = "main",
        .team = "helpdesk",
        .client = "nightly \"ex\xc3\xa9mpt\"",
        .key_id = "k1",
        .request_id = "r-1",
        .state = "queued",
        .submitted_ms = 1795341600123,
        .finished_ms = 0,
        .priority = 3,
        .reason = "why not'; DROP TABLE actions; --",
        .rule = "helpdesk/0",
        .request = "{\"types\":\"exempt\",\"ids\":[\"a\"]}",
    };
}

static struct store_write *action_write(const char *id)
{
    struct store_write *write = store_write_new();
    struct store_action action = sample_action(id);

    store_write_add_action(write, &action);
    return write;
}

static struct store_write *record_write(int number)
{
    struct store_write *write = store_write_new();

    store_write_add_record(write, xasprintf("\"event\":\"test\",\"n\":%d}", number));
    return write;
}

static struct store_write *change_write(const char *id, const char *state, int64_t finished_ms)
{
    struct store_write *write = store_write_new();

    if (finished_ms == 0) {
        store_write_set_state(write, id, state, "call-1");
    } else {
        store_write_finish_action(write, id, state, finished_ms, "[{\"id\":\"a\"}]", NULL);
    }
    return write;
}

/* ---- Reading back ---- */

struct expected {
    int calls;
    enum err result;
    const struct store_action *action;
};

static void same_text(const char *got, const char *wanted)
{
    if (wanted == NULL) {
        assert_null(got);
    } else {
        assert_non_null(got);
        assert_string_equal(got, wanted);
    }
}

static void same_action(const struct store_action *got, const struct store_action *wanted)
{
    same_text(got->id, wanted->id);
    same_text(got->account, wanted->account);
    same_text(got->team, wanted->team);
    same_text(got->client, wanted->client);
    same_text(got->key_id, wanted->key_id);
    same_text(got->request_id, wanted->request_id);
    same_text(got->state, wanted->state);
    assert_int_equal(got->submitted_ms, wanted->submitted_ms);
    assert_int_equal(got->finished_ms, wanted->finished_ms);
    assert_int_equal(got->priority, wanted->priority);
    same_text(got->reason, wanted->reason);
    same_text(got->rule, wanted->rule);
    same_text(got->request, wanted->request);
    same_text(got->results, wanted->results);
    same_text(got->problem, wanted->problem);
    same_text(got->call_id, wanted->call_id);
}

static void on_action(enum err result, const struct store_action *action, void *arg)
{
    struct expected *expected = arg;

    expected->calls++;
    expected->result = result;
    assert_int_equal(action != NULL, result == OK);
    if (action != NULL && expected->action != NULL) {
        same_action(action, expected->action);
    }
}

/* Reads an action, compares it unless wanted is NULL, and returns the result of the read. */
static enum err read_action(struct fixture *fixture, const char *id,
                            const struct store_action *wanted)
{
    struct expected expected = {.action = wanted};

    assert_int_equal(store_read_action(fixture->store, id, fixture->replies, on_action, &expected),
                     OK);
    assert_int_equal(expected.calls, 0);
    while (expected.calls == 0) {
        assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    }
    assert_int_equal(expected.calls, 1);
    return expected.result;
}

#define NUMBERS_MAX 100000

/* The numbers of the records of gw-1, after checking that their seq is contiguous from 0. */
struct numbers {
    int count;
    int *n;
};

static bool on_number(const char *node, int64_t seq, const char *record, size_t len, void *arg)
{
    struct numbers *numbers = arg;
    char start[64];
    const char *n = strstr(record, "\"n\":");

    assert_int_equal(strlen(record), len);
    if (strcmp(node, "gw-1") != 0) {
        return true;
    }
    assert_int_equal(seq, numbers->count);
    (void)snprintf(start, sizeof(start), "{\"v\":1,\"node\":\"gw-1\",\"seq\":%" PRId64 ",", seq);
    assert_memory_equal(record, start, strlen(start));
    assert_non_null(n);
    assert_in_range(numbers->count, 0, NUMBERS_MAX - 1);
    numbers->n[numbers->count++] = (int)strtol(n + 4, NULL, 10);
    return true;
}

static struct numbers read_numbers(const struct fixture *fixture)
{
    struct numbers numbers = {.n = xcalloc(NUMBERS_MAX, sizeof(int))};
    struct error error = {0};

    if (store_each_record(fixture->url, on_number, &numbers, &error) != OK) {
        fail_msg("store_each_record: %s", error.text);
    }
    return numbers;
}

static void assert_numbers(const struct fixture *fixture, const int *wanted, int count)
{
    struct numbers numbers = read_numbers(fixture);

    assert_int_equal(numbers.count, count);
    for (int i = 0; i < count; i++) {
        assert_int_equal(numbers.n[i], wanted[i]);
    }
    free(numbers.n);
}

/* ---- The suite ---- */

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

    action.state = "unknown";
    action.finished_ms = 1795341601000;
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
    char *more = xasprintf("%s%s,%s,%s,%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ";", *text,
                           grant->call_id, grant->account, grant->boot_id, grant->taken_boot_ms,
                           grant->taken_wall_ms, grant->answered_boot_ms, grant->answered_wall_ms);

    free(*text);
    *text = more;
    return true;
}

static void test_grants(void **state)
{
    struct fixture *fixture = *state;
    struct store_grant grant = {"call-2", "main", "boot-1", 10, 1000, -1, -1};
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
    assert_string_equal(text, "call-2,main,boot-1,10,1000,-1,-1;"
                              "call-1,main,boot-1,20,1000,30,1030;");
    free(text);
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
    struct store_grant grant = {"call-1", "main", "boot-1", 10, 1000, -1, -1};
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
    void *held = backend->hold(fixture->url);
    size_t len = STORE_WRITE_BYTES_MAX / 16;
    struct outcome outcomes[32] = {0};
    int count = 0;
    enum err err = OK;

    while (err == OK && count < 32) {
        struct store_write *write = record_write(count);
        char *tail = xcalloc(1, len + 1);
        memset(tail, '"', len);
        store_write_add_record(write, tail);
        err = store_submit(fixture->store, write, fixture->replies, on_written, &outcomes[count]);
        if (err == OK) {
            count++;
        } else {
            store_write_free(write);
        }
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

/* ---- kill -9 under load. The child is this program again: see main(). ---- */

#define LOAD_OUTSTANDING 64

struct load {
    struct fixture fixture;
    int out;
    int next;
};

struct load_write {
    struct load *load;
    int number;
};

static void submit_load(struct load *load);

static void on_load_written(enum err result, void *arg)
{
    struct load_write *done = arg;

    if (result != OK || write(done->load->out, &done->number, sizeof(int)) != sizeof(int)) {
        _exit(1);
    }
    submit_load(done->load);
    free(done);
}

static void submit_load(struct load *load)
{
    struct load_write *mine = xcalloc(1, sizeof(*mine));
    struct store_write *write = record_write(load->next);
    char id[32];
    struct store_action action;

    *mine = (struct load_write){load, load->next++};
    (void)snprintf(id, sizeof(id), "act_%d", mine->number);
    action = sample_action(id);
    store_write_add_action(write, &action);
    if (store_submit(load->fixture.store, write, load->fixture.replies, on_load_written, mine) !=
        OK) {
        _exit(1);
    }
}

/* Writes without end, and the number of each write that was answered to out. */
static int run_load(const char *url, int first, int out)
{
    struct load load = {.out = out, .next = first};

    if (store_open(url, "gw-1", &load.fixture.store, NULL) != OK) {
        return 1;
    }
    load.fixture.base = event_base_new();
    load.fixture.replies = mailbox_new(load.fixture.base, 1, NULL, NULL);
    for (int i = 0; i < LOAD_OUTSTANDING; i++) {
        submit_load(&load);
    }
    (void)event_base_dispatch(load.fixture.base);
    return 1;
}

/* Starts this program as a child that runs the named job, and returns the end to read from. */
static pid_t start_child(const char *job, const char *url, int first, int *ret_in)
{
    int ends[2];
    char number[16];
    char out[16];
    pid_t pid;

    assert_int_equal(pipe(ends), 0);
    (void)snprintf(number, sizeof(number), "%d", first);
    (void)snprintf(out, sizeof(out), "%d", ends[1]);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)execl("/proc/self/exe", "store_test", job, url, number, out, (char *)NULL);
        _exit(1);
    }
    (void)close(ends[1]);
    *ret_in = ends[0];
    return pid;
}

static void test_kill_under_load(void **state)
{
    struct fixture *fixture = *state;
    char *seen = xcalloc(NUMBERS_MAX, 1);
    char *stored = xcalloc(NUMBERS_MAX, 1);
    int in;
    int number;

    close_store(fixture);
    for (int round = 0; round < 4; round++) {
        pid_t pid = start_child("load", fixture->url, round * NUMBERS_MAX / 4, &in);
        int status;
        for (int i = 0; i < 50 + round * 333; i++) {
            assert_int_equal(read(in, &number, sizeof(number)), sizeof(number));
            seen[number] = 1;
        }
        assert_int_equal(kill(pid, SIGKILL), 0);
        while (read(in, &number, sizeof(number)) == sizeof(number)) {
            seen[number] = 1;
        }
        (void)close(in);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
    }
    open_store(fixture);
    {
        struct numbers numbers = read_numbers(fixture);
        for (int i = 0; i < numbers.count; i++) {
            assert_false(stored[numbers.n[i]]);
            stored[numbers.n[i]] = 1;
        }
        free(numbers.n);
    }
    for (number = 0; number < NUMBERS_MAX; number++) {
        char id[32];
        assert_true(stored[number] >= seen[number]);
        (void)snprintf(id, sizeof(id), "act_%d", number);
        if (number % (NUMBERS_MAX / 4) < 2000) {
            assert_int_equal(read_action(fixture, id, NULL), stored[number] ? OK : ERR_NOT_FOUND);
        }
    }
    free(seen);
    free(stored);
}

/* ---- SQLite's own ---- */

static atomic_bool sync_fails;
static atomic_int syncs;

int fdatasync(int fildes)
{
    atomic_fetch_add(&syncs, 1);
    if (atomic_load(&sync_fails)) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fildes);
}

int fsync(int fd)
{
    return fdatasync(fd);
}

/* Health has no event: it is looked at every few milliseconds. */
static void wait_until_healthy(struct fixture *fixture)
{
    const struct timeval pause = {.tv_usec = 5000};

    for (int i = 0; i < 2000 && !store_healthy(fixture->store); i++) {
        (void)event_base_loopexit(fixture->base, &pause);
        (void)event_base_dispatch(fixture->base);
    }
    assert_true(store_healthy(fixture->store));
}

static void assert_unhealthy(struct fixture *fixture, const char *why)
{
    struct error problem;

    assert_false(store_healthy(fixture->store));
    store_problem(fixture->store, &problem);
    assert_int_equal(problem.code, ERR_IO);
    if (strstr(problem.text, why) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", problem.text, why);
    }
}

/* The kernel refuses to let any file grow: the nearest to a full disk that needs no root. */
static void test_sqlite_disk_full(void **state)
{
    static const int wanted[] = {0, 20};
    struct fixture *fixture = *state;
    struct rlimit before;
    struct rlimit limit;
    struct stat log;
    struct outcome outcomes[20];
    char *name = xasprintf("%s-wal", path_of(fixture->url));

    assert_int_equal(do_write(fixture, record_write(0)), OK);
    assert_int_equal(stat(name, &log), 0);
    free(name);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = (rlim_t)log.st_size + 1000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (int i = 1; i < 20; i++) {
        submit(fixture, record_write(i), &outcomes[i]);
    }
    for (int i = 1; i < 20; i++) {
        wait_for(fixture, &outcomes[i]);
        assert_int_equal(outcomes[i].result, ERR_IO);
    }
    assert_unhealthy(fixture, "cannot commit");
    assert_int_equal(read_action(fixture, "none", NULL), ERR_NOT_FOUND);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    wait_until_healthy(fixture);
    assert_int_equal(do_write(fixture, record_write(20)), OK);
    assert_numbers(fixture, wanted, 2);
    reopen_store(fixture);
    assert_numbers(fixture, wanted, 2);
}

static void test_sqlite_sync_fails(void **state)
{
    static const int wanted[] = {0, 2};
    struct fixture *fixture = *state;

    atomic_store(&syncs, 0);
    assert_int_equal(do_write(fixture, record_write(0)), OK);
    assert_true(atomic_load(&syncs) > 0);
    atomic_store(&sync_fails, true);
    assert_int_equal(do_write(fixture, record_write(1)), ERR_IO);
    assert_unhealthy(fixture, "cannot commit");
    atomic_store(&sync_fails, false);
    assert_int_equal(do_write(fixture, record_write(2)), OK);
    assert_true(store_healthy(fixture->store));
    assert_numbers(fixture, wanted, 2);
}

/* The child of the next test: writes 0, then 1 while syncs fail, tells both results, and waits. */
static int run_ghost(const char *url, int out)
{
    struct fixture fixture = {0};
    int results[2];

    if (store_open(url, "gw-1", &fixture.store, NULL) != OK) {
        return 1;
    }
    fixture.base = event_base_new();
    fixture.replies = mailbox_new(fixture.base, 1, NULL, NULL);
    results[0] = (int)do_write(&fixture, record_write(0));
    atomic_store(&sync_fails, true);
    results[1] = (int)do_write(&fixture, record_write(1));
    if (write(out, results, sizeof(results)) == sizeof(results)) {
        (void)pause();
    }
    return 1;
}

/* A write that was refused because its sync failed does not come back after a crash. */
static void test_sqlite_no_ghosts(void **state)
{
    static const int wanted[] = {0};
    struct fixture *fixture = *state;
    int results[2];
    int in;
    pid_t pid;

    close_store(fixture);
    pid = start_child("ghost", fixture->url, 0, &in);
    assert_int_equal(read(in, results, sizeof(results)), sizeof(results));
    assert_int_equal(results[0], OK);
    assert_int_equal(results[1], ERR_IO);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    (void)close(in);
    assert_numbers(fixture, wanted, 1); /* a reader may be the one that recovers */
    open_store(fixture);
    assert_numbers(fixture, wanted, 1);
}

static void test_sqlite_file_gone(void **state)
{
    static const int wanted[] = {0, 2};
    struct fixture *fixture = *state;
    char *away = xasprintf("%s.away", path_of(fixture->url));

    assert_int_equal(do_write(fixture, record_write(0)), OK);
    assert_int_equal(rename(path_of(fixture->url), away), 0);
    assert_int_equal(do_write(fixture, record_write(1)), ERR_IO);
    assert_unhealthy(fixture, "deleted, moved or replaced");
    assert_int_equal(rename(away, path_of(fixture->url)), 0);
    assert_int_equal(do_write(fixture, record_write(2)), OK);
    assert_true(store_healthy(fixture->store));
    assert_numbers(fixture, wanted, 2);
    free(away);
}

/* Somebody else appended to this node's log: seen, and seq goes on after it. */
static void test_sqlite_foreign_record(void **state)
{
    static const int wanted[] = {0, 99, 2};
    struct fixture *fixture = *state;
    sqlite3 *db = open_beside(fixture->url);

    assert_int_equal(do_write(fixture, record_write(0)), OK);
    run_beside(db, "INSERT INTO audit VALUES ('gw-1', 1, CAST('{\"v\":1,\"node\":\"gw-1\","
                   "\"seq\":1,\"n\":99}' AS BLOB))");
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_int_equal(do_write(fixture, record_write(1)), ERR_IO);
    assert_int_equal(do_write(fixture, record_write(2)), OK);
    assert_numbers(fixture, wanted, 3);
}

static void test_sqlite_versions(void **state)
{
    struct fixture *fixture = *state;
    struct store *store = NULL;
    struct error error = {0};
    sqlite3 *db;

    close_store(fixture);
    db = open_beside(fixture->url);
    run_beside(db, "PRAGMA user_version = 1000");
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_int_equal(store_open(fixture->url, "gw-1", &store, &error), ERR_INVALID);
    assert_non_null(strstr(error.text, "newer tollgate"));
    assert_int_equal(store_each_record(fixture->url, on_record, NULL, &error), ERR_INVALID);
    assert_non_null(strstr(error.text, "newer tollgate"));

    db = open_beside(fixture->url);
    run_beside(db, "PRAGMA user_version = 0");
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_int_equal(store_each_record(fixture->url, on_record, NULL, &error), ERR_INVALID);
    assert_non_null(strstr(error.text, "older tollgate"));
}

static void test_sqlite_files(void **state)
{
    struct fixture *fixture = *state;
    static const char *const suffixes[] = {"", "-wal", "-shm", ".lock"};
    struct error error = {0};
    struct store *store = NULL;
    char *url = xasprintf("%s.none", fixture->url);

    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        char *name = xasprintf("%s%s", path_of(fixture->url), suffixes[i]);
        struct stat file;
        assert_int_equal(stat(name, &file), 0);
        assert_int_equal(file.st_mode & 0777, 0600);
        free(name);
    }
    assert_int_equal(store_each_record(url, on_record, NULL, &error), ERR_NOT_FOUND);
    assert_int_equal(access(path_of(url), F_OK), -1);
    assert_int_equal(store_open("sqlite:/nowhere/at/all.db", "gw-1", &store, &error), ERR_IO);
    close_store(fixture);
    assert_int_equal(truncate(path_of(fixture->url), 1000), 0);
    assert_int_equal(store_open(fixture->url, "gw-1", &store, &error), ERR_IO);
    assert_null(store);
    free(url);
}

/* ---- */

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
    static const struct CMUnitTest suite[] = {
        TEST(test_action_round_trip),
        TEST(test_open_actions_in_order_of_submission),
        TEST(test_grants),
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
        TEST(test_kill_under_load),
        cmocka_unit_test(test_bad_urls),
    };
    static const struct CMUnitTest sqlite_suite[] = {
        TEST(test_sqlite_disk_full),      TEST(test_sqlite_sync_fails), TEST(test_sqlite_no_ghosts),
        TEST(test_sqlite_file_gone),      TEST(test_sqlite_versions),   TEST(test_sqlite_files),
        TEST(test_sqlite_foreign_record),
    };
    int failed = 0;

    (void)signal(SIGXFSZ, SIG_IGN);
    if (argc == 5 && strcmp(argv[1], "load") == 0) {
        return run_load(argv[2], (int)strtol(argv[3], NULL, 10), (int)strtol(argv[4], NULL, 10));
    }
    if (argc == 5 && strcmp(argv[1], "ghost") == 0) {
        return run_ghost(argv[2], (int)strtol(argv[4], NULL, 10));
    }
    for (size_t i = 0; i < ARRAY_LEN(backends); i++) {
        backend = &backends[i];
        failed += cmocka_run_group_tests_name(backend->name, suite, NULL, NULL);
    }
    backend = &backends[0];
    failed += cmocka_run_group_tests_name("sqlite only", sqlite_suite, NULL, NULL);
    return failed;
}
