/* Store: the audit log: its tree, checkpoints, proofs, index and pruning, on every backend. */
#include "common/mailbox.h"
#include "common/memory.h"
#include "common/merkle.h"
#include "store/audit.h"
#include "store_fixture.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NODE "gw-1"

/* ---- Making a log ---- */

static const char *const teams[] = {"red", "green", "blue"};

static char *tail_of(int number)
{
    return xasprintf(
        "\"event\":\"%s\",\"team\":\"%s\",\"client\":\"c-%d\",\"action_id\":\"act_%d\","
        "\"action\":\"exempt\",\"devices\":[\"dev-%d\",\"00:0C:29:00:%02x:%02x\"]}",
        number % 2 == 0 ? "action.accepted" : "request.refused", teams[number % 3], number % 7,
        number, number % 1000, number / 256 % 256, number % 256);
}

static void add_records(struct fixture *fixture, int first, int count)
{
    for (int done = 0; done < count;) {
        struct store_write *write = store_write_new();
        for (int i = 0; i < 500 && done < count; i++, done++) {
            store_write_add_record(write, tail_of(first + done));
        }
        assert_int_equal(do_write(fixture, write), OK);
    }
}

struct signing {
    int64_t size;
    uint8_t root[STORE_HASH_BYTES];
};

static char *on_sign(const char *node, int64_t size, const uint8_t *root, void *arg)
{
    struct signing *signing = arg;

    assert_string_equal(node, NODE);
    signing->size = size;
    memcpy(signing->root, root, sizeof(signing->root));
    return xasprintf("note over %lld", (long long)size);
}

static struct signing add_checkpoint(struct fixture *fixture)
{
    struct signing signing = {0};
    struct store_write *write = store_write_new();

    store_write_add_checkpoint(write, on_sign, &signing);
    assert_int_equal(do_write(fixture, write), OK);
    return signing;
}

/* ---- The tree as it should be ---- */

struct whole {
    struct merkle_frontier tree;
    int64_t next;
    int64_t at;
    uint8_t root[STORE_HASH_BYTES]; /* of the first `at` records */
};

static bool on_whole(const struct store_record *record, void *arg)
{
    struct whole *whole = arg;
    uint8_t leaf[STORE_HASH_BYTES];

    assert_int_equal(record->seq, whole->next);
    assert_int_equal(record->leaf_len, sizeof(leaf));
    merkle_leaf_hash(record->bytes, record->len, leaf);
    assert_memory_equal(record->leaf, leaf, sizeof(leaf));
    merkle_frontier_add(&whole->tree, leaf, NULL, NULL);
    whole->next++;
    if (whole->next == whole->at) {
        merkle_frontier_root(&whole->tree, whole->root);
    }
    return true;
}

static void check_root(const struct fixture *fixture, const struct signing *signing)
{
    struct whole whole = {.at = signing->size};
    struct store_audit *audit;

    assert_int_equal(store_audit_open(fixture->url, &audit, NULL), OK);
    assert_int_equal(
        store_audit_each_record(audit, NODE, INT64_MIN, INT64_MAX, on_whole, &whole, NULL), OK);
    store_audit_close(audit);
    assert_true(whole.next >= signing->size);
    assert_memory_equal(whole.root, signing->root, sizeof(whole.root));
}

static void test_checkpoints_sign_the_root(void **state)
{
    static const int counts[] = {1, 1, 253, 1, 1, 300, 600};
    struct fixture *fixture = *state;
    int made = 0;

    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        struct signing signing;
        add_records(fixture, made, counts[i]);
        made += counts[i];
        if (i % 2 == 1) {
            reopen_store(fixture); /* the frontier comes back */
        }
        assert_int_equal(store_audit_size(fixture->store), made);
        signing = add_checkpoint(fixture);
        assert_int_equal(signing.size, made);
        check_root(fixture, &signing);
    }
}

/* A write that fails leaves no trace in the tree. */
static void test_a_refused_write_is_not_in_the_tree(void **state)
{
    struct fixture *fixture = *state;
    struct store_write *write;
    struct signing signing;

    add_records(fixture, 0, 255);
    assert_int_equal(do_write(fixture, action_write("act_1")), OK);
    write = action_write("act_1");
    store_write_add_record(write, tail_of(1000));
    store_write_add_record(write, tail_of(1001));
    assert_int_equal(do_write(fixture, write), ERR_EXISTS);
    add_records(fixture, 255, 10);
    signing = add_checkpoint(fixture);
    assert_int_equal(signing.size, 265);
    check_root(fixture, &signing);
}

/* ---- Proofs ---- */

struct proof {
    int calls;
    enum err result;
    int64_t size;
    size_t count;
    uint8_t hashes[STORE_PROOF_MAX][STORE_HASH_BYTES];
    uint8_t leaf[STORE_HASH_BYTES];
    bool signed_;
};

static void on_proof(enum err result, const struct store_proof *given, void *arg)
{
    struct proof *proof = arg;

    proof->calls++;
    proof->result = result;
    if (given != NULL) {
        proof->size = given->size;
        proof->count = given->count;
        proof->signed_ = given->checkpoint != NULL;
        memcpy(proof->hashes, given->hashes != NULL ? (const void *)given->hashes : proof->hashes,
               given->count * STORE_HASH_BYTES);
        if (given->record.bytes != NULL) {
            merkle_leaf_hash(given->record.bytes, given->record.len, proof->leaf);
        }
    }
}

static void check_entry(struct fixture *fixture, int64_t seq, const struct signing *signing)
{
    struct proof proof = {0};

    assert_int_equal(
        store_read_entry(fixture->store, NODE, seq, fixture->replies, on_proof, &proof), OK);
    wait_for_call(fixture, &proof.calls);
    assert_int_equal(proof.result, OK);
    assert_true(proof.signed_);
    assert_int_equal(proof.size, signing->size);
    assert_int_equal(merkle_verify_inclusion((uint64_t)seq, (uint64_t)proof.size, proof.leaf,
                                             (const uint8_t(*)[32])proof.hashes, proof.count,
                                             signing->root),
                     OK);
}

static void check_consistency(struct fixture *fixture, const struct signing *old,
                              const struct signing *new)
{
    struct proof proof = {0};

    assert_int_equal(store_read_consistency(fixture->store, NODE, old->size, 0, fixture->replies,
                                            on_proof, &proof),
                     OK);
    wait_for_call(fixture, &proof.calls);
    assert_int_equal(proof.result, OK);
    assert_int_equal(merkle_verify_consistency((uint64_t)old->size, (uint64_t) new->size, old->root,
                                               new->root, (const uint8_t(*)[32])proof.hashes,
                                               proof.count),
                     OK);
}

static void test_proofs(void **state)
{
    static const int sizes[] = {1, 100, 256, 257, 1000, 66000};
    struct fixture *fixture = *state;
    struct signing signings[ARRAY_LEN(sizes)];
    struct proof none = {0};
    int made = 0;

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        add_records(fixture, made, sizes[i] - made);
        made = sizes[i];
        signings[i] = add_checkpoint(fixture);
        for (int64_t seq = 0; seq < made; seq += 1 + made / 13) {
            check_entry(fixture, seq, &signings[i]);
        }
        check_entry(fixture, made - 1, &signings[i]);
        for (size_t k = 0; k <= i; k++) {
            check_consistency(fixture, &signings[k], &signings[i]);
        }
    }
    add_records(fixture, made, 1);
    assert_int_equal(
        store_read_entry(fixture->store, NODE, made, fixture->replies, on_proof, &none), OK);
    wait_for_call(fixture, &none.calls);
    assert_int_equal(none.result, OK);
    assert_false(none.signed_);
    none = (struct proof){0};
    assert_int_equal(
        store_read_entry(fixture->store, NODE, made + 1, fixture->replies, on_proof, &none), OK);
    wait_for_call(fixture, &none.calls);
    assert_int_equal(none.result, ERR_NOT_FOUND);
}

/* ---- Finding ---- */

struct finding {
    int calls;
    enum err result;
    int count;
    int64_t seqs[1000];
    char next[STORE_CURSOR_SIZE];
};

static void on_records(enum err result, const struct store_record *records, size_t count,
                       const char *next, void *arg)
{
    struct finding *finding = arg;

    finding->calls++;
    finding->result = result;
    finding->count = (int)count;
    for (size_t i = 0; i < count; i++) {
        finding->seqs[i] = records[i].seq;
    }
    (void)snprintf(finding->next, sizeof(finding->next), "%s", next != NULL ? next : "");
}

static struct finding find(struct fixture *fixture, const struct store_record_query *query)
{
    struct finding finding = {0};

    assert_int_equal(
        store_find_records(fixture->store, query, fixture->replies, on_records, &finding), OK);
    wait_for_call(fixture, &finding.calls);
    assert_int_equal(finding.result, OK);
    return finding;
}

static bool wanted(const struct store_record_query *query, int number)
{
    char text[64];
    bool good = true;

    good = good && (query->team == NULL || strcmp(query->team, teams[number % 3]) == 0);
    (void)snprintf(text, sizeof(text), "c-%d", number % 7);
    good = good && (query->client == NULL || strcmp(query->client, text) == 0);
    (void)snprintf(text, sizeof(text), "dev-%d", number % 1000);
    good = good && (query->device == NULL || strcmp(query->device, text) == 0);
    (void)snprintf(text, sizeof(text), "act_%d", number);
    good = good && (query->action_id == NULL || strcmp(query->action_id, text) == 0);
    return good &&
           (query->event == NULL ||
            strcmp(query->event, number % 2 == 0 ? "action.accepted" : "request.refused") == 0);
}

/* All pages together are what looking at each record gives, in the right order. */
static void check_query(struct fixture *fixture, struct store_record_query query, int total)
{
    char cursor[STORE_CURSOR_SIZE] = "";
    int at = query.oldest_first ? 0 : total - 1;
    int step = query.oldest_first ? 1 : -1;

    do {
        struct finding finding;
        query.cursor = cursor[0] != '\0' ? cursor : NULL;
        finding = find(fixture, &query);
        for (int i = 0; i < finding.count; i++, at += step) {
            while (at >= 0 && at < total && !wanted(&query, at)) {
                at += step;
            }
            assert_int_equal(finding.seqs[i], at);
        }
        (void)snprintf(cursor, sizeof(cursor), "%s", finding.next);
    } while (cursor[0] != '\0');
    while (at >= 0 && at < total) {
        assert_false(wanted(&query, at));
        at += step;
    }
}

static void check_queries(struct fixture *fixture, int total)
{
    const struct store_record_query queries[] = {
        {.limit = 1000},
        {.limit = 700, .oldest_first = true},
        {.limit = 100, .team = "red"},
        {.limit = 100, .team = "red", .event = "request.refused", .oldest_first = true},
        {.limit = 10, .device = "dev-999"},
        {.limit = 10, .device = "dev-999", .oldest_first = true},
        {.limit = 1000, .client = "c-3", .team = "blue", .node = NODE},
        {.limit = 10, .action_id = "act_12345"},
        {.limit = 10, .team = "nobody"},
        {.limit = 10, .node = "gw-9"},
    };

    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        check_query(fixture, queries[i],
                    queries[i].node != NULL && strcmp(queries[i].node, NODE) != 0 ? 0 : total);
    }
}

static void wait_for_index(struct fixture *fixture, int64_t segments)
{
    int64_t made = -1;

    for (int tries = 0; made < segments && tries < 200; tries++) {
        sqlite3_stmt *statement = NULL;
        sqlite3 *db = open_beside(fixture->url);
        assert_int_equal(
            sqlite3_prepare_v2(db, "SELECT count(*) FROM audit_segments", -1, &statement, NULL),
            SQLITE_OK);
        assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
        made = sqlite3_column_int64(statement, 0);
        (void)sqlite3_finalize(statement);
        (void)sqlite3_close(db);
        if (made < segments) {
            (void)usleep(50000);
        }
    }
    assert_true(made >= segments);
}

static void test_finding(void **state)
{
    const int total = 3 * STORE_SEGMENT_RECORDS + 100;
    struct fixture *fixture = *state;
    struct store_record_query query = {.limit = 10, .device = "00-0c-29-00-01-02"};
    struct finding finding;

    add_records(fixture, 0, total);
    wait_for_index(fixture, 3);
    check_queries(fixture, total);
    finding = find(fixture, &query); /* a MAC in another spelling */
    assert_int_equal(finding.count, 1);
    assert_int_equal(finding.seqs[0], 0x0102);
    query = (struct store_record_query){.limit = 10, .from_ms = 1, .to_ms = 2};
    assert_int_equal(find(fixture, &query).count, 0);
    query.to_ms = INT64_MAX;
    assert_int_equal(find(fixture, &query).count, 10);
    query.cursor = "12";
    assert_int_equal(store_find_records(fixture->store, &query, fixture->replies, on_records, NULL),
                     ERR_INVALID);
    query.cursor = "x:gw-1";
    assert_int_equal(store_find_records(fixture->store, &query, fixture->replies, on_records, NULL),
                     ERR_INVALID);
}

/* ---- Pruning ---- */

static enum err prune(struct fixture *fixture, int64_t size)
{
    struct store_write *write = store_write_new();

    store_write_prune(write, size, "the note");
    return do_write(fixture, write);
}

static void test_pruning(void **state)
{
    static const int sizes[] = {100, 257, 1000, 1024};
    struct fixture *fixture = *state;
    struct signing signings[ARRAY_LEN(sizes) + 1];
    struct store_audit *audit;
    int64_t size = 0;
    char *note = NULL;

    assert_int_equal(prune(fixture, 256), ERR_INVALID); /* nothing is signed */
    for (size_t i = 0, made = 0; i < ARRAY_LEN(sizes); made = (size_t)sizes[i++]) {
        add_records(fixture, (int)made, sizes[i] - (int)made);
        signings[i] = add_checkpoint(fixture);
    }
    add_records(fixture, 1024, 1000);
    assert_int_equal(prune(fixture, 1280), ERR_INVALID); /* not covered */
    signings[4] = add_checkpoint(fixture);
    assert_int_equal(prune(fixture, 300), ERR_INVALID); /* no whole block */
    assert_int_equal(prune(fixture, 256), OK);
    assert_int_equal(prune(fixture, 1280), OK);
    assert_int_equal(prune(fixture, 1280), ERR_INVALID);
    reopen_store(fixture);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        check_consistency(fixture, &signings[i], &signings[4]);
    }
    check_entry(fixture, 1280, &signings[4]);
    check_entry(fixture, 2023, &signings[4]);
    assert_int_equal(store_audit_open(fixture->url, &audit, NULL), OK);
    assert_int_equal(store_audit_pruned(audit, NODE, &size, &note, NULL), OK);
    assert_int_equal(size, 1280);
    assert_string_equal(note, "the note");
    free(note);
    store_audit_close(audit);
    assert_int_equal(find(fixture, &(struct store_record_query){.limit = 1000}).count, 744);
    add_records(fixture, 2024, 1);
    assert_int_equal(add_checkpoint(fixture).size, 2025);
}

/* ---- Streams, nodes ---- */

static void test_streams_remember_their_place(void **state)
{
    struct fixture *fixture = *state;
    struct store_audit *audit;
    int64_t seq = 99;

    assert_int_equal(store_audit_open(fixture->url, &audit, NULL), OK);
    assert_int_equal(store_audit_stream(audit, "siem", NODE, &seq, NULL), OK);
    assert_int_equal(seq, 0);
    for (int64_t i = 5; i < 8; i++) {
        struct store_write *write = store_write_new();
        store_write_set_stream(write, "siem", NODE, i);
        assert_int_equal(do_write(fixture, write), OK);
        assert_int_equal(store_audit_stream(audit, "siem", NODE, &seq, NULL), OK);
        assert_int_equal(seq, i);
    }
    store_audit_close(audit);
}

/* A database from before there was a tree gets one. */
static void test_an_older_log_gets_its_tree(void **state)
{
    struct fixture *fixture = *state;
    struct signing signing;
    sqlite3 *db;

    add_records(fixture, 0, 70000);
    close_store(fixture);
    db = open_beside(fixture->url);
    run_beside(db, "CREATE TABLE old (node TEXT NOT NULL, seq INTEGER NOT NULL, record BLOB NOT"
                   " NULL, PRIMARY KEY (node, seq)) STRICT;"
                   "INSERT INTO old SELECT node, seq, record FROM audit;"
                   "DROP TABLE audit; ALTER TABLE old RENAME TO audit;"
                   "DROP TABLE audit_tree; DROP TABLE audit_checkpoints; DROP TABLE audit_segments;"
                   "DROP TABLE audit_keys; DROP TABLE audit_pruned; DROP TABLE audit_streams;"
                   "PRAGMA user_version = 3");
    (void)sqlite3_close(db);
    open_store(fixture);
    add_records(fixture, 70000, 5);
    signing = add_checkpoint(fixture);
    check_root(fixture, &signing);
    check_entry(fixture, 3, &signing);
    check_entry(fixture, 69999, &signing);
}

int main(void)
{
    static const struct CMUnitTest suite[] = {
        TEST(test_checkpoints_sign_the_root),
        TEST(test_a_refused_write_is_not_in_the_tree),
        TEST(test_proofs),
        TEST(test_finding),
        TEST(test_pruning),
        TEST(test_streams_remember_their_place),
        TEST(test_an_older_log_gets_its_tree),
    };
    int failed = 0;

    for (size_t i = 0; i < backend_count; i++) {
        backend = &backends[i];
        failed += cmocka_run_group_tests_name(backend->name, suite, NULL, NULL);
    }
    return failed;
}
