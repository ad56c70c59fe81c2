/* Verify: its life, and the nodes one after the other. See verify.h. */
#include "gateway/verify_priv.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct verify *verify_new(size_t node_count)
{
    struct verify *verify = xcalloc(1, sizeof(*verify));

    verify->several = node_count > 1;
    calls_init(&verify->calls);
    budgets_init(&verify->budgets);
    return verify;
}

void verify_free(struct verify *verify)
{
    if (verify == NULL) {
        return;
    }
    stored_done(&verify->log.stored);
    free(verify->log.roots);
    for (size_t i = 0; i < verify->node_count; i++) {
        free((void *)verify->nodes[i].name);
    }
    free(verify->nodes);
    free(verify->keys);
    free(verify->saved);
    calls_done(&verify->calls);
    budgets_done(&verify->budgets);
    free(verify);
}

void verify_add_key(struct verify *verify, const struct note_verifier *key)
{
    verify->keys = xrealloc(verify->keys, verify->key_count + 1, sizeof(*verify->keys));
    verify->keys[verify->key_count++] = *key;
}

void verify_set_budget(struct verify *verify, const char *account, int64_t requests,
                       int64_t window_s)
{
    struct account_book *book = budgets_book(&verify->budgets, account, strlen(account));

    book->given = (struct budget_known){requests, window_s * 1000};
}

void verify_add_saved(struct verify *verify, const char *file, const char *text, size_t len)
{
    struct note_iterator iterator = {.data = text, .len = len};
    struct saved_note note = {.file = file};
    enum note_piece piece;

    while ((piece = note_next(&iterator, &note.text, &note.len)) != NOTE_END) {
        struct checkpoint checkpoint;
        if (piece == NOTE_CUT) {
            verify->cut++;
            continue;
        }
        note.origin[0] = '\0'; /* told as malformed at the end */
        if (note_parse_checkpoint(note.text, note.len, &checkpoint, NULL) == OK) {
            memcpy(note.origin, checkpoint.origin, sizeof(note.origin));
        }
        if ((verify->saved_count & (verify->saved_count - 1)) == 0) { /* full */
            verify->saved =
                xrealloc(verify->saved, verify->saved_count > 0 ? 2 * verify->saved_count : 1,
                         sizeof(*verify->saved));
        }
        verify->saved[verify->saved_count++] = note;
    }
}

enum err verify_begin_node(struct verify *verify, const char *node, int64_t size_before,
                           int64_t pruned_size, const char *pruned_note)
{
    struct log *log = &verify->log;

    if (verify->node_count == VERIFY_NODES_MAX) {
        return ERR_FULL;
    }
    verify->nodes = xrealloc(verify->nodes, verify->node_count + 1, sizeof(*verify->nodes));
    verify->nodes[verify->node_count] =
        (struct verify_node_summary){.name = xstrdup(node), .from = pruned_size};
    memset(log, 0, sizeof(*log));
    log->node = verify->node_count++;
    log->name = verify->nodes[log->node].name;
    log->size_before = size_before;
    log->pruned = pruned_size > 0 ? pruned_size : 0;
    log->pruned_note = pruned_note;
    verify->partial = verify->partial || log->pruned > 0;
    budgets_begin_node(&verify->budgets);
    return OK;
}

/* The first record, or the end, comes when all hashes and checkpoints are there. */
static void begin_rows(struct verify *verify)
{
    if (!verify->log.began) {
        verify->log.began = true;
        rows_begin(verify);
    }
}

void verify_add_record(struct verify *verify, const struct store_record *record)
{
    begin_rows(verify);
    rows_add(verify, record);
}

void verify_end_node(struct verify *verify)
{
    begin_rows(verify);
    rows_end(verify);
    budgets_end_node(verify);
    stored_done(&verify->log.stored);
}

/* A node of which nothing is stored. */
static void add_empty_node(struct verify *verify, const char *name)
{
    if (verify_begin_node(verify, name, 0, 0, NULL) == OK) {
        verify_end_node(verify);
    }
}

/* Saved checkpoints of nodes that are not there, and notes that are no checkpoints of a node. */
static void check_saved(struct verify *verify)
{
    static const char prefix[] = "tollgate/";
    size_t strange = 0;

    for (size_t i = 0; i < verify->saved_count; i++) {
        const struct saved_note *note = &verify->saved[i];
        if (!note->used && strncmp(note->origin, prefix, strlen(prefix)) == 0) {
            add_empty_node(verify, note->origin + strlen(prefix)); /* uses all that it has */
        }
        strange += note->used ? 0 : 1;
    }
    if (strange == 0) {
        return;
    }
    add_empty_node(verify, "");
    for (size_t i = 0; i < verify->saved_count; i++) {
        char file[100];
        if (!verify->saved[i].used) {
            VERIFY_FIND(verify, 0, CHECKPOINT_MALFORMED, "a note in %s is no checkpoint of a log",
                        findings_printable(verify->saved[i].file, strlen(verify->saved[i].file),
                                           file, sizeof(file)));
        }
    }
}

static bool has_records(const struct verify *verify, const char *node)
{
    for (size_t i = 0; i < verify->node_count; i++) {
        if ((node == NULL || strcmp(verify->nodes[i].name, node) == 0) &&
            verify->nodes[i].size > 0) {
            return true;
        }
    }
    return false;
}

void verify_finish(struct verify *verify, const char *expected)
{
    check_saved(verify);
    if (!has_records(verify, NULL) || (expected != NULL && !has_records(verify, expected))) {
        add_empty_node(verify, expected != NULL ? expected : "");
        VERIFY_FIND(verify, 0, NO_RECORDS, "there are no records");
    }
    calls_finish(verify);
    budgets_finish(verify);
}

const struct findings *verify_findings(const struct verify *verify)
{
    return &verify->findings;
}

size_t verify_node_count(const struct verify *verify)
{
    return verify->node_count;
}

struct verify_node_summary verify_node(const struct verify *verify, size_t index)
{
    struct verify_node_summary summary = verify->nodes[index];

    (void)findings_printable(verify->nodes[index].from_time, strlen(verify->nodes[index].from_time),
                             summary.from_time, sizeof(summary.from_time));
    (void)findings_printable(verify->nodes[index].to_time, strlen(verify->nodes[index].to_time),
                             summary.to_time, sizeof(summary.to_time));
    return summary;
}

size_t verify_account_count(const struct verify *verify)
{
    return verify->budgets.count;
}

struct verify_account_summary verify_account(const struct verify *verify, size_t index)
{
    const struct account_book *book = &verify->budgets.books[index];

    return (struct verify_account_summary){.name = book->name,
                                           .calls = book->calls,
                                           .unchecked = book->unchecked,
                                           .requests = book->last.requests,
                                           .window_s = book->last.window_ms / 1000};
}

uint64_t verify_cut_notes(const struct verify *verify)
{
    return verify->cut;
}
