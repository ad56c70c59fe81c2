/* What the files of the SQLite backend share: the connection, its statements, its errors. */
#ifndef STORE_SQLITE_PRIV_H
#define STORE_SQLITE_PRIV_H

#include "store/store_priv.h"

#include <sqlite3.h>
#include <sys/types.h>

enum sqlite_sql {
    /* Of the connection that writes. */
    SQL_BEGIN,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_SAVEPOINT,
    SQL_SAVEPOINT_RELEASE,
    SQL_SAVEPOINT_UNDO,
    SQL_SET_MARK,
    SQL_ADD_ACTION,
    SQL_SET_STATE,
    SQL_SET_PROGRESS,
    SQL_FINISH_ACTION,
    SQL_ADD_IDEMPOTENCY,
    SQL_DROP_EXPIRED,
    SQL_ADD_GRANT,
    SQL_ANSWER_GRANT,
    SQL_DROP_GRANT,
    SQL_ADD_RECORD,
    SQL_ADD_HASH,
    SQL_ADD_CHECKPOINT,
    SQL_ADD_SEGMENT,
    SQL_ADD_KEYS,
    SQL_SET_STREAM,
    SQL_SET_PRUNED,
    SQL_PRUNE_RECORDS,
    SQL_PRUNE_KEYS,
    SQL_PRUNE_SEGMENTS,
    SQL_READ_SIZES,
    SQL_GET_MARK,
    SQL_LAST_SEQ,
    SQL_WRITER_COUNT,

    /* Of those that read, and of the one that writes too. */
    SQL_READ_ACTION = SQL_WRITER_COUNT,
    SQL_READ_IDEMPOTENCY,
    SQL_LIST_ACTIONS,
    SQL_LIST_ACTIONS_OF_TEAM,
    SQL_LIST_ACTIONS_IN_STATE,
    SQL_LIST_ACTIONS_OF_TEAM_IN_STATE,
    SQL_LOAD_ACCOUNTS,
    SQL_LOAD_OPEN_ACTIONS,
    SQL_LOAD_GRANTS,
    SQL_FIRST_NODE,
    SQL_NEXT_NODE,
    SQL_READ_RECORDS,
    SQL_READ_RECORDS_BACK,
    SQL_READ_LEAVES,
    SQL_READ_END,
    SQL_READ_HASHES,
    SQL_READ_CHECKPOINTS,
    SQL_LAST_CHECKPOINT,
    SQL_READ_PRUNED,
    SQL_READ_STREAM,
    SQL_READ_SEGMENT,
    SQL_READ_KEYS,
    SQL_LAST_SEGMENT,
    SQL_COUNT,
};

/* Columns of every statement that reads actions, and what some of them read after those. */
enum {
    ACTION_ID,
    ACTION_ACCOUNT,
    ACTION_TEAM,
    ACTION_CLIENT,
    ACTION_KEY_ID,
    ACTION_REQUEST_ID,
    ACTION_STATE,
    ACTION_SUBMITTED,
    ACTION_FINISHED,
    ACTION_PRIORITY,
    ACTION_DEADLINE,
    ACTION_REASON,
    ACTION_RULE,
    ACTION_REQUEST,
    ACTION_RESULTS,
    ACTION_PROBLEM,
    ACTION_CALL_ID,
    ACTION_PROGRESS,
    ACTION_COLUMN_COUNT,

    LIST_NUMBER = ACTION_COLUMN_COUNT,

    IDEMPOTENCY_BODY = ACTION_COLUMN_COUNT,
    IDEMPOTENCY_EXPIRES,
};

extern const char *const sqlite_sql[SQL_COUNT];
extern const char *const sqlite_migrations[];
extern const int sqlite_migration_count;

#define SQLITE_FILES 3

struct store_db {
    sqlite3 *sqlite;
    char *path; /* absolute, no symbolic links */
    sqlite3_stmt *statements[SQL_COUNT];

    /* The rest is only in the connection that writes. */
    char *node;
    int lock_fd; /* -1: none */
    struct {
        dev_t device;
        ino_t inode;
    } files[SQLITE_FILES]; /* the database, its log and its index, as opened */
    struct record_log log;
    int64_t mark; /* of the last commit */
    bool stale;   /* log.state and mark must be read again before they are used */
};

/* Sets the error from the connection's last failure. */
enum err sqlite_fail(struct store_db *db, const char *what, struct error *error);

/* Bind a parameter. The text (NULL: SQL NULL) stays where it is until the statement was reset. */
void sqlite_bind_text(sqlite3_stmt *statement, int i, const char *text);
void sqlite_bind_int(sqlite3_stmt *statement, int i, int64_t value);

/* sqlite_write.c */
enum err sqlite_commit(struct store_db *db, struct store_write *const *writes, size_t count,
                       struct error *error) MUST_CHECK;

/* sqlite_read.c */
enum err sqlite_read_action(struct store_db *db, const char *id, struct arena *arena,
                            struct store_action *ret_action, struct error *error) MUST_CHECK;
enum err sqlite_read_idempotency(struct store_db *db, struct store_idempotency *idempotency,
                                 struct arena *arena, struct store_action *ret_action,
                                 struct error *error) MUST_CHECK;
enum err sqlite_list_actions(struct store_db *db, const struct store_action_query *query,
                             struct arena *arena, struct store_page *ret_page,
                             struct error *error) MUST_CHECK;
enum err sqlite_load_accounts(struct store_db *db, bool (*each)(const char *account, void *arg),
                              void *arg, struct error *error) MUST_CHECK;
enum err sqlite_load_open_actions(struct store_db *db, const char *account,
                                  bool (*each)(const struct store_action *action, void *arg),
                                  void *arg, struct error *error) MUST_CHECK;
enum err sqlite_load_grants(struct store_db *db, const char *account,
                            bool (*each)(const struct store_grant *grant, void *arg), void *arg,
                            struct error *error) MUST_CHECK;
/* sqlite_log.c: applies an operation on the audit log; *ret_own as for others. */
enum err sqlite_apply_log(struct store_db *db, const struct store_op *op, bool *ret_own,
                          struct error *error) MUST_CHECK;

/* Brings the writer's frontier up to next_seq, and stores interior nodes that are missing. */
enum err sqlite_restore_tree(struct store_db *db, int64_t next_seq, struct error *error) MUST_CHECK;

/* Steps a statement that returns nothing, and resets it. */
enum err sqlite_run(struct store_db *db, enum sqlite_sql sql, const char *what,
                    struct error *error);

void sqlite_bind_blob(sqlite3_stmt *statement, int i, const void *data, size_t len);

/* sqlite_audit.c: what struct log_reader of store_priv.h has. */
extern const struct log_reader sqlite_log_reader;

/* Whether the three files are still those that were opened: SQLite would go on writing into a
 * deleted file and say that all is well. */
bool sqlite_in_place(const struct store_db *db);

#endif
