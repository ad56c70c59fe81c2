/* What the files of store/ share: how a write looks inside, how audit records get their bytes,
 * and the table of functions that a database backend fills in. */
#ifndef STORE_STORE_PRIV_H
#define STORE_STORE_PRIV_H

#include "common/buffer.h"
#include "common/clock.h"
#include "common/error.h"
#include "common/mailbox.h"
#include "common/memory.h"
#include "store/store.h"

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
};

struct record_log {
    char *start; /* {"v":1,"node":"…","seq": */
    struct record_state state;
    struct buffer bytes; /* the newest record */
    int64_t time_ms;     /* of time_text */
    char time_text[CLOCK_TEXT_SIZE];
};

void record_log_init(struct record_log *log, const char *node);
void record_log_done(struct record_log *log);

/* Gives the next record its seq, its time and its bytes, which are in log->bytes until the next
 * call. */
int64_t record_append(struct record_log *log, const char *tail, size_t len);

/* ---- Backends ---- */

/* One connection; used by one thread at a time. */
struct store_db;

/* What a listing found; the array and its strings are in an arena. */
struct store_page {
    struct store_action *actions;
    size_t count;
    int64_t next;
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
    enum err (*each_record)(struct store_db *db,
                            bool (*each)(const char *node, int64_t seq, const char *record,
                                         size_t len, void *arg),
                            void *arg, struct error *error) MUST_CHECK;
};

extern const struct store_backend store_backend_sqlite;

/* ---- Reads (read.c) ---- */

/* Does a read that was posted, and answers it. On the reader's thread. */
void store_read_run(struct mail *mail, const struct store_backend *backend, struct store_db *db);

/* Posts a read to the reader (store.c). ERR_FULL: the caller still owns it. Any thread. */
enum err store_post_read(struct store *store, struct mail *mail) MUST_CHECK;

#endif
