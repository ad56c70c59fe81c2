/* Tests of the verification of a log: good ones hold, and every damage to what is stored is found
 * where it is. */
#include "verify_fixture.h"

#include "common/merkle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

#define NODE    "gw-1"
#define ACTIONS 170 /* 682 records: two inner nodes and some more */
#define RECORDS (2 + 4 * ACTIONS)

static struct fake_log good;
static struct fake_log copy; /* what a test damages */

static int make_good(void **state)
{
    (void)state;
    log_make(&good, NODE, ACTIONS);
    assert_int_equal(good.row_count, RECORDS);
    assert_int_equal(good.hash_count, 2);
    return 0;
}

static int free_good(void **state)
{
    (void)state;
    log_done(&good);
    return 0;
}

static int make_copy(void **state)
{
    (void)state;
    log_copy(&copy, &good);
    return 0;
}

static int free_copy(void **state)
{
    (void)state;
    log_done(&copy);
    return 0;
}

static void rehash(struct log_row *row)
{
    merkle_leaf_hash(row->bytes, row->len, row->leaf);
}

/* Another record in that place, which says the same of where it stands. */
static void forge(struct log_row *row)
{
    free(row->bytes);
    row->bytes =
        xasprintf("{\"v\":1,\"node\":\"%s\",\"seq\":%lld,\"time\":\"2026-11-24T22:00:00.000Z\","
                  "\"event\":\"request.refused\"}",
                  row->node, (long long)row->seq);
    row->len = strlen(row->bytes);
    rehash(row);
}

/* Takes a row out; the caller has its bytes. */
static struct log_row take_row(size_t index)
{
    struct log_row row = copy.rows[index];

    memmove(&copy.rows[index], &copy.rows[index + 1],
            (copy.row_count - index - 1) * sizeof(copy.rows[0]));
    copy.row_count--;
    return row;
}

static void drop_rows(size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        free(take_row(from).bytes);
    }
}

/* The same row once more, at another seq, at the end of the array. */
static struct log_row *double_row(size_t index, int64_t seq)
{
    struct log_row *row = &copy.rows[copy.row_count++];

    *row = copy.rows[index];
    row->bytes = xstrndup(row->bytes, row->len);
    row->seq = seq;
    return row;
}

/* ---- Good ones ---- */

static void test_a_good_log(void **state)
{
    CLEANUP(cleanup_free) char *saved = log_saved(&good);
    struct verify *verify = log_verify(&good, saved);
    struct verify_node_summary node;

    (void)state;
    assert_int_equal(verify_node_count(verify), 1);
    node = verify_node(verify, 0);
    assert_string_equal(node.name, NODE);
    assert_int_equal(node.records, RECORDS);
    assert_int_equal(node.size, RECORDS);
    assert_int_equal(node.signed_size, RECORDS);
    assert_int_equal(node.checkpoints, 2 * good.note_count);
    assert_int_equal(verify_account_count(verify), 2);
    assert_int_equal(verify_account(verify, 1).calls, ACTIONS);
    assert_int_equal(verify_account(verify, 1).unchecked, 0);
    assert_good(verify);
}

static void test_logs_without_checkpoints_and_of_many_lengths(void **state)
{
    (void)state;
    for (int actions = 0; actions < 130; actions += 3) {
        struct fake_log *log = &copy;
        memset(log, 0, sizeof(*log));
        log_make(log, NODE, actions);
        assert_good(log_verify(log, NULL));
        while (log->note_count > 0) {
            free(log->notes[--log->note_count].text);
        }
        assert_good(log_verify_with(log, NULL, NULL));
        log_done(log);
    }
}

static void test_several_nodes(void **state)
{
    (void)state;
    memset(&copy, 0, sizeof(copy));
    log_make(&copy, "a", 40);
    log_start(&copy, "b", 0, 10);
    log_seal(&copy, "b", 37);
    assert_good(log_verify(&copy, NULL));
    copy.rows[2 + 4 * 40 + 1].bytes[30] ^= 1;
    assert_first(log_verify(&copy, NULL), 1, "record-altered");
    log_done(&copy);
}

/* A gateway went on writing: the tree was read before the records. */
static void test_a_log_that_grows(void **state)
{
    struct verify *verify = verify_new(1);

    (void)state;
    verify_add_key(verify, log_key());
    assert_int_equal(verify_begin_node(verify, NODE, 255, 0, NULL), OK);
    for (size_t i = 0; i < good.row_count; i++) {
        const struct log_row *row = &good.rows[i];
        struct store_record record = {row->node, row->seq,  row->bytes,
                                      row->len,  row->leaf, row->leaf_len};
        verify_add_record(verify, &record);
    }
    verify_end_node(verify);
    verify_finish(verify, NODE);
    assert_good(verify);
}

/* ---- One byte ---- */

static int64_t changed(int64_t value, unsigned *seed)
{
    return (int64_t)((uint64_t)value ^ (uint64_t)(1 + rand_r(seed) % 255)
                                           << 8 * (rand_r(seed) % 8));
}

static void change_byte(char *bytes, size_t len, unsigned *seed)
{
    size_t at = (size_t)rand_r(seed) % len;

    bytes[at] = (char)((unsigned char)bytes[at] ^ (unsigned char)(1 + rand_r(seed) % 255));
    if (bytes[at] == '\0') { /* the fixture has strings */
        bytes[at] = 1;
    }
}

static bool row_exists(int64_t seq)
{
    return seq >= 0 && seq < RECORDS;
}

/* The end of the sequence is only known by what covers it. */
static const char *missing(int64_t seq)
{
    return seq == RECORDS - 1 ? "truncated" : "seq-gap";
}

static void damage_row(unsigned *seed)
{
    size_t index = (size_t)rand_r(seed) % copy.row_count;
    struct log_row *row = &copy.rows[index];
    int64_t seq = row->seq;

    switch (rand_r(seed) % 4) {
    case 0:
        change_byte(row->bytes, row->len, seed);
        assert_first(log_verify(&copy, NULL), seq, "record-altered");
        break;
    case 1:
        change_byte((char *)row->leaf, sizeof(row->leaf), seed);
        assert_first(log_verify(&copy, NULL), seq, "leaf-altered");
        break;
    case 2:
        do {
            row->seq = changed(seq, seed);
        } while (row_exists(row->seq));
        /* A stray row with no number is told of by what it says. */
        assert_first(log_verify(&copy, NULL), seq,
                     row->seq < 0 && seq == RECORDS - 1 ? "record-misplaced" : missing(seq));
        break;
    default:
        /* Found where it is and where it is not: the first by name. */
        change_byte(row->node, strlen(row->node), seed);
        assert_first(log_verify(&copy, NULL), seq,
                     strcmp(row->node, NODE) < 0 ? "record-misplaced" : missing(seq));
        break;
    }
}

static void damage_hash(unsigned *seed)
{
    struct log_hash *hash = &copy.hashes[(size_t)rand_r(seed) % copy.hash_count];
    int64_t start = hash->number << hash->level;

    switch (rand_r(seed) % 4) {
    case 0:
        change_byte((char *)hash->hash, sizeof(hash->hash), seed);
        break;
    case 1:
        hash->level = changed(hash->level, seed);
        break;
    case 2:
        do {
            hash->number = changed(hash->number, seed);
        } while (hash->number == 0 || hash->number == 1);
        break;
    default: /* alone under the other name, it is of a log that is gone */
        change_byte(hash->node, strlen(hash->node), seed);
        assert_first(log_verify(&copy, NULL), 0,
                     start == 0 && strcmp(hash->node, NODE) > 0 ? "tree-altered" : "truncated");
        return;
    }
    assert_first(log_verify(&copy, NULL), start, "tree-altered");
}

static void damage_note(unsigned *seed)
{
    struct log_note *note = &copy.notes[(size_t)rand_r(seed) % copy.note_count];
    struct verify *verify;
    int64_t size = note->size;
    const struct finding *first;

    switch (rand_r(seed) % 3) {
    case 0:
        change_byte(note->text, note->len, seed);
        break;
    case 1:
        note->size = changed(note->size, seed);
        break;
    default:
        change_byte(note->node, strlen(note->node), seed);
        break;
    }
    verify = log_verify(&copy, NULL);
    first = &verify_findings(verify)->first;
    assert_true(verify_findings(verify)->total > 0);
    assert_int_equal(first->seq, size);
    assert_true(first->reason == FINDING_CHECKPOINT_MALFORMED ||
                first->reason == FINDING_SIGNATURE_INVALID || first->reason == FINDING_KEY_UNKNOWN);
    verify_free(verify);
}

static void test_any_changed_byte(void **state)
{
    unsigned seed = 4;

    (void)state;
    for (int round = 0; round < 400; round++) {
        log_copy(&copy, &good);
        switch (rand_r(&seed) % 8) {
        case 0:
            damage_hash(&seed);
            break;
        case 1:
            damage_note(&seed);
            break;
        default:
            damage_row(&seed);
            break;
        }
        log_done(&copy);
    }
}

/* ---- Rows ---- */

static void test_a_deleted_row(void **state)
{
    (void)state;
    drop_rows(300, 301);
    assert_first(log_verify(&copy, NULL), 300, "seq-gap");
}

static void test_the_first_row_deleted(void **state)
{
    (void)state;
    drop_rows(0, 1);
    assert_first(log_verify(&copy, NULL), 0, "seq-gap");
}

static void test_swapped_rows(void **state)
{
    (void)state;
    copy.rows[100].seq = 400;
    copy.rows[400].seq = 100;
    assert_first(log_verify(&copy, NULL), 100, "record-misplaced");
}

static void test_neighbours_swapped(void **state)
{
    (void)state;
    copy.rows[100].seq = 101;
    copy.rows[101].seq = 100;
    assert_first(log_verify(&copy, NULL), 100, "record-misplaced");
}

static void test_a_copy_at_the_end(void **state)
{
    (void)state;
    (void)double_row(100, RECORDS);
    assert_first(log_verify(&copy, NULL), RECORDS, "seq-duplicate");
}

static void test_a_copy_instead_of_another(void **state)
{
    (void)state;
    free(take_row(50).bytes);
    (void)double_row(99, 50); /* was 100, before one was taken */
    assert_first(log_verify(&copy, NULL), 50, "seq-duplicate");
}

static void test_an_inserted_copy(void **state)
{
    (void)state;
    for (size_t i = 201; i < copy.row_count; i++) {
        copy.rows[i].seq++;
    }
    (void)double_row(200, 201);
    assert_first(log_verify(&copy, NULL), 201, "seq-duplicate");
}

static void test_an_inserted_record(void **state)
{
    (void)state;
    for (size_t i = 200; i < copy.row_count; i++) {
        copy.rows[i].seq++;
    }
    forge(double_row(199, 200));
    assert_first(log_verify(&copy, NULL), 201, "record-misplaced");
}

static void test_two_rows_of_one_number(void **state)
{
    (void)state;
    (void)double_row(200, 200);
    assert_first(log_verify(&copy, NULL), 200, "seq-duplicate");
}

static void test_a_cut_tail(void **state)
{
    CLEANUP(cleanup_free) char *saved = log_saved(&copy);

    (void)state;
    drop_rows(500, copy.row_count);
    assert_first(log_verify(&copy, NULL), 500, "truncated"); /* stored checkpoints say so */
    log_seal(&copy, NODE, 37);                               /* now nothing stored does */
    assert_good(log_verify(&copy, NULL));
    assert_first(log_verify(&copy, saved), 500, "truncated");
}

static void test_a_tail_whose_tree_is_left(void **state)
{
    (void)state;
    drop_rows(500, copy.row_count);
    while (copy.note_count > 0 && copy.notes[copy.note_count - 1].size > 500) {
        free(copy.notes[--copy.note_count].text);
    }
    assert_first(log_verify(&copy, NULL), 500, "truncated");
}

static void test_everything_gone(void **state)
{
    CLEANUP(cleanup_free) char *saved = log_saved(&copy);

    (void)state;
    drop_rows(0, copy.row_count);
    copy.hash_count = 0;
    while (copy.note_count > 0) {
        free(copy.notes[--copy.note_count].text);
    }
    assert_first(log_verify(&copy, NULL), 0, "no-records");
    assert_first(log_verify(&copy, saved), 0, "truncated");
}

/* ---- What is consistent, but not what was signed ---- */

static void test_a_forged_record_with_its_leaf(void **state)
{
    (void)state;
    forge(&copy.rows[300]); /* its inner node and all checkpoints from then on do not follow */
    assert_first(log_verify(&copy, NULL), 256, "tree-altered");
}

static void test_a_forged_record_that_only_a_checkpoint_knows(void **state)
{
    (void)state;
    forge(&copy.rows[RECORDS - 2]);
    assert_first(log_verify(&copy, NULL), (RECORDS - 2) / 37 * 37, "root-mismatch");
}

static void test_history_rewritten_with_the_key(void **state)
{
    CLEANUP(cleanup_free) char *saved = log_saved(&copy);

    (void)state;
    forge(&copy.rows[301]);
    log_seal(&copy, NODE, 37);
    assert_good(log_verify(&copy, NULL));
    assert_first(log_verify(&copy, saved), 37 * 8, "forked");
}

static void test_an_altered_record_does_not_hide_another(void **state)
{
    struct verify *verify;
    bool found = false;

    (void)state;
    copy.rows[100].bytes[copy.rows[100].len - 5] ^= 1;
    forge(&copy.rows[600]);
    verify = log_verify(&copy, NULL);
    for (size_t i = 0; i < verify_findings(verify)->count; i++) {
        const struct finding *finding = &verify_findings(verify)->kept[i];
        found = found || (finding->reason == FINDING_ROOT_MISMATCH && finding->seq == 592);
    }
    assert_true(found);
    assert_first(verify, 100, "record-altered");
}

static void test_an_inner_node_deleted(void **state)
{
    (void)state;
    copy.hashes[0] = copy.hashes[1];
    copy.hash_count = 1;
    assert_first(log_verify(&copy, NULL), 0, "tree-altered");
}

static void test_notes_swapped(void **state)
{
    char *text = copy.notes[3].text;
    size_t len = copy.notes[3].len;

    (void)state;
    copy.notes[3].text = copy.notes[5].text;
    copy.notes[3].len = copy.notes[5].len;
    copy.notes[5].text = text;
    copy.notes[5].len = len;
    assert_first(log_verify(&copy, NULL), copy.notes[3].size, "checkpoint-malformed");
}

static void test_leaves_that_are_no_hashes(void **state)
{
    (void)state;
    copy.rows[10].leaf_len = 31;
    assert_first(log_verify(&copy, NULL), 10, "leaf-altered");
}

static void test_records_that_are_none(void **state)
{
    (void)state;
    free(copy.rows[10].bytes);
    copy.rows[10].bytes = xstrdup("{\"v\":2}");
    copy.rows[10].len = 7;
    rehash(&copy.rows[10]);
    assert_first(log_verify(&copy, NULL), 10, "record-altered");
}

/* ---- Keys ---- */

static void test_keys(void **state)
{
    struct note_verifier named;
    struct note_verifier other = *log_key();
    CLEANUP(cleanup_free) char *saved = log_saved(&copy);

    (void)state;
    assert_int_equal(note_verifier_init(&named, "tollgate/" NODE, log_key()->public_key, NULL), OK);
    assert_good(log_verify_with(&copy, saved, &named));
    other.public_key[0] ^= 1;
    assert_first(log_verify_with(&copy, NULL, &other), 37, "key-unknown");
    assert_first(log_verify_with(&copy, NULL, NULL), 37, "key-unknown");
    assert_int_equal(note_verifier_init(&named, "tollgate/other", log_key()->public_key, NULL), OK);
    assert_first(log_verify_with(&copy, NULL, &named), 37, "key-unknown");
}

static void test_saved_notes(void **state)
{
    static const char strange[] = "hello\n\n\xe2\x80\x94 tollgate/x AAAAAAAA\n\n";
    CLEANUP(cleanup_free) char *saved = log_saved(&copy);
    CLEANUP(cleanup_free) char *other = NULL;
    struct verify *verify;

    (void)state;
    assert_first(log_verify(&copy, strange), 0, "checkpoint-malformed");
    saved[strlen(saved) - 20] = '\0'; /* a crash cut the last one */
    verify = log_verify(&copy, saved);
    assert_int_equal(verify_cut_notes(verify), 1);
    assert_good(verify);
    log_done(&copy);
    log_make(&copy, "other", 10);
    other = log_saved(&copy);
    log_done(&copy);
    log_copy(&copy, &good);
    assert_first(log_verify(&copy, other), 0, "truncated"); /* that node is not there */
}

/* ---- Pruned ---- */

/* Drops records below 512 under the newest checkpoint. */
static void prune(void)
{
    copy.pruned = 512;
    copy.pruned_note = xstrdup(copy.notes[copy.note_count - 1].text);
    drop_rows(0, 512);
}

static void test_pruned(void **state)
{
    struct verify *verify;
    struct verify_node_summary node;

    (void)state;
    prune();
    verify = log_verify(&copy, NULL);
    node = verify_node(verify, 0);
    assert_int_equal(node.from, 512);
    assert_int_equal(node.records, RECORDS - 512);
    assert_int_equal(node.unproven, 512 / 37); /* the tests keep no paths of old checkpoints */
    assert_int_equal(node.signed_size, RECORDS);
    assert_good(verify);
}

static void test_pruned_and_altered(void **state)
{
    (void)state;
    prune();
    copy.rows[0].bytes[40] ^= 1;
    assert_first(log_verify(&copy, NULL), 512, "record-altered");
    copy.rows[0].bytes[40] ^= 1;
    copy.hashes[0].hash[3] ^= 1;
    assert_first(log_verify(&copy, NULL), 0, "root-mismatch");
    copy.hash_count = 1;
    assert_first(log_verify(&copy, NULL), 0, "tree-altered");
}

static void test_more_pruned_than_said(void **state)
{
    (void)state;
    prune();
    drop_rows(0, 3);
    assert_first(log_verify(&copy, NULL), 512, "seq-gap");
}

static void test_pruned_under_a_false_note(void **state)
{
    (void)state;
    prune();
    free(copy.pruned_note);
    copy.pruned_note = xstrdup(copy.notes[2].text); /* of fewer records */
    assert_first(log_verify(&copy, NULL), copy.notes[2].size, "checkpoint-malformed");
    free(copy.pruned_note);
    copy.pruned_note = NULL;
    assert_first(log_verify(&copy, NULL), 512, "checkpoint-malformed");
}

/* ---- Anything ---- */

/* Whatever the rows hold, it ends and says that something is wrong. */
static void test_garbage(void **state)
{
    unsigned seed = 7;

    (void)state;
    for (int round = 0; round < 200; round++) {
        struct verify *verify = verify_new(2);
        verify_add_key(verify, log_key());
        if (verify_begin_node(verify, "x\xff\n", rand_r(&seed), rand_r(&seed) % 3 * 256, NULL) !=
            OK) {
            fail();
        }
        for (int i = 0; i < 30; i++) {
            const struct log_row *row = &good.rows[rand_r(&seed) % 40];
            uint8_t hash[STORE_HASH_BYTES] = {0};
            struct store_record record = {
                .node = "x",
                .seq = rand_r(&seed) % 3 == 0 ? INT64_MAX - rand_r(&seed) % 2 : rand_r(&seed) % 40,
                .bytes = rand_r(&seed) % 4 == 0 ? NULL : row->bytes,
                .len = (size_t)rand_r(&seed) % (row->len + 1),
                .leaf = rand_r(&seed) % 4 == 0 ? NULL : hash,
                .leaf_len = (size_t)rand_r(&seed) % 33};
            if (i < 10) {
                verify_add_hash(verify, rand_r(&seed) % 70 - 3, rand_r(&seed) % 5 - 1,
                                i % 2 == 0 ? hash : NULL, i % 2 == 0 ? 32 : 0);
                verify_add_checkpoint(verify, -i, i % 2 == 0 ? "no\n" : NULL, 3);
            } else {
                verify_add_record(verify, &record);
            }
        }
        verify_end_node(verify);
        verify_finish(verify, NULL);
        assert_true(verify_findings(verify)->total > 0);
        verify_free(verify);
    }
}

#define ON_COPY(test) cmocka_unit_test_setup_teardown(test, make_copy, free_copy)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_good_log),
        cmocka_unit_test(test_logs_without_checkpoints_and_of_many_lengths),
        cmocka_unit_test(test_several_nodes),
        cmocka_unit_test(test_a_log_that_grows),
        cmocka_unit_test(test_any_changed_byte),
        ON_COPY(test_a_deleted_row),
        ON_COPY(test_the_first_row_deleted),
        ON_COPY(test_swapped_rows),
        ON_COPY(test_neighbours_swapped),
        ON_COPY(test_a_copy_at_the_end),
        ON_COPY(test_a_copy_instead_of_another),
        ON_COPY(test_an_inserted_copy),
        ON_COPY(test_an_inserted_record),
        ON_COPY(test_two_rows_of_one_number),
        ON_COPY(test_a_cut_tail),
        ON_COPY(test_a_tail_whose_tree_is_left),
        ON_COPY(test_everything_gone),
        ON_COPY(test_a_forged_record_with_its_leaf),
        ON_COPY(test_a_forged_record_that_only_a_checkpoint_knows),
        ON_COPY(test_history_rewritten_with_the_key),
        ON_COPY(test_an_altered_record_does_not_hide_another),
        ON_COPY(test_an_inner_node_deleted),
        ON_COPY(test_notes_swapped),
        ON_COPY(test_leaves_that_are_no_hashes),
        ON_COPY(test_records_that_are_none),
        ON_COPY(test_keys),
        ON_COPY(test_saved_notes),
        ON_COPY(test_pruned),
        ON_COPY(test_pruned_and_altered),
        ON_COPY(test_more_pruned_than_said),
        ON_COPY(test_pruned_under_a_false_note),
        cmocka_unit_test(test_garbage),
    };

    return cmocka_run_group_tests(tests, make_good, free_good);
}
