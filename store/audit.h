/* The audit log in the store: its records, the Merkle tree over them (RFC 9162 §2.1; leaf i is the
 * record with seq i of that node), the signed checkpoints of it, and an index for searching.
 * Writing records is in store.h. One log for each node.
 *
 * What is stored (SQLite; PostgreSQL likewise):
 *   audit             (node, seq, record, leaf): exactly the bytes that are hashed, and the hash
 *   audit_tree        (node, level, number, hash): complete interior nodes, of levels 8, 16, 24, …;
 *                     others follow from these and the leaves; where records were pruned
 *                     also those of lower levels that old checkpoints need
 *   audit_checkpoints (node, size, note): C2SP signed notes (common/note.h)
 *   audit_segments    (node, segment, first_ms, last_ms): what of 8192 records each is in the
 * index: audit_keys        (node, segment, bucket, keys): where in them a device, team, … stands
 *   audit_pruned      (node, size, note): records below size were dropped, under that checkpoint
 *   audit_streams     (name, node, seq): the next record that a stream has to send */
#ifndef STORE_AUDIT_H
#define STORE_AUDIT_H

#include "common/error.h"
#include "common/memory.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mailbox;
struct store;
struct store_write;

#define STORE_HASH_BYTES      32
#define STORE_TREE_STEP       8 /* levels between those stored */
#define STORE_BLOCK_RECORDS   256
#define STORE_SEGMENT_RECORDS 8192
#define STORE_PROOF_MAX       65 /* hashes */

/* A record as it is stored; nothing of it is checked. Borrowed for the callback. */
struct store_record {
    const char *node;
    int64_t seq;
    const char *bytes; /* a NUL follows */
    size_t len;
    const uint8_t *leaf; /* STORE_HASH_BYTES if all is well */
    size_t leaf_len;
};

/* Which records to find. NULL: any. */
struct store_record_query {
    const char *node;
    const char *team;
    const char *client;
    const char *action;    /* exempt, … */
    const char *action_id; /* its own records, and those of the calls it was in */
    const char *call_id;
    const char *device; /* asked for, sent or answered; a MAC in any spelling */
    const char *event;
    int64_t from_ms; /* wall clock: recorded at that time or later */
    int64_t to_ms;   /* recorded before that time; 0: no end */
    bool oldest_first;
    int limit;          /* 1 to STORE_LIST_MAX of store.h */
    const char *cursor; /* that came with the page before; NULL: begin */
};

#define STORE_CURSOR_SIZE 128

/* ---- Writing ---- */

/* Signs a checkpoint: returns the note, malloc'ed. On the writer's thread, inside the commit, so
 * quick; root has STORE_HASH_BYTES. */
typedef char *(*store_sign_cb)(const char *node, int64_t size, const uint8_t *root, void *arg);

/* Adds a checkpoint over everything this node has recorded up to here in this write, which must be
 * at least one record. sign is called when the write is committed; arg is borrowed until the write
 * is answered. */
void store_write_add_checkpoint(struct store_write *write, store_sign_cb sign, void *arg);

/* Remembers how far a stream got: the first seq of the node that it has not sent. */
void store_write_set_stream(struct store_write *write, const char *name, const char *node,
                            int64_t seq);

/* Drops this node's records below size (a multiple of STORE_BLOCK_RECORDS, at most the size of
 * the newest checkpoint), of which note is that checkpoint. What proofs about the tree need stays.
 * It takes time in proportion: prune in steps of some blocks.
 * ERR_INVALID: the size is not that. ERR_NOT_FOUND: records that proofs need are missing. */
void store_write_prune(struct store_write *write, int64_t size, const char *note);

/* How many records this node has, durable or about to be. Any thread. */
int64_t store_audit_size(const struct store *store);

/* ---- Reading, asynchronously: as store_read_action() of store.h ---- */

/* A page of records, borrowed for the call; count 0 unless the result is OK. next is the cursor of
 * the page after it, NULL when there is none. A page may hold fewer than limit, even none, and
 * still have a next: what one page looks at is bounded. */
typedef void (*store_records_cb)(enum err result, const struct store_record *records, size_t count,
                                 const char *next, void *arg);

/* ERR_INVALID: limit or cursor is none, and on_done is not called. */
enum err store_find_records(struct store *store, const struct store_record_query *query,
                            struct mailbox *reply_to, store_records_cb on_done,
                            void *arg) MUST_CHECK;

/* What proves something of a node's log: borrowed for the call, NULL unless the result is OK. */
struct store_proof {
    struct store_record record; /* of an entry */
    const char *checkpoint;     /* the newest note, whose size is: */
    int64_t size;
    size_t count;
    const uint8_t (*hashes)[STORE_HASH_BYTES];
};
typedef void (*store_proof_cb)(enum err result, const struct store_proof *proof, void *arg);

/* A record and the proof that it is in the tree of the newest checkpoint that covers it (RFC 9162
 * §2.1.3.1). ERR_NOT_FOUND: there is no such record. When no checkpoint covers it yet, checkpoint
 * is NULL and there are no hashes. */
enum err store_read_entry(struct store *store, const char *node, int64_t seq,
                          struct mailbox *reply_to, store_proof_cb on_done, void *arg) MUST_CHECK;

/* The newest checkpoint; no record, no hashes. ERR_NOT_FOUND: there is none. */
enum err store_read_checkpoint(struct store *store, const char *node, struct mailbox *reply_to,
                               store_proof_cb on_done, void *arg) MUST_CHECK;

/* That the tree of new_size begins with that of old_size (RFC 9162 §2.1.4.1); new_size 0: that of
 * the newest checkpoint, which is given too. ERR_NOT_FOUND: the log is shorter, or there is none.
 */
enum err store_read_consistency(struct store *store, const char *node, int64_t old_size,
                                int64_t new_size, struct mailbox *reply_to, store_proof_cb on_done,
                                void *arg) MUST_CHECK;

/* ---- Reading, blocking: for commands, streams and the index. A connection of its own ---- */

struct store_audit;

/* Opens read-only, also while a gateway runs on it; no transaction stays open between calls, and
 * none longer than some thousand records. ERR_NOT_FOUND: no store. One thread at a time. */
enum err store_audit_open(const char *url, struct store_audit **ret_audit,
                          struct error *error) MUST_CHECK;
void store_audit_close(struct store_audit *audit);

/* In all of these, each returns false to stop, may take its time, and must not use the same
 * connection. */

/* The names of all nodes that anything is stored of, in the order of their bytes. Of a name that
 * nobody can have configured, a NUL is shown as SUB and 0, and SUB (octal 032) as two. */
enum err store_audit_each_node(struct store_audit *audit, bool (*each)(const char *node, void *arg),
                               void *arg, struct error *error) MUST_CHECK;

/* A node's records with from <= seq < to (INT64_MAX: without end), in the order of seq, just as
 * they are stored. */
enum err store_audit_each_record(struct store_audit *audit, const char *node, int64_t from,
                                 int64_t to,
                                 bool (*each)(const struct store_record *record, void *arg),
                                 void *arg, struct error *error) MUST_CHECK;

/* One past the highest seq that a node has; 0 for none. */
enum err store_audit_end(struct store_audit *audit, const char *node, int64_t *ret_end,
                         struct error *error) MUST_CHECK;

/* Its stored interior nodes, by level and number. */
enum err store_audit_each_hash(struct store_audit *audit, const char *node,
                               bool (*each)(int64_t level, int64_t number, const uint8_t *hash,
                                            size_t len, void *arg),
                               void *arg, struct error *error) MUST_CHECK;

/* Its checkpoints by size, which is that of the row: the note need not agree with it. */
enum err store_audit_each_checkpoint(struct store_audit *audit, const char *node,
                                     bool (*each)(int64_t size, const char *note, size_t len,
                                                  void *arg),
                                     void *arg, struct error *error) MUST_CHECK;

/* How many of its records were pruned, and under which note (the caller frees); 0 and NULL: none.
 */
enum err store_audit_pruned(struct store_audit *audit, const char *node, int64_t *ret_size,
                            char **ret_note, struct error *error) MUST_CHECK;

/* As store_find_records(): next is for the page after, "" when there is none. */
enum err store_audit_find(struct store_audit *audit, const struct store_record_query *query,
                          bool (*each)(const struct store_record *record, void *arg), void *arg,
                          char ret_next[STORE_CURSOR_SIZE], struct error *error) MUST_CHECK;

/* How far a stream got with a node; 0: it sent nothing yet. */
enum err store_audit_stream(struct store_audit *audit, const char *name, const char *node,
                            int64_t *ret_seq, struct error *error) MUST_CHECK;

#endif
