/* What the files of store/ share: how a write looks inside, how audit records get their bytes,
 * and the table of functions that a database backend fills in. */
#ifndef STORE_STORE_PRIV_H
#define STORE_STORE_PRIV_H

#include "common/buffer.h"
#include "common/clock.h"
#include "common/error.h"
#include "common/mailbox.h"
#include "common/memory.h"
#include "common/merkle.h"
#include "store/audit.h"
#include "store/store.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Bounds ---- */

#define STORE_WRITES_MAX      8192        /* writes that wait for the writer */
#define STORE_WRITE_BYTES_MAX (64U << 20) /* their bytes, those being committed included */
#define STORE_GROUP_MAX       1000        /* writes in one transaction */
#define STORE_READS_MAX       1024        /* reads that wait for the reader */
#define STORE_PROBE_MS        500         /* how often an unhealthy store tries again */
#define STORE_PRUNE_MAX       100         /* expired keys that one group forgets */
#define STORE_PRUNE_MS        60000       /* how often to look for them when there were none */

/* ---- Arena (arena.c): memory that is freed all at once ---- */

struct arena {
    struct arena_block *blocks; /* the newest first */
    size_t bytes;               /* handed out */
};

/* Zeroed memory, aligned for any struct of this folder. */
void *arena_alloc(struct arena *arena, size_t size);

/* A copy with a NUL after it; NULL gives NULL. */
char *arena_copy(struct arena *arena, const void *data, size_t len);
char *arena_text(struct arena *arena, const char *text);

void arena_done(struct arena *arena);

/* ---- Writes (write.c) ---- */

enum store_op_kind {
    STORE_ADD_ACTION,
    STORE_SET_STATE,
    STORE_SET_PROGRESS,
    STORE_FINISH_ACTION,
    STORE_ADD_IDEMPOTENCY,
    STORE_DROP_EXPIRED,
    STORE_ADD_GRANT,
    STORE_ANSWER_GRANT,
    STORE_DROP_GRANT,
    STORE_ADD_RECORD,
    STORE_ADD_CHECKPOINT,
    STORE_ADD_SEGMENT,
    STORE_SET_STREAM,
    STORE_PRUNE,
};

struct store_op {
    struct store_op *next;
    enum store_op_kind kind;
    union {
        /* What changes an action or a grant uses the key and the fields that change. */
        struct store_action action;           /* ADD_, FINISH_ACTION, SET_STATE, SET_PROGRESS */
        struct store_idempotency idempotency; /* ADD_IDEMPOTENCY, DROP_EXPIRED (only now_ms) */
        struct store_grant grant;             /* ADD_GRANT, ANSWER_GRANT, DROP_GRANT */
        struct {
            char *tail; /* owned */
            size_t len;
        } record;
        struct {
            store_sign_cb sign;
            void *arg;
        } checkpoint;
        const struct segment *segment; /* borrowed until the write is answered */
        struct {
            const char *name;
            const char *node;
            int64_t seq;
        } stream;
        struct {
            int64_t size;
            const char *note;
        } prune;
    };
};

struct store_write {
    struct mail mail; /* takes it to the writer, and its result back */
    struct store_op *first;
    struct store_op **last;
    size_t count;
    size_t bytes;
    struct arena arena;
    struct mailbox *reply_to;
    store_write_cb on_done;
    void *arg;
    enum err result;
};

/* Forgets up to STORE_PRUNE_MAX keys that have expired at now_ms. ERR_NOT_FOUND: there were none.
 * It is the store's own: nobody else may add it. */
void store_write_drop_expired(struct store_write *write, int64_t now_ms);

/* ---- Records (record.c) ---- */

/* Everything that changes with a record, and nothing else: a transaction that is rolled back puts
 * a copy of it back. */
struct record_state {
    int64_t next_seq;
    struct merkle_frontier tree;
};

#define LOG_HASHES_MAX (MERKLE_LEVELS / STORE_TREE_STEP) /* interior nodes of one record */

struct record_log {
    char *start; /* {"v":1,"node":"…","seq": */
    struct record_state state;
    struct buffer bytes; /* the newest record */
    uint8_t leaf[STORE_HASH_BYTES];
    size_t hash_count; /* interior nodes that it made complete, of the levels that are stored */
    struct {
        unsigned level;
        uint64_t number;
        uint8_t hash[STORE_HASH_BYTES];
    } hashes[LOG_HASHES_MAX];
    int64_t time_ms; /* of time_text */
    char time_text[CLOCK_TEXT_SIZE];
};

void record_log_init(struct record_log *log, const char *node);
void record_log_done(struct record_log *log);

/* Gives the next record its seq, its time, its bytes and its place in the tree: in log->bytes, leaf
 * and hashes until the next call. */
int64_t record_append(struct record_log *log, const char *tail, size_t len);

/* ---- The index (segment.c): where a key stands in STORE_SEGMENT_RECORDS records ---- */

/* A key is a kind and a text. Kinds with many different texts are spread over buckets by their
 * hash, the others have one bucket each. A bucket is a table: the number of keys (u32), for each
 * in ascending order its hash (u64) and where its records begin in the list after the table (u32),
 * then the list: places in the segment (u16), ascending for each key. All big-endian. Hashes can
 * collide: what is found has to be looked at. */
enum key_kind {
    KEY_DEVICE,
    KEY_ACTION_ID,
    KEY_CALL_ID,
    KEY_TEAM,
    KEY_CLIENT,
    KEY_ACTION,
    KEY_EVENT,
    KEY_KINDS,
};

#define SEGMENT_SPREAD  64
#define SEGMENT_BUCKETS (SEGMENT_SPREAD + KEY_KINDS - KEY_TEAM)

struct segment {
    int64_t number;
    int64_t first_ms; /* the least and the greatest time in it */
    int64_t last_ms;
    struct {
        uint8_t *data; /* NULL: empty */
        size_t len;
    } buckets[SEGMENT_BUCKETS];
};

struct segment_builder;

/* Feeds all records of a segment, in order, then gives the segment. Records that cannot be read
 * have no keys. */
struct segment_builder *segment_builder_new(int64_t number);
void segment_builder_add(struct segment_builder *builder, const struct store_record *stored);
struct segment *segment_builder_end(struct segment_builder *builder_take);
void segment_free(struct segment *segment);

size_t segment_bucket(enum key_kind kind, const char *text);

/* Marks (adds 1) in counts, of STORE_SEGMENT_RECORDS, the places of a key in its bucket, none
 * twice, and returns how many they are. A bucket that makes no sense has no keys, and a list goes
 * no further than it makes sense. */
size_t segment_mark(const uint8_t *data, size_t len, enum key_kind kind, const char *text,
                    uint8_t *counts);

/* ---- Backends ---- */

/* A key of a query, and whether a record has it. The text is canonical for its kind. */
struct query_key {
    enum key_kind kind;
    char *text;
};

/* One connection; used by one thread at a time. */
struct store_db;

/* What a listing found; the array and its strings are in an arena. */
struct store_page {
    struct store_action *actions;
    size_t count;
    int64_t next;
};

/* Reading the audit log: of one node where node is given. */
struct log_reader {
    /* The node after that one (NULL: the first) in the order of bytes, in the arena;
     * ERR_NOT_FOUND: none. */
    enum err (*next_node)(struct store_db *db, const char *after, struct arena *arena,
                          const char **ret_node, struct error *error) MUST_CHECK;
    /* At most max of the records from <= seq < to (INT64_MAX: without end), by seq, or the last
     * of them first. each must not use db. *ret_count: how many. */
    enum err (*records)(struct store_db *db, const char *node, int64_t from, int64_t to, bool back,
                        int64_t max, bool (*each)(const struct store_record *record, void *arg),
                        void *arg, int64_t *ret_count, struct error *error) MUST_CHECK;
    /* The leaves from <= seq < to, by seq; ERR_NOT_FOUND unless all are there. */
    enum err (*leaves)(struct store_db *db, const char *node, int64_t from, int64_t to,
                       void (*each)(const uint8_t hash[STORE_HASH_BYTES], void *arg), void *arg,
                       struct error *error) MUST_CHECK;
    enum err (*end)(struct store_db *db, const char *node, int64_t *ret_end,
                    struct error *error) MUST_CHECK;
    /* At most max interior nodes from that one on, by level and number. */
    enum err (*hashes)(struct store_db *db, const char *node, int64_t level, int64_t number,
                       int64_t max,
                       bool (*each)(int64_t level, int64_t number, const uint8_t *hash, size_t len,
                                    void *arg),
                       void *arg, struct error *error) MUST_CHECK;
    /* At most max checkpoints over more than `after` records, by size. */
    enum err (*checkpoints)(struct store_db *db, const char *node, int64_t after, int64_t max,
                            bool (*each)(int64_t size, const char *note, size_t len, void *arg),
                            void *arg, struct error *error) MUST_CHECK;
    /* ERR_NOT_FOUND: there is none. */
    enum err (*last_checkpoint)(struct store_db *db, const char *node, struct arena *arena,
                                int64_t *ret_size, const char **ret_note,
                                struct error *error) MUST_CHECK;
    enum err (*pruned)(struct store_db *db, const char *node, struct arena *arena,
                       int64_t *ret_size, const char **ret_note, struct error *error) MUST_CHECK;
    enum err (*stream)(struct store_db *db, const char *name, const char *node, int64_t *ret_seq,
                       struct error *error) MUST_CHECK;
    enum err (*segment)(struct store_db *db, const char *node, int64_t segment,
                        int64_t *ret_first_ms, int64_t *ret_last_ms,
                        struct error *error) MUST_CHECK;
    /* A bucket, in the arena; len 0: it is empty. */
    enum err (*keys)(struct store_db *db, const char *node, int64_t segment, size_t bucket,
                     struct arena *arena, const uint8_t **ret_data, size_t *ret_len,
                     struct error *error) MUST_CHECK;
    enum err (*last_segment)(struct store_db *db, const char *node, int64_t *ret_segment,
                             struct error *error) MUST_CHECK; /* -1: none */
};

struct store_backend {
    const char *scheme; /* a url is "SCHEME:…" */

    /* Opens a connection. With a node: the one that writes: it creates and migrates the tables,
     * makes sure that no other process writes that node's log, and has committed once before it
     * returns. node NULL: one that only reads, which needs a store that is there. */
    enum err (*open)(const char *url, const char *node, struct store_db **ret_db,
                     struct error *error);
    void (*close)(struct store_db *db);

    /* Commits a group in one transaction. OK: it is durable, and each write's result is OK, or
     * its own error and nothing of it is stored. Else: nothing of the group is stored, and error
     * says why. Each write's result is set either way. count 0 commits next to nothing, to see
     * whether it works. */
    enum err (*commit)(struct store_db *db, struct store_write *const *writes, size_t count,
                       struct error *error) MUST_CHECK;

    /* How many records its node has, after a commit that went well. */
    int64_t (*log_size)(const struct store_db *db);

    /* As the functions of store.h. The action's strings are in the arena. */
    enum err (*read_action)(struct store_db *db, const char *id, struct arena *arena,
                            struct store_action *ret_action, struct error *error) MUST_CHECK;
    /* idempotency has team, key and now_ms; the rest is set. */
    enum err (*read_idempotency)(struct store_db *db, struct store_idempotency *idempotency,
                                 struct arena *arena, struct store_action *ret_action,
                                 struct error *error) MUST_CHECK;
    enum err (*list_actions)(struct store_db *db, const struct store_action_query *query,
                             struct arena *arena, struct store_page *ret_page,
                             struct error *error) MUST_CHECK;
    enum err (*load_accounts)(struct store_db *db, bool (*each)(const char *account, void *arg),
                              void *arg, struct error *error) MUST_CHECK;
    enum err (*load_open_actions)(struct store_db *db, const char *account,
                                  bool (*each)(const struct store_action *action, void *arg),
                                  void *arg, struct error *error) MUST_CHECK;
    enum err (*load_grants)(struct store_db *db, const char *account,
                            bool (*each)(const struct store_grant *grant, void *arg), void *arg,
                            struct error *error) MUST_CHECK;
    const struct log_reader *log;
};

extern const struct store_backend store_backend_sqlite;

/* ---- The tree (tree.c) ---- */

/* A node's log in a store, for merkle_get_cb: arg is this. */
struct tree {
    const struct log_reader *log;
    struct store_db *db;
    const char *node;
    struct error *error; /* may be NULL */
};

enum err tree_get(unsigned level, uint64_t index, uint8_t ret_hash[MERKLE_HASH_BYTES],
                  void *arg) MUST_CHECK;

/* ---- Finding records (find.c) ---- */

/* A query with its keys; ERR_INVALID: its limit or cursor is none. */
struct finder;
enum err finder_new(const struct store_record_query *query, struct finder **ret_finder) MUST_CHECK;
void finder_free(struct finder *finder);

/* One page. each is called in a transaction of db: it must not use it, and be quick. */
enum err finder_run(struct finder *finder, const struct log_reader *log, struct store_db *db,
                    void (*each)(const struct store_record *record, void *arg), void *arg,
                    char ret_next[STORE_CURSOR_SIZE], struct error *error) MUST_CHECK;

/* ---- The indexer (indexer.c): a thread that makes the index of full segments ---- */

struct indexer;

/* Makes the indexer and starts its thread. The connection is given away. */
enum err indexer_start(struct store *store, const struct store_backend *backend,
                       struct store_db *db_take, const char *node, struct indexer **ret_indexer,
                       struct error *error) MUST_CHECK;

/* Ends its thread, before the writer is stopped; frees it, after. Both take NULL. */
void indexer_stop(struct indexer *indexer);
void indexer_free(struct indexer *indexer);

/* store.c: a thread that leaves signals to the main thread. */
enum err store_start_thread(pthread_t *ret_thread, void *(*run)(void *arg), void *arg,
                            struct error *error) MUST_CHECK;

/* store.c. NULL: the url is of none of them. */
const struct store_backend *store_find_backend(const char *url, struct error *error);

void store_write_add_segment(struct store_write *write, const struct segment *segment);

/* ---- Reads (read.c) ---- */

struct read_kind;

/* The head of every read: what is asked and found follows in the struct it is the first member of.
 */
struct store_read {
    struct mail mail; /* takes it to the reader, and what was found back */
    const struct read_kind *kind;
    struct arena arena; /* of what is asked and of what is found */
    struct mailbox *reply_to;
    void *arg;
    enum err result;
};

struct read_kind {
    size_t size;
    enum err (*find)(struct store_read *read, const struct store_backend *backend,
                     struct store_db *db);
    void (*answer)(const struct store_read *read);
};

struct store_read *store_read_new(const struct read_kind *kind, struct mailbox *reply_to,
                                  void *arg);
enum err store_read_post(struct store *store, struct store_read *read) MUST_CHECK;

/* Does a read that was posted, and answers it. On the reader's thread. */
void store_read_run(struct mail *mail, const struct store_backend *backend, struct store_db *db);

/* Posts a read to the reader (store.c). ERR_FULL: the caller still owns it. Any thread. */
enum err store_post_read(struct store *store, struct mail *mail) MUST_CHECK;

#endif
