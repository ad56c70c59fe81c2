/* Verify: whether an audit log holds. Pure: it is fed with what is stored, row by row and just as
 * it is, and finds what is wrong; nothing of it is trusted. One thread.
 *
 * Order of calls:
 *   verify_new, options (keys, budgets, saved checkpoints)
 *   for each node, in the order of their names:
 *     verify_begin_node, its hashes, its checkpoints, its records by seq, verify_end_node
 *   verify_finish, then the findings and summaries
 *
 * A gateway may write to the log meanwhile. Nothing is missed or wrongly reported if for each node
 * the end is asked for first (size_before), then hashes and checkpoints are read, then the end once
 * more, up to which the records are read.
 *
 * Memory: 32 bytes for each stored hash and checkpoint; 16 bytes, half of a hash table, for each
 * call; for each action only until it is finished, unless there are several nodes; the calls that
 * hold a slot of a budget. */
#ifndef GATEWAY_VERIFY_H
#define GATEWAY_VERIFY_H

#include "common/error.h"
#include "common/memory.h"
#include "common/note.h"
#include "gateway/findings.h"
#include "store/audit.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct verify;

#define VERIFY_NODES_MAX 8000

/* Never NULL. node_count: how many nodes there will be, or more; the logs of several are looked at
 * together. */
struct verify *verify_new(size_t node_count);
void verify_free(struct verify *verify);

/* A key that checkpoints may be signed with. One without a name is tried for every node's. */
void verify_add_key(struct verify *verify, const struct note_verifier *key);

/* The budget of an account, as far as the log does not say. */
void verify_set_budget(struct verify *verify, const char *account, int64_t requests,
                       int64_t window_s);

/* Checkpoints that somebody kept: the content of a file, borrowed until verify_finish() returned,
 * as is its name. */
void verify_add_saved(struct verify *verify, const char *file, const char *text, size_t len);

/* ---- A node ---- */

/* Copies the name. pruned_size, pruned_note: as store_audit_pruned(); borrowed until
 * verify_end_node(). ERR_FULL: there were VERIFY_NODES_MAX already. */
enum err verify_begin_node(struct verify *verify, const char *node, int64_t size_before,
                           int64_t pruned_size, const char *pruned_note) MUST_CHECK;
void verify_add_hash(struct verify *verify, int64_t level, int64_t number, const uint8_t *hash,
                     size_t len);
void verify_add_checkpoint(struct verify *verify, int64_t size, const char *note, size_t len);
void verify_add_record(struct verify *verify, const struct store_record *record);
void verify_end_node(struct verify *verify);

/* ---- The end ---- */

/* Looks at what only shows when all is there. expected: a node that must have records, or NULL. */
void verify_finish(struct verify *verify, const char *expected);

const struct findings *verify_findings(const struct verify *verify);

struct verify_node_summary {
    const char *name; /* any bytes */
    uint64_t records;
    int64_t from; /* the first seq: how many were pruned */
    int64_t size; /* one past the last seq that stands in its place */
    char from_time[32];
    char to_time[32];     /* "" when there is no record; printable */
    uint64_t checkpoints; /* whose signatures hold, saved ones too */
    uint64_t unproven;    /* of these, whose roots cannot be computed: they are older than `from` */
    int64_t signed_size;  /* the greatest of those whose root is right; 0: none */
};

struct verify_account_summary {
    const char *name; /* as it stands in the log, escapes as they are */
    uint64_t calls;
    uint64_t unchecked; /* of these, for which no budget is known */
    int64_t requests;   /* the budget that was known last; 0: none */
    int64_t window_s;
};

size_t verify_node_count(const struct verify *verify);
struct verify_node_summary verify_node(const struct verify *verify, size_t index);
size_t verify_account_count(const struct verify *verify);
struct verify_account_summary verify_account(const struct verify *verify, size_t index);

/* Notes in the files of saved checkpoints that were cut short: no evidence of anything. */
uint64_t verify_cut_notes(const struct verify *verify);

#endif
