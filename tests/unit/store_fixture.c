/* What the tests of the store share: see store_fixture.h. */
#include "store_fixture.h"

#include "common/mailbox.h"
#include "common/memory.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Backends ---- */

static char *sqlite_new_url(void)
{
    char directory[] = "/tmp/store-test-XXXXXX";

    assert_non_null(mkdtemp(directory));
    return xasprintf("sqlite:%s/tollgate.db", directory);
}

const char *path_of(const char *url)
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

sqlite3 *open_beside(const char *url)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(path_of(url), &db), SQLITE_OK);
    assert_int_equal(sqlite3_busy_timeout(db, 5000), SQLITE_OK);
    return db;
}

void run_beside(sqlite3 *db, const char *sql)
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

const struct backend backends[] = {
    {"sqlite", sqlite_new_url, sqlite_remove, sqlite_hold, sqlite_release},
};
const size_t backend_count = ARRAY_LEN(backends);
const struct backend *backend;

/* ---- Fixture: a fresh store, and a loop with the mailbox for its answers ---- */

void open_store(struct fixture *fixture)
{
    struct error error = {0};
    enum err err = store_open(fixture->url, "gw-1", &fixture->store, &error);

    if (err != OK) {
        fail_msg("store_open: %s", error.text);
    }
}

void close_store(struct fixture *fixture)
{
    store_close(fixture->store);
    fixture->store = NULL;
}

void reopen_store(struct fixture *fixture)
{
    close_store(fixture);
    open_store(fixture);
}

int set_up(void **state)
{
    struct fixture *fixture = xcalloc(1, sizeof(*fixture));

    fixture->url = backend->new_url();
    fixture->base = event_base_new();
    fixture->replies = mailbox_new(fixture->base, 1, NULL, NULL);
    open_store(fixture);
    *state = fixture;
    return 0;
}

int tear_down(void **state)
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

void wait_for_call(struct fixture *fixture, const int *calls)
{
    while (*calls == 0) {
        assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    }
    assert_int_equal(*calls, 1);
}

void on_written(enum err result, void *arg)
{
    struct outcome *outcome = arg;

    outcome->calls++;
    outcome->result = result;
}

void submit(struct fixture *fixture, struct store_write *write, struct outcome *outcome)
{
    *outcome = (struct outcome){0};
    assert_int_equal(store_submit(fixture->store, write, fixture->replies, on_written, outcome),
                     OK);
    assert_int_equal(outcome->calls, 0);
}

void wait_for(struct fixture *fixture, const struct outcome *outcome)
{
    wait_for_call(fixture, &outcome->calls);
}

enum err do_write(struct fixture *fixture, struct store_write *write)
{
    struct outcome outcome;

    submit(fixture, write, &outcome);
    wait_for(fixture, &outcome);
    return outcome.result;
}

pid_t start_child(const char *job, const char *url, int first, int *ret_in)
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
        (void)execl("/proc/self/exe", "child", job, url, number, out, (char *)NULL);
        _exit(1);
    }
    (void)close(ends[1]);
    *ret_in = ends[0];
    return pid;
}

/* ---- Things to store ---- */

struct store_action sample_action(const char *id)
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
        .deadline_ms = 1795345200000,
        .reason = "why not'; DROP TABLE actions; --",
        .rule = "helpdesk/0",
        .request = "{\"types\":\"exempt\",\"ids\":[\"a\"]}",
    };
}

struct store_write *action_write(const char *id)
{
    struct store_write *write = store_write_new();
    struct store_action action = sample_action(id);

    store_write_add_action(write, &action);
    return write;
}

struct store_write *record_write(int number)
{
    struct store_write *write = store_write_new();

    store_write_add_record(write, xasprintf("\"event\":\"test\",\"n\":%d}", number));
    return write;
}

struct store_write *change_write(const char *id, const char *state, int64_t finished_ms)
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

void same_text(const char *got, const char *wanted)
{
    if (wanted == NULL) {
        assert_null(got);
    } else {
        assert_non_null(got);
        assert_string_equal(got, wanted);
    }
}

void same_action(const struct store_action *got, const struct store_action *wanted)
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
    assert_int_equal(got->deadline_ms, wanted->deadline_ms);
    same_text(got->reason, wanted->reason);
    same_text(got->rule, wanted->rule);
    same_text(got->request, wanted->request);
    same_text(got->results, wanted->results);
    same_text(got->problem, wanted->problem);
    same_text(got->call_id, wanted->call_id);
    same_text(got->progress, wanted->progress);
}

void on_action(enum err result, const struct store_action *action, void *arg)
{
    struct expected *expected = arg;

    expected->calls++;
    expected->result = result;
    assert_int_equal(action != NULL, result == OK);
    if (action != NULL && expected->action != NULL) {
        same_action(action, expected->action);
    }
}

enum err read_action(struct fixture *fixture, const char *id, const struct store_action *wanted)
{
    struct expected expected = {.action = wanted};

    assert_int_equal(store_read_action(fixture->store, id, fixture->replies, on_action, &expected),
                     OK);
    assert_int_equal(expected.calls, 0);
    wait_for_call(fixture, &expected.calls);
    return expected.result;
}

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

struct numbers read_numbers(const struct fixture *fixture)
{
    struct numbers numbers = {.n = xcalloc(NUMBERS_MAX, sizeof(int))};
    struct error error = {0};

    if (store_each_record(fixture->url, on_number, &numbers, &error) != OK) {
        fail_msg("store_each_record: %s", error.text);
    }
    return numbers;
}

void assert_numbers(const struct fixture *fixture, const int *wanted, int count)
{
    struct numbers numbers = read_numbers(fixture);

    assert_int_equal(numbers.count, count);
    for (int i = 0; i < count; i++) {
        assert_int_equal(numbers.n[i], wanted[i]);
    }
    free(numbers.n);
}
