/* Store: a database that somebody wrote to behind the gateway's back: nothing hangs, runs away or
 * takes others with it. */
#include "common/mailbox.h"
#include "common/memory.h"
#include "store/audit.h"
#include "store_fixture.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void add_records(struct fixture *fixture, int count)
{
    for (int done = 0; done < count;) {
        struct store_write *write = store_write_new();
        for (int i = 0; i < 500 && done < count; i++, done++) {
            store_write_add_record(write, xasprintf("\"event\":\"e\",\"team\":\"t-%d\"}", done));
        }
        assert_int_equal(do_write(fixture, write), OK);
    }
}

static char *on_sign(const char *node, int64_t size, const uint8_t *root, void *arg)
{
    (void)node;
    (void)root;
    (void)arg;
    return xasprintf("note over %lld", (long long)size);
}

static void add_checkpoint(struct fixture *fixture)
{
    struct store_write *write = store_write_new();

    store_write_add_checkpoint(write, on_sign, NULL);
    assert_int_equal(do_write(fixture, write), OK);
}

static void tamper(const struct fixture *fixture, const char *sql)
{
    sqlite3 *db = open_beside(fixture->url);

    run_beside(db, sql);
    (void)sqlite3_close(db);
}

/* ---- Nodes ---- */

#define NAMES_SIZE 64

static bool on_node(const char *node, void *arg)
{
    char *names = arg;
    size_t len = strlen(names);

    assert_true(len + strlen(node) < NAMES_SIZE - 2);
    (void)snprintf(names + len, NAMES_SIZE - len, "%s;", node);
    return true;
}

static enum err list_nodes(const struct fixture *fixture, char names[NAMES_SIZE])
{
    struct store_audit *audit;
    enum err err;

    names[0] = '\0';
    assert_int_equal(store_audit_open(fixture->url, &audit, NULL), OK);
    err = store_audit_each_node(audit, on_node, names, NULL);
    store_audit_close(audit);
    return err;
}

struct found {
    int calls;
    enum err result;
    size_t count;
    char next[STORE_CURSOR_SIZE];
};

static void on_records(enum err result, const struct store_record *records, size_t count,
                       const char *next, void *arg)
{
    struct found *found = arg;

    (void)records;
    found->calls++;
    found->result = result;
    found->count = count;
    (void)snprintf(found->next, sizeof(found->next), "%s", next != NULL ? next : "");
}

static struct found find(struct fixture *fixture, const char *cursor)
{
    struct store_record_query query = {.limit = 4, .cursor = cursor};
    struct found found = {0};

    assert_int_equal(
        store_find_records(fixture->store, &query, fixture->replies, on_records, &found), OK);
    wait_for_call(fixture, &found.calls);
    return found;
}

static void test_a_node_without_a_name_is_seen(void **state)
{
    struct fixture *fixture = *state;
    struct found found;
    char names[NAMES_SIZE];

    add_records(fixture, 2);
    tamper(fixture, "INSERT INTO audit SELECT '', seq + n, record, leaf FROM audit,"
                    " (SELECT 0 AS n UNION SELECT 2 UNION SELECT 4)");
    assert_int_equal(list_nodes(fixture, names), OK);
    assert_string_equal(names, ";gw-1;");
    found = find(fixture, NULL);
    assert_int_equal(found.count, 4);
    found = find(fixture, found.next);
    assert_int_equal(found.result, OK);
    assert_int_equal(found.count, 4);
}

static void test_a_name_with_a_nul_is_told_apart(void **state)
{
    struct fixture *fixture = *state;
    struct store_record_query query = {.limit = 4, .node = "z\0320a"};
    struct found found = {0};
    char names[NAMES_SIZE];

    add_records(fixture, 2);
    tamper(fixture, "INSERT INTO audit SELECT CAST(x'7a0061' AS TEXT), seq, record, leaf"
                    " FROM audit WHERE seq = 0");
    assert_int_equal(list_nodes(fixture, names), OK);
    assert_string_equal(names, "gw-1;z\0320a;");
    assert_int_equal(find(fixture, NULL).count, 3);
    assert_int_equal(
        store_find_records(fixture->store, &query, fixture->replies, on_records, &found), OK);
    wait_for_call(fixture, &found.calls);
    assert_int_equal(found.count, 1);
}

/* ---- Rows that are far away ---- */

static bool on_record(const struct store_record *record, void *arg)
{
    *(int64_t *)arg = record->seq;
    return true;
}

/* They are seen, and what lies between is not gone through step by step. */
static void test_rows_far_away(void **state)
{
    static const char *const places[] = {"9000000000000000", "9223372036854775807"};
    struct fixture *fixture = *state;

    add_records(fixture, 8);
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        char *sql = xasprintf("INSERT INTO audit SELECT node, %s, record, leaf FROM audit"
                              " WHERE seq = 1",
                              places[i]);
        struct store_audit *audit;
        int64_t last = -1;
        tamper(fixture, sql);
        free(sql);
        assert_int_equal(store_audit_open(fixture->url, &audit, NULL), OK);
        assert_int_equal(
            store_audit_each_record(audit, "gw-1", INT64_MIN, INT64_MAX, on_record, &last, NULL),
            OK);
        assert_int_equal(last, strtoll(places[i], NULL, 10));
        store_audit_close(audit);
        assert_int_equal(find(fixture, NULL).count, 4);
    }
    tamper(fixture, "INSERT INTO audit_segments VALUES ('gw-1', 9223372036854775807, 0, 0)");
    assert_int_equal(find(fixture, NULL).result, OK);
}

static bool on_hash(int64_t level, int64_t number, const uint8_t *hash, size_t len, void *arg)
{
    (void)level;
    (void)number;
    (void)hash;
    (void)len;
    ++*(int *)arg;
    return true;
}

static void test_a_node_of_the_tree_far_away(void **state)
{
    struct fixture *fixture = *state;
    struct store_audit *audit;
    int count = 0;

    add_records(fixture, 1);
    tamper(fixture, "INSERT INTO audit_tree VALUES ('gw-1', 8, 9223372036854775807, x'00')");
    assert_int_equal(store_audit_open(fixture->url, &audit, NULL), OK);
    assert_int_equal(store_audit_each_hash(audit, "gw-1", on_hash, &count, NULL), OK);
    assert_int_equal(count, 1);
    store_audit_close(audit);
}

/* ---- The index ---- */

static int64_t count_beside(const struct fixture *fixture, const char *sql)
{
    sqlite3 *db = open_beside(fixture->url);
    sqlite3_stmt *statement = NULL;
    int64_t number;

    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    number = sqlite3_column_int64(statement, 0);
    (void)sqlite3_finalize(statement);
    (void)sqlite3_close(db);
    return number;
}

static int64_t wait_for_segments(const struct fixture *fixture, int64_t wanted)
{
    int64_t made = 0;

    for (int tries = 0; made < wanted && tries < 200; tries++) {
        (void)usleep(50000);
        made = count_beside(fixture, "SELECT count(*) FROM audit_segments");
    }
    return made;
}

/* Segments are made of what the gateway recorded, not up to a row far away. */
static void test_a_row_far_away_is_not_indexed(void **state)
{
    struct fixture *fixture = *state;

    add_records(fixture, STORE_SEGMENT_RECORDS - 1);
    tamper(fixture, "INSERT INTO audit SELECT node, 9000000000000000, record, leaf FROM audit"
                    " WHERE seq = 1");
    (void)usleep(1500000); /* longer than the indexer takes to look */
    add_records(fixture, 1);
    assert_int_equal(wait_for_segments(fixture, 1), 1);
    (void)usleep(200000);
    assert_int_equal(wait_for_segments(fixture, 1), 1);
}

/* What is left of an index that somebody took half of is written over: writes go on. */
static void test_half_an_index_is_made_again(void **state)
{
    struct fixture *fixture = *state;

    add_records(fixture, STORE_SEGMENT_RECORDS);
    assert_int_equal(wait_for_segments(fixture, 1), 1);
    close_store(fixture);
    tamper(fixture, "DELETE FROM audit_segments");
    open_store(fixture);
    assert_int_equal(wait_for_segments(fixture, 1), 1);
    add_records(fixture, 1);
    assert_true(store_healthy(fixture->store));
}

/* ---- Pruning ---- */

static struct store_write *prune_write(int64_t size)
{
    struct store_write *write = store_write_new();

    store_write_prune(write, size, "the note");
    return write;
}

/* A prune that lacks what it has to keep fails alone, and leaves everything as it was. */
static void test_a_prune_of_what_is_not_there_fails_alone(void **state)
{
    struct fixture *fixture = *state;
    int64_t hashes;

    add_records(fixture, 200);
    add_checkpoint(fixture);
    add_records(fixture, 100);
    add_checkpoint(fixture);
    add_records(fixture, 300);
    add_checkpoint(fixture);
    hashes = count_beside(fixture, "SELECT count(*) FROM audit_tree");
    tamper(fixture, "DELETE FROM audit WHERE seq = 301");
    assert_int_equal(do_write(fixture, prune_write(512)), ERR_NOT_FOUND);
    assert_true(store_healthy(fixture->store));
    assert_int_equal(count_beside(fixture, "SELECT count(*) FROM audit_tree"), hashes);
    assert_int_equal(count_beside(fixture, "SELECT count(*) FROM audit"), 599);
    add_records(fixture, 1);
    assert_int_equal(do_write(fixture, prune_write(256)), OK);
}

int main(void)
{
    static const struct CMUnitTest suite[] = {
        TEST(test_a_node_without_a_name_is_seen),
        TEST(test_a_name_with_a_nul_is_told_apart),
        TEST(test_rows_far_away),
        TEST(test_a_node_of_the_tree_far_away),
        TEST(test_a_row_far_away_is_not_indexed),
        TEST(test_half_an_index_is_made_again),
        TEST(test_a_prune_of_what_is_not_there_fails_alone),
    };

    backend = &backends[0];
    return cmocka_run_group_tests(suite, NULL, NULL);
}
