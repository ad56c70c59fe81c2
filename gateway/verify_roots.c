/* Verify, the checkpoints of a node: whether they are notes of this log, signed by a key that is
 * known, and whether the records lead to their roots. See verify_priv.h. */
#include "gateway/verify_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ORIGIN "tollgate/"

/* What a finding calls a checkpoint. */
struct title {
    char text[160];
};

static struct title title_of(enum root_kind kind, const char *file, int64_t size)
{
    struct title title;
    char name[100];

    switch (kind) {
    case ROOT_SAVED:
        (void)snprintf(title.text, sizeof(title.text), "the checkpoint of size %" PRId64 " in %s",
                       size, findings_printable(file, strlen(file), name, sizeof(name)));
        break;
    case ROOT_PRUNED:
        (void)snprintf(title.text, sizeof(title.text),
                       "the checkpoint of size %" PRId64 " of what was pruned", size);
        break;
    case ROOT_STORED:
    default:
        (void)snprintf(title.text, sizeof(title.text), "the stored checkpoint of size %" PRId64,
                       size);
        break;
    }
    return title;
}

/* Where a note stands that cannot be believed: at its size. */
static int64_t seq_of(int64_t size)
{
    return size > 0 ? size : 0;
}

/* OK, ERR_NOT_FOUND: by none of the keys; ERR_INVALID: by one of them, but it does not verify. */
static enum err verify_signature(const struct verify *verify, const char *name, const char *note,
                                 size_t len)
{
    enum err result = ERR_NOT_FOUND;

    for (size_t i = 0; i < verify->key_count; i++) {
        const struct note_verifier *given = &verify->keys[i];
        struct note_verifier key = *given;
        enum err err;
        if (given->name[0] == '\0' &&
            note_verifier_init(&key, name, given->public_key, NULL) != OK) {
            continue; /* a node of that name can have signed nothing */
        }
        err = note_verify(note, len, &key, NULL);
        if (err == OK && strcmp(key.name, name) == 0) {
            return OK;
        }
        if (err == ERR_INVALID) {
            result = ERR_INVALID;
        }
    }
    return result;
}

static void add_root(struct log *log, const struct root *root)
{
    if ((log->root_count & (log->root_count - 1)) == 0) { /* 0 or a power of two: full */
        log->roots = xrealloc(log->roots, log->root_count > 0 ? 2 * log->root_count : 1,
                              sizeof(*log->roots));
    }
    log->roots[log->root_count++] = *root;
}

/* What a note says, if it is one of this log and its signature holds; else that is found. */
static bool open_note(struct verify *verify, const struct title *title, int64_t seq,
                      const char *note, size_t len, struct checkpoint *ret_checkpoint)
{
    CLEANUP(cleanup_free) char *name = xasprintf("%s%s", ORIGIN, verify->log.name);
    struct error error = {0};

    if (note == NULL || note_parse_checkpoint(note, len, ret_checkpoint, &error) != OK ||
        ret_checkpoint->size > INT64_MAX) {
        VERIFY_FIND(verify, seq, CHECKPOINT_MALFORMED, "%s: it is no checkpoint", title->text);
        return false;
    }
    if (strcmp(ret_checkpoint->origin, name) != 0) {
        VERIFY_FIND(verify, seq, CHECKPOINT_MALFORMED, "%s: it is of another log", title->text);
        return false;
    }
    switch (verify_signature(verify, name, note, len)) {
    case OK:
        return true;
    case ERR_NOT_FOUND:
        VERIFY_FIND(verify, seq, KEY_UNKNOWN,
                    "%s: none of the keys given signed it; if the key was changed, give the older "
                    "one too, with another --public-key",
                    title->text);
        return false;
    default:
        VERIFY_FIND(verify, seq, SIGNATURE_INVALID, "%s: its signature does not verify",
                    title->text);
        return false;
    }
}

void roots_read(struct verify *verify, enum root_kind kind, const char *file, int64_t size,
                const char *note, size_t len)
{
    struct log *log = &verify->log;
    struct title title = title_of(kind, file, size);
    struct root root = {.kind = kind, .file = file};
    struct checkpoint checkpoint;
    int64_t signed_size;

    if (!open_note(verify, &title, seq_of(size), note, len, &checkpoint)) {
        return;
    }
    verify->nodes[log->node].checkpoints++;
    signed_size = (int64_t)checkpoint.size;
    if (kind == ROOT_STORED && size != signed_size) {
        VERIFY_FIND(verify, seq_of(signed_size), CHECKPOINT_MALFORMED,
                    "%s: the signed size is %" PRId64, title.text, signed_size);
    } else if (kind == ROOT_PRUNED && signed_size < log->pruned) {
        VERIFY_FIND(verify, seq_of(signed_size), CHECKPOINT_MALFORMED,
                    "%s: but %" PRId64 " records were pruned", title.text, log->pruned);
    }
    root.size = checkpoint.size;
    memcpy(root.hash, checkpoint.root, sizeof(root.hash));
    add_root(log, &root);
}

void verify_add_checkpoint(struct verify *verify, int64_t size, const char *note, size_t len)
{
    roots_read(verify, ROOT_STORED, NULL, size, note, len);
}

static int by_size(const void *left, const void *right)
{
    const struct root *a = left;
    const struct root *b = right;

    return a->size < b->size ? -1 : a->size > b->size;
}

/* A root did not hold. What is wrong lies behind the last one that did; if a stored interior node
 * does not follow there either, most likely below that. Stored checkpoints may have been signed
 * anew, so saved ones are only compared with each other. */
static void find_mismatch(struct verify *verify, const struct root *root)
{
    struct log *log = &verify->log;
    bool saved = root->kind == ROOT_SAVED;
    uint64_t from = log->proven[saved ? 1 : 0];

    if (log->doubted_from != UINT64_MAX && log->doubted_from > from) {
        from = log->doubted_from;
    }
    if (from >= root->size) { /* of two of one size, one held */
        from = root->size > 0 ? root->size - 1 : 0;
    }
    log->roots_off[saved ? 1 : 0] = true;
    if (saved) {
        VERIFY_FIND(verify, (int64_t)from, FORKED,
                    "%s was signed over other records: one from %" PRIu64 " on is not as it was",
                    title_of(root->kind, root->file, (int64_t)root->size).text, from);
    } else {
        VERIFY_FIND(verify, (int64_t)from, ROOT_MISMATCH,
                    "a checkpoint of size %" PRIu64 " was signed over other records: one from "
                    "%" PRIu64 " on is not as it was",
                    root->size, from);
    }
}

/* Compares a root with that of the tree of its size. */
static void judge(struct verify *verify, const struct root *root, const uint8_t *by_leaf,
                  const uint8_t *by_bytes)
{
    struct log *log = &verify->log;

    if (log->roots_off[root->kind == ROOT_SAVED ? 1 : 0]) {
        return;
    }
    if (!rows_hold(verify, root->hash, by_leaf, by_bytes)) {
        find_mismatch(verify, root);
        return;
    }
    log->proven[0] = root->size;
    if (root->kind == ROOT_SAVED) {
        log->proven[1] = root->size;
    }
    log->doubted_from = UINT64_MAX;
}

/* Those that are older than what was pruned: seldom their roots can still be computed. */
static void check_older(struct verify *verify)
{
    struct log *log = &verify->log;

    while (log->root_next < log->root_count &&
           log->roots[log->root_next].size < (uint64_t)log->pruned) {
        const struct root *root = &log->roots[log->root_next++];
        uint8_t hash[MERKLE_HASH_BYTES];
        if (merkle_root_at(root->size, stored_get, &log->stored, hash) != OK) {
            verify->nodes[log->node].unproven++;
        } else {
            judge(verify, root, hash, hash);
        }
    }
}

/* The saved ones of this node, the one that pruned records stand under, all in order. */
void roots_begin(struct verify *verify)
{
    struct log *log = &verify->log;
    CLEANUP(cleanup_free) char *origin = xasprintf("%s%s", ORIGIN, log->name);

    if (log->pruned > 0) {
        const char *note = log->pruned_note;
        roots_read(verify, ROOT_PRUNED, NULL, log->pruned, note, note != NULL ? strlen(note) : 0);
    }
    for (size_t i = 0; i < verify->saved_count; i++) {
        struct saved_note *saved = &verify->saved[i];
        struct checkpoint checkpoint;
        if (strcmp(saved->origin, origin) == 0 &&
            note_parse_checkpoint(saved->text, saved->len, &checkpoint, NULL) == OK) {
            saved->used = true;
            roots_read(verify, ROOT_SAVED, saved->file, (int64_t)checkpoint.size, saved->text,
                       saved->len);
        }
    }
    if (log->root_count > 1) {
        qsort(log->roots, log->root_count, sizeof(*log->roots), by_size);
    }
    log->doubted_from = UINT64_MAX;
    check_older(verify);
}

void roots_check(struct verify *verify)
{
    struct log *log = &verify->log;

    while (log->root_next < log->root_count &&
           log->roots[log->root_next].size == (uint64_t)log->next) {
        const struct root *root = &log->roots[log->root_next++];
        uint8_t by_leaf[MERKLE_HASH_BYTES];
        uint8_t by_bytes[MERKLE_HASH_BYTES];
        if (log->chained) {
            merkle_frontier_root(&log->tree, by_leaf);
            if (log->altered_count > 0) {
                merkle_frontier_root(&log->by_bytes, by_bytes);
            }
            judge(verify, root, by_leaf, log->altered_count > 0 ? by_bytes : by_leaf);
        }
    }
}

void roots_end(struct verify *verify)
{
    struct log *log = &verify->log;
    const struct root *root = log->root_count > 0 ? &log->roots[log->root_count - 1] : NULL;

    if (root != NULL && root->size > (uint64_t)log->next) {
        VERIFY_FIND(verify, log->next, TRUNCATED, "%s covers records that are not there",
                    title_of(root->kind, root->file, (int64_t)root->size).text);
    } else if (log->stored.beyond) {
        VERIFY_FIND(verify, log->next, TRUNCATED,
                    "there are stored nodes of the tree for records that are not there");
    }
    verify->nodes[log->node].signed_size = (int64_t)log->proven[0];
    free(TAKE(log->roots));
    log->root_count = log->root_next = 0;
}
