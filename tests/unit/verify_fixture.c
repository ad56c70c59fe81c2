/* See verify_fixture.h. */
#include "verify_fixture.h"

#include "common/clock.h"
#include "common/merkle.h"
#include "common/signing_key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

#define START_MS INT64_C(1796000000000)

static struct signing_key *key;
static struct note_verifier verifier;

const struct note_verifier *log_key(void)
{
    if (key == NULL) {
        key = signing_key_generate();
        signing_key_public(key, verifier.public_key);
    }
    return &verifier;
}

void log_done(struct fake_log *log)
{
    for (size_t i = 0; i < log->row_count; i++) {
        free(log->rows[i].bytes);
    }
    for (size_t i = 0; i < log->note_count; i++) {
        free(log->notes[i].text);
    }
    free(log->pruned_note);
    memset(log, 0, sizeof(*log));
}

void log_copy(struct fake_log *to, const struct fake_log *from)
{
    *to = *from;
    for (size_t i = 0; i < to->row_count; i++) {
        to->rows[i].bytes = xstrndup(from->rows[i].bytes, from->rows[i].len);
    }
    for (size_t i = 0; i < to->note_count; i++) {
        to->notes[i].text = xstrndup(from->notes[i].text, from->notes[i].len);
    }
    to->pruned_note = xstrdup(from->pruned_note);
}

/* ---- Records ---- */

static int64_t next_seq(const struct fake_log *log, const char *node)
{
    int64_t seq = 0;

    for (size_t i = 0; i < log->row_count; i++) {
        seq += strcmp(log->rows[i].node, node) == 0 ? 1 : 0;
    }
    return seq;
}

struct log_row *log_add(struct fake_log *log, const char *node, int64_t ms, const char *format, ...)
{
    struct log_row *row = &log->rows[log->row_count++];
    char time[CLOCK_TEXT_SIZE];
    char *rest = NULL;
    va_list args;

    assert_true(log->row_count <= LOG_ROWS_MAX);
    va_start(args, format);
    assert_true(vasprintf(&rest, format, args) >= 0);
    va_end(args);
    (void)snprintf(row->node, sizeof(row->node), "%s", node);
    log->row_count--;
    row->seq = next_seq(log, node);
    log->row_count++;
    row->bytes = xasprintf("{\"v\":1,\"node\":\"%s\",\"seq\":%lld,\"time\":\"%s\",%s}", node,
                           (long long)row->seq, clock_format(START_MS + ms, time), rest);
    row->len = strlen(row->bytes);
    free(rest);
    return row;
}

void log_start(struct fake_log *log, const char *node, int64_t ms, int requests)
{
    (void)log_add(log, node, ms, "\"event\":\"node.started\"");
    (void)log_add(log, node, ms,
                  "\"event\":\"config.loaded\",\"detail\":{\"sha256\":\"00\",\"accounts\":"
                  "{\"other\":{\"requests\":1,\"window_s\":1},"
                  "\"main\":{\"requests\":%d,\"window_s\":60}}}",
                  requests);
}

void log_accept(struct fake_log *log, const char *node, int64_t ms, int action)
{
    (void)log_add(log, node, ms,
                  "\"event\":\"action.accepted\",\"client\":\"nightly\",\"team\":\"helpdesk\","
                  "\"action_id\":\"act_%d\",\"account\":\"main\",\"action\":\"exempt\","
                  "\"devices\":[\"dev-%d\"],\"params\":{\"exempt_time\":24}",
                  action, action);
}

void log_intent(struct fake_log *log, const char *node, int64_t ms, int call, int action)
{
    (void)log_add(log, node, ms,
                  "\"event\":\"call.intent\",\"call_id\":\"call_%d\",\"account\":\"main\","
                  "\"action\":\"exempt\",\"devices\":[\"dev-%d\"],\"detail\":{\"actions\":"
                  "[\"act_%d\"],\"clock\":{\"boot_id\":\"boot-%s\",\"ms\":%lld}}",
                  call, action, action, node, (long long)ms);
}

void log_outcome(struct fake_log *log, const char *node, int64_t ms, int call, bool sent)
{
    CLEANUP(cleanup_free)
    char *clock =
        xasprintf(",\"clock\":{\"boot_id\":\"boot-%s\",\"ms\":%lld}", node, (long long)ms);

    (void)log_add(log, node, ms,
                  "\"event\":\"call.outcome\",\"call_id\":\"call_%d\",\"account\":\"main\","
                  "\"outcome\":\"ok\",\"detail\":{\"actions\":[],\"nothing_sent\":%s%s}",
                  call, sent ? "false" : "true", sent ? clock : "");
}

void log_finish(struct fake_log *log, const char *node, int64_t ms, int action)
{
    (void)log_add(log, node, ms,
                  "\"event\":\"action.finished\",\"action_id\":\"act_%d\",\"results\":"
                  "[{\"id\":\"dev-%d\",\"status\":1}],\"detail\":{\"state\":\"completed\"}",
                  action, action);
}

/* ---- The tree ---- */

struct sealing {
    struct fake_log *log;
    const char *node;
};

static void on_node(unsigned level, uint64_t number, const uint8_t hash[MERKLE_HASH_BYTES],
                    void *arg)
{
    struct sealing *sealing = arg;
    struct log_hash *to = &sealing->log->hashes[sealing->log->hash_count];

    if (level % STORE_TREE_STEP == 0) {
        assert_true(sealing->log->hash_count < LOG_HASHES_MAX);
        (void)snprintf(to->node, sizeof(to->node), "%s", sealing->node);
        to->level = level;
        to->number = (int64_t)number;
        memcpy(to->hash, hash, sizeof(to->hash));
        to->len = sizeof(to->hash);
        sealing->log->hash_count++;
    }
}

static void add_note(struct fake_log *log, const char *node, const struct merkle_frontier *tree)
{
    struct log_note *note = &log->notes[log->note_count];
    struct checkpoint checkpoint = {.size = tree->size};

    assert_true(log->note_count < LOG_NOTES_MAX);
    (void)log_key();
    (void)snprintf(checkpoint.origin, sizeof(checkpoint.origin), "tollgate/%s", node);
    merkle_frontier_root(tree, checkpoint.root);
    (void)snprintf(note->node, sizeof(note->node), "%s", node);
    note->size = (int64_t)tree->size;
    log->note_count++;
    assert_int_equal(note_sign_checkpoint(&checkpoint, key, &note->text, &note->len, NULL), OK);
}

static void drop_seal(struct fake_log *log, const char *node)
{
    size_t kept = 0;

    for (size_t i = 0; i < log->hash_count; i++) {
        if (strcmp(log->hashes[i].node, node) != 0) {
            log->hashes[kept++] = log->hashes[i];
        }
    }
    log->hash_count = kept;
    kept = 0;
    for (size_t i = 0; i < log->note_count; i++) {
        if (strcmp(log->notes[i].node, node) != 0) {
            log->notes[kept++] = log->notes[i];
        } else {
            free(log->notes[i].text);
        }
    }
    log->note_count = kept;
}

void log_seal(struct fake_log *log, const char *node, size_t every)
{
    struct merkle_frontier tree = {0};
    struct sealing sealing = {log, node};

    drop_seal(log, node);
    for (size_t i = 0; i < log->row_count; i++) {
        struct log_row *row = &log->rows[i];
        if (strcmp(row->node, node) == 0) {
            merkle_leaf_hash(row->bytes, row->len, row->leaf);
            row->leaf_len = sizeof(row->leaf);
            merkle_frontier_add(&tree, row->leaf, on_node, &sealing);
            if (tree.size % every == 0) {
                add_note(log, node, &tree);
            }
        }
    }
    if (tree.size % every != 0) {
        add_note(log, node, &tree);
    }
}

void log_make(struct fake_log *log, const char *node, int actions)
{
    int64_t ms = 1000;

    log_start(log, node, ms, 10);
    for (int i = 0; i < actions; i++) {
        ms += 6100; /* ten in a minute, and a little */
        log_accept(log, node, ms, i);
        log_intent(log, node, ms, i, i);
        log_outcome(log, node, ms + 50, i, true);
        log_finish(log, node, ms + 50, i);
    }
    log_seal(log, node, 37);
}

char *log_saved(const struct fake_log *log)
{
    char *text = xstrdup("");

    for (size_t i = 0; i < log->note_count; i++) {
        char *more = xasprintf("%s%s\n", text, log->notes[i].text);
        free(text);
        text = more;
    }
    return text;
}

/* ---- Verifying ---- */

static int by_place(const void *left, const void *right)
{
    const struct log_row *a = *(const struct log_row *const *)left;
    const struct log_row *b = *(const struct log_row *const *)right;
    int order = strcmp(a->node, b->node);

    if (order != 0) {
        return order;
    }
    return a->seq < b->seq ? -1 : a->seq > b->seq;
}

static int by_name(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

/* The names of all nodes; the caller frees the array. */
static const char **node_names(const struct fake_log *log, size_t *ret_count)
{
    size_t all = log->row_count + log->hash_count + log->note_count;
    const char **names = xcalloc(all, sizeof(*names));
    size_t count = 0;
    size_t kept = 0;

    for (size_t i = 0; i < log->row_count; i++) {
        names[count++] = log->rows[i].node;
    }
    for (size_t i = 0; i < log->hash_count; i++) {
        names[count++] = log->hashes[i].node;
    }
    for (size_t i = 0; i < log->note_count; i++) {
        names[count++] = log->notes[i].node;
    }
    qsort(names, count, sizeof(*names), by_name);
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || strcmp(names[kept - 1], names[i]) != 0) {
            names[kept++] = names[i];
        }
    }
    *ret_count = kept;
    return names;
}

static void feed_node(struct verify *verify, const struct fake_log *log, const char *node,
                      const struct log_row *const *rows, bool first)
{
    int64_t size = 0;

    for (size_t i = 0; i < log->row_count; i++) {
        if (strcmp(rows[i]->node, node) == 0 && rows[i]->seq >= size && rows[i]->seq < INT64_MAX) {
            size = rows[i]->seq + 1;
        }
    }
    assert_int_equal(verify_begin_node(verify, node, size, first ? log->pruned : 0,
                                       first ? log->pruned_note : NULL),
                     OK);
    for (size_t i = 0; i < log->hash_count; i++) {
        const struct log_hash *hash = &log->hashes[i];
        if (strcmp(hash->node, node) == 0) {
            verify_add_hash(verify, hash->level, hash->number, hash->hash, hash->len);
        }
    }
    for (size_t i = 0; i < log->note_count; i++) {
        const struct log_note *note = &log->notes[i];
        if (strcmp(note->node, node) == 0) {
            verify_add_checkpoint(verify, note->size, note->text, note->len);
        }
    }
    for (size_t i = 0; i < log->row_count; i++) {
        const struct log_row *row = rows[i];
        struct store_record record = {row->node, row->seq,  row->bytes,
                                      row->len,  row->leaf, row->leaf_len};
        if (strcmp(row->node, node) == 0) {
            verify_add_record(verify, &record);
        }
    }
    verify_end_node(verify);
}

struct verify *log_verify_with(const struct fake_log *log, const char *saved,
                               const struct note_verifier *with)
{
    size_t count;
    const char **names = node_names(log, &count);
    const struct log_row **rows = xcalloc(log->row_count, sizeof(*rows));
    struct verify *verify = verify_new(count);

    if (with != NULL) {
        verify_add_key(verify, with);
    }
    if (saved != NULL) {
        verify_add_saved(verify, "saved.txt", saved, strlen(saved));
    }
    for (size_t i = 0; i < log->row_count; i++) {
        rows[i] = &log->rows[i];
    }
    qsort(rows, log->row_count, sizeof(*rows), by_place);
    for (size_t i = 0; i < count; i++) {
        feed_node(verify, log, names[i], rows, i == 0);
    }
    verify_finish(verify, NULL);
    free(names);
    free(rows);
    return verify;
}

struct verify *log_verify(const struct fake_log *log, const char *saved)
{
    return log_verify_with(log, saved, log_key());
}

void assert_good(struct verify *verify)
{
    const struct findings *findings = verify_findings(verify);

    if (findings->total > 0) {
        fail_msg("%lld: %s: %s", (long long)findings->first.seq,
                 finding_reason_name(findings->first.reason), findings->first.detail);
    }
    verify_free(verify);
}

void assert_first(struct verify *verify, int64_t seq, const char *reason)
{
    const struct findings *findings = verify_findings(verify);
    const struct finding *first = &findings->first;

    if (findings->total == 0) {
        fail_msg("nothing was found instead of %lld %s", (long long)seq, reason);
    } else if (first->seq != seq || strcmp(finding_reason_name(first->reason), reason) != 0) {
        fail_msg("%lld: %s: %s, instead of %lld %s", (long long)first->seq,
                 finding_reason_name(first->reason), first->detail, (long long)seq, reason);
    }
    verify_free(verify);
}
