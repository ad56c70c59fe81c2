/* Store: what is SQLite's own. Faults are real ones: a file size limit for a full disk, a failing
 * sync, a deleted file, kill -9. */
#include "common/mailbox.h"
#include "common/memory.h"
#include "store/sqlite_priv.h"
#include "store_fixture.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

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
                   "\"seq\":1,\"n\":99}' AS BLOB), zeroblob(32))");
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_int_equal(do_write(fixture, record_write(1)), ERR_IO);
    assert_int_equal(do_write(fixture, record_write(2)), OK);
    assert_numbers(fixture, wanted, 3);
}

/* For reads that do not come so far. */
static bool on_any_record(const char *node, int64_t seq, const char *record, size_t len, void *arg)
{
    (void)node, (void)seq, (void)record, (void)len, (void)arg;
    return true;
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
    assert_int_equal(store_each_record(fixture->url, on_any_record, NULL, &error), ERR_INVALID);
    assert_non_null(strstr(error.text, "newer tollgate"));

    db = open_beside(fixture->url);
    run_beside(db, "PRAGMA user_version = 0");
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_int_equal(store_each_record(fixture->url, on_any_record, NULL, &error), ERR_INVALID);
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
    assert_int_equal(store_each_record(url, on_any_record, NULL, &error), ERR_NOT_FOUND);
    assert_int_equal(access(path_of(url), F_OK), -1);
    assert_int_equal(store_open("sqlite:/nowhere/at/all.db", "gw-1", &store, &error), ERR_IO);
    close_store(fixture);
    assert_int_equal(truncate(path_of(fixture->url), 1000), 0);
    assert_int_equal(store_open(fixture->url, "gw-1", &store, &error), ERR_IO);
    assert_null(store);
    free(url);
}

/* A store of the first version, with actions in it, gets the tables of this one; and what was not
 * kept of an action under way is said to be unknown. */
static void test_sqlite_migrates(void **state)
{
    struct fixture *fixture = *state;
    struct fixture old = *fixture;
    struct store_action action = sample_action("act_1");
    sqlite3 *db;

    old.url = backend->new_url();
    db = open_beside(old.url);
    run_beside(db, sqlite_migrations[0]);
    run_beside(db, "INSERT INTO actions (id, account, team, client, state, submitted_ms,"
                   " finished_ms, priority, request)"
                   " VALUES ('act_1', 'main', 'helpdesk', 'c', 'queued', 5, 0, 3, '{}'),"
                   " ('act_0', 'main', 'helpdesk', 'c', 'dispatched', 5, 0, 3, '{}'),"
                   " ('act_9', 'main', 'helpdesk', 'c', 'completed', 5, 9, 3, '{}')");
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    open_store(&old);
    action = (struct store_action){.id = "act_1",
                                   .account = "main",
                                   .team = "helpdesk",
                                   .client = "c",
                                   .state = "queued",
                                   .submitted_ms = 5,
                                   .priority = 3,
                                   .request = "{}"};
    assert_int_equal(read_action(&old, "act_1", &action), OK);
    action.id = "act_0";
    action.state = "dispatched";
    action.progress = "{}";
    assert_int_equal(read_action(&old, "act_0", &action), OK);
    action.id = "act_9";
    action.state = "completed";
    action.finished_ms = 9;
    action.progress = NULL;
    assert_int_equal(read_action(&old, "act_9", &action), OK);
    action = sample_action("act_2");
    assert_int_equal(do_write(&old, action_write("act_2")), OK);
    assert_int_equal(read_action(&old, "act_2", &action), OK);
    close_store(&old);
    backend->remove(old.url);
    free(old.url);
}

static void assert_plan(sqlite3 *db, enum sqlite_sql sql, const char *wanted)
{
    char *text = xasprintf("EXPLAIN QUERY PLAN %s", sqlite_sql[sql]);
    sqlite3_stmt *statement;

    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(statement, 3), wanted);
    /* No more steps: no sorting above all. */
    assert_int_equal(sqlite3_step(statement), SQLITE_DONE);
    assert_int_equal(sqlite3_finalize(statement), SQLITE_OK);
    free(text);
}

/* A page costs no more than its rows, and loading no more than what is open. */
static void test_sqlite_plans(void **state)
{
    struct fixture *fixture = *state;
    sqlite3 *db = open_beside(fixture->url);

    assert_plan(db, SQL_LIST_ACTIONS, "SEARCH actions USING INTEGER PRIMARY KEY (rowid<?)");
    assert_plan(db, SQL_LIST_ACTIONS_OF_TEAM,
                "SEARCH actions USING INDEX actions_team (team=? AND rowid<?)");
    assert_plan(db, SQL_LIST_ACTIONS_IN_STATE,
                "SEARCH actions USING INDEX actions_state (state=? AND rowid<?)");
    assert_plan(db, SQL_LIST_ACTIONS_OF_TEAM_IN_STATE,
                "SEARCH actions USING INDEX actions_team_state (team=? AND state=? AND rowid<?)");
    assert_plan(db, SQL_LOAD_OPEN_ACTIONS, "SEARCH actions USING INDEX actions_open (account=?)");
    assert_plan(db, SQL_READ_CHECKPOINTS,
                "SEARCH audit_checkpoints USING PRIMARY KEY (node=? AND size>?)");
    assert_plan(db, SQL_READ_SIZES,
                "SEARCH audit_checkpoints USING PRIMARY KEY (node=? AND size>? AND size<?)");
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest suite[] = {
        TEST(test_sqlite_disk_full),      TEST(test_sqlite_sync_fails), TEST(test_sqlite_no_ghosts),
        TEST(test_sqlite_file_gone),      TEST(test_sqlite_versions),   TEST(test_sqlite_files),
        TEST(test_sqlite_foreign_record), TEST(test_sqlite_migrates),   TEST(test_sqlite_plans),
    };

    (void)signal(SIGXFSZ, SIG_IGN);
    if (argc == 5 && strcmp(argv[1], "ghost") == 0) {
        return run_ghost(argv[2], (int)strtol(argv[4], NULL, 10));
    }
    backend = &backends[0];
    return cmocka_run_group_tests_name("sqlite only", suite, NULL, NULL);
}
