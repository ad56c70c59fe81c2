/* What the tests of the store share: the table of backends (how to make a fresh store, and how to
 * hurt it), a store with the loop that takes its answers, things to store, and reading back.
 * Everything here asserts by itself. */
#ifndef TESTS_UNIT_STORE_FIXTURE_H
#define TESTS_UNIT_STORE_FIXTURE_H

#include "common/error.h"
#include "store/store.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

/* ---- Backends ---- */

struct backend {
    const char *name;
    char *(*new_url)(void); /* of an empty store */
    void (*remove)(const char *url);
    void *(*hold)(const char *url); /* keeps every writer waiting */
    void (*release)(void *held);
};

extern const struct backend backends[];
extern const size_t backend_count;
extern const struct backend *backend; /* the one that set_up() uses */

/* SQLite's: its file, and another connection to it. */
const char *path_of(const char *url);
sqlite3 *open_beside(const char *url);
void run_beside(sqlite3 *db, const char *sql);

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

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int set_up(void **state);
int tear_down(void **state);

void open_store(struct fixture *fixture);
void close_store(struct fixture *fixture);
void reopen_store(struct fixture *fixture);

/* Runs the loop until *calls, which an answer counts up, is 1. */
void wait_for_call(struct fixture *fixture, const int *calls);

/* arg is a struct outcome. */
void on_written(enum err result, void *arg);
void submit(struct fixture *fixture, struct store_write *write, struct outcome *outcome);
void wait_for(struct fixture *fixture, const struct outcome *outcome);
enum err do_write(struct fixture *fixture, struct store_write *write);

/* Starts this program as a child that runs the named job ("PROGRAM JOB URL FIRST OUT", where out
 * is a descriptor to write to), and returns the end to read from. */
pid_t start_child(const char *job, const char *url, int first, int *ret_in);

/* ---- Things to store ---- */

struct store_action sample_action(const char *id);
struct store_write *action_write(const char *id);
struct store_write *record_write(int number);
struct store_write *change_write(const char *id, const char *state, int64_t finished_ms);

/* ---- Reading back ---- */

struct expected {
    int calls;
    enum err result;
    const struct store_action *action;
};

void same_text(const char *got, const char *wanted);
void same_action(const struct store_action *got, const struct store_action *wanted);

/* arg is a struct expected; its action is compared unless it is NULL. */
void on_action(enum err result, const struct store_action *action, void *arg);

/* Reads an action, compares it unless wanted is NULL, and returns the result of the read. */
enum err read_action(struct fixture *fixture, const char *id, const struct store_action *wanted);

#define NUMBERS_MAX 100000

/* The numbers of the records of gw-1, after checking that their seq is contiguous from 0. */
struct numbers {
    int count;
    int *n;
};

struct numbers read_numbers(const struct fixture *fixture);
void assert_numbers(const struct fixture *fixture, const int *wanted, int count);

#endif
