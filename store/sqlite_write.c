/* SQLite: committing groups, on the writer's thread.
 *
 * Each write is all or nothing: one with several parts runs inside a savepoint, as does a prune;
 * one with another single part is a single statement, which undoes itself, or fails with its group.
 * A write that breaks a constraint fails alone; any other failure is the database's, and the group
 * fails.
 *
 * When COMMIT itself fails, has the group landed? In WAL mode a commit is: append the frames to
 * the log, sync it, then publish it in the index (shared memory). Nothing can fail after
 * the publishing, and what was not published nobody reads: so it has not landed. Two things
 * remain:
 * 1. We do not trust this blindly. Every group sets a mark (its number); after a failure the mark
 *    is read back, and if it is there, the group is treated as what it is: committed.
 * 2. A ghost: if all frames were written and only the sync failed, the log holds a valid commit
 *    that is not published. Should the process be killed now, the next to open the log would
 *    recover it: a write that was refused would come back. So before the refusal is answered,
 *    one more transaction, of a mark alone, is tried. It begins at the same place of the log,
 *    and checksums run on from frame to frame: writing its first frame, even without a sync,
 *    ends the ghost for all who recover after a crash of the process. What remains is a disk
 *    that refuses this write too, or a power cut before the next good sync: then a refused write
 *    may come back after the restart.
 * After any failure the mark and the last seq are read again, inside the next transaction. */
#include "store/sqlite_priv.h"

#include <assert.h>
#include <string.h>

enum err sqlite_run(struct store_db *db, enum sqlite_sql sql, const char *what, struct error *error)
{
    int rc = sqlite3_step(db->statements[sql]);
    enum err err = rc == SQLITE_DONE ? OK : sqlite_fail(db, what, error);

    (void)sqlite3_reset(db->statements[sql]);
    return err;
}

/* ---- One transaction ---- */

static enum err read_number(struct store_db *db, enum sqlite_sql sql, int64_t *ret_number,
                            struct error *error)
{
    sqlite3_stmt *statement = db->statements[sql];
    enum err err = OK;

    sqlite_bind_text(statement, 1, db->node);
    if (sqlite3_step(statement) == SQLITE_ROW) {
        *ret_number = sqlite3_column_int64(statement, 0);
    } else {
        err = sqlite_fail(db, "read it", error);
    }
    (void)sqlite3_reset(statement);
    return err;
}

/* A log whose records were all pruned goes on after them. */
static enum err read_size(struct store_db *db, int64_t *last_seq, struct error *error)
{
    struct arena arena = {0};
    int64_t size = 0;
    const char *note;
    enum err err = sqlite_log_reader.pruned(db, db->node, &arena, &size, &note, error);

    arena_done(&arena);
    *last_seq = err == OK && size - 1 > *last_seq ? size - 1 : *last_seq;
    return err == ERR_NOT_FOUND ? OK : err;
}

static enum err reload(struct store_db *db, struct error *error)
{
    int64_t last_seq = -1;
    int64_t mark = 0;
    enum err err = read_number(db, SQL_LAST_SEQ, &last_seq, error);

    if (err == OK) {
        err = read_number(db, SQL_GET_MARK, &mark, error);
    }
    if (err == OK) {
        err = read_size(db, &last_seq, error);
    }
    if (err == OK && last_seq == INT64_MAX) {
        err =
            error_set(error, ERR_IO, "%s: its audit log has a record where none can be", db->path);
    }
    if (err == OK) {
        err = sqlite_restore_tree(db, last_seq + 1, error);
    }
    if (err == OK) {
        db->log.state.next_seq = last_seq + 1;
        db->mark = mark;
        db->stale = false;
    }
    return err;
}

static void rollback(struct store_db *db)
{
    /* Some failures have rolled back by themselves. */
    if (!sqlite3_get_autocommit(db->sqlite)) {
        (void)sqlite_run(db, SQL_ROLLBACK, "roll back", NULL);
    }
    db->stale = true;
}

/* Begins, and sets the group's mark. */
static enum err begin(struct store_db *db, struct error *error)
{
    enum err err;

    if (!sqlite_in_place(db)) {
        return error_set(error, ERR_IO,
                         "%s was deleted, moved or replaced: put it back, or restart the gateway",
                         db->path);
    }
    err = sqlite_run(db, SQL_BEGIN, "begin to write", error);
    if (err == OK && db->stale) {
        err = reload(db, error);
    }
    if (err == OK) {
        sqlite_bind_text(db->statements[SQL_SET_MARK], 1, db->node);
        sqlite_bind_int(db->statements[SQL_SET_MARK], 2, db->mark + 1);
        err = sqlite_run(db, SQL_SET_MARK, "write", error);
    }
    return err;
}

/* See the top of this file. */
static enum err commit(struct store_db *db, struct error *error)
{
    int64_t mark = 0;
    enum err err = sqlite_run(db, SQL_COMMIT, "commit", error);

    if (err == OK) {
        db->mark++;
        return OK;
    }
    if (!sqlite3_get_autocommit(db->sqlite)) {
        (void)sqlite_run(db, SQL_ROLLBACK, "roll back", NULL);
    }
    if (read_number(db, SQL_GET_MARK, &mark, NULL) == OK && mark == db->mark + 1) {
        db->mark++;
        return OK;
    }
    if (begin(db, NULL) == OK) {
        (void)sqlite_run(db, SQL_COMMIT, "commit", NULL);
    }
    return err;
}

/* ---- One write ---- */

static void bind_action(sqlite3_stmt *statement, const struct store_action *action)
{
    sqlite_bind_text(statement, 1, action->id);
    sqlite_bind_text(statement, 2, action->account);
    sqlite_bind_text(statement, 3, action->team);
    sqlite_bind_text(statement, 4, action->client);
    sqlite_bind_text(statement, 5, action->key_id);
    sqlite_bind_text(statement, 6, action->request_id);
    sqlite_bind_text(statement, 7, action->state);
    sqlite_bind_int(statement, 8, action->submitted_ms);
    sqlite_bind_int(statement, 9, action->finished_ms);
    sqlite_bind_int(statement, 10, action->priority);
    sqlite_bind_int(statement, 11, action->deadline_ms);
    sqlite_bind_text(statement, 12, action->reason);
    sqlite_bind_text(statement, 13, action->rule);
    sqlite_bind_text(statement, 14, action->request);
    sqlite_bind_text(statement, 15, action->results);
    sqlite_bind_text(statement, 16, action->problem);
    sqlite_bind_text(statement, 17, action->call_id);
    sqlite_bind_text(statement, 18, action->progress);
}

static enum sqlite_sql bind_action_change(struct store_db *db, const struct store_op *op)
{
    enum sqlite_sql sql = op->kind == STORE_SET_STATE      ? SQL_SET_STATE
                          : op->kind == STORE_SET_PROGRESS ? SQL_SET_PROGRESS
                                                           : SQL_FINISH_ACTION;
    sqlite3_stmt *statement = db->statements[sql];

    sqlite_bind_text(statement, 1, op->action.id);
    sqlite_bind_text(statement, 2, op->action.state);
    if (sql == SQL_SET_STATE) {
        sqlite_bind_text(statement, 3, op->action.call_id);
    } else if (sql == SQL_SET_PROGRESS) {
        sqlite_bind_text(statement, 3, op->action.progress);
    } else {
        sqlite_bind_int(statement, 3, op->action.finished_ms);
        sqlite_bind_text(statement, 4, op->action.results);
        sqlite_bind_text(statement, 5, op->action.problem);
    }
    return sql;
}

static void bind_idempotency(sqlite3_stmt *statement, const struct store_idempotency *idempotency)
{
    sqlite_bind_text(statement, 1, idempotency->team);
    sqlite_bind_text(statement, 2, idempotency->key);
    sqlite_bind_text(statement, 3, idempotency->body_sha256);
    sqlite_bind_text(statement, 4, idempotency->action_id);
    sqlite_bind_int(statement, 5, idempotency->expires_ms);
    sqlite_bind_int(statement, 6, idempotency->now_ms);
}

static void bind_grant(sqlite3_stmt *statement, const struct store_grant *grant)
{
    sqlite_bind_text(statement, 1, grant->call_id);
    sqlite_bind_text(statement, 2, grant->account);
    sqlite_bind_text(statement, 3, grant->boot_id);
    sqlite_bind_int(statement, 4, grant->taken_boot_ms);
    sqlite_bind_int(statement, 5, grant->taken_wall_ms);
    sqlite_bind_int(statement, 6, grant->answered_boot_ms);
    sqlite_bind_int(statement, 7, grant->answered_wall_ms);
    sqlite_bind_text(statement, 8, grant->detail);
}

static enum sqlite_sql bind_grant_change(struct store_db *db, const struct store_op *op)
{
    enum sqlite_sql sql = op->kind == STORE_ANSWER_GRANT ? SQL_ANSWER_GRANT : SQL_DROP_GRANT;
    sqlite3_stmt *statement = db->statements[sql];

    sqlite_bind_text(statement, 1, op->grant.call_id);
    if (sql == SQL_ANSWER_GRANT) {
        sqlite_bind_int(statement, 2, op->grant.answered_boot_ms);
        sqlite_bind_int(statement, 3, op->grant.answered_wall_ms);
    }
    return sql;
}

static enum sqlite_sql bind_op(struct store_db *db, const struct store_op *op)
{
    switch (op->kind) {
    case STORE_ADD_ACTION:
        bind_action(db->statements[SQL_ADD_ACTION], &op->action);
        return SQL_ADD_ACTION;
    case STORE_ADD_IDEMPOTENCY:
        bind_idempotency(db->statements[SQL_ADD_IDEMPOTENCY], &op->idempotency);
        return SQL_ADD_IDEMPOTENCY;
    case STORE_DROP_EXPIRED:
        sqlite_bind_int(db->statements[SQL_DROP_EXPIRED], 1, op->idempotency.now_ms);
        sqlite_bind_int(db->statements[SQL_DROP_EXPIRED], 2, STORE_PRUNE_MAX);
        return SQL_DROP_EXPIRED;
    case STORE_ADD_GRANT:
        bind_grant(db->statements[SQL_ADD_GRANT], &op->grant);
        return SQL_ADD_GRANT;
    case STORE_SET_STATE:
    case STORE_SET_PROGRESS:
    case STORE_FINISH_ACTION:
        return bind_action_change(db, op);
    case STORE_ANSWER_GRANT:
        return bind_grant_change(db, op);
    default:
        assert(op->kind == STORE_DROP_GRANT);
        return bind_grant_change(db, op);
    }
}

/* Sets *ret_own when the failure is the write's own; any other is the group's. */
static enum err apply_op(struct store_db *db, const struct store_op *op, bool *ret_own,
                         struct error *error)
{
    enum err err;
    int code;

    if (op->kind >= STORE_ADD_RECORD) {
        /* Cannot break a constraint, unless somebody else wrote to the log. */
        return sqlite_apply_log(db, op, ret_own, error);
    }
    err = sqlite_run(db, bind_op(db, op), "write", error);
    code = sqlite3_extended_errcode(db->sqlite);
    if (err == OK && sqlite3_changes(db->sqlite) == 0) {
        *ret_own = true;
        return op->kind == STORE_ADD_IDEMPOTENCY ? ERR_EXISTS : ERR_NOT_FOUND;
    }
    if (err == OK || (code & 0xff) != SQLITE_CONSTRAINT) {
        return err;
    }
    *ret_own = true;
    return code == SQLITE_CONSTRAINT_UNIQUE ? ERR_EXISTS : ERR_INVALID;
}

/* OK: write->result says how the write went. */
static enum err apply_write(struct store_db *db, struct store_write *write, struct error *error)
{
    struct record_state before = db->log.state;
    bool savepoint = write->count > 1 || (write->count == 1 && write->first->kind == STORE_PRUNE);
    bool own = false;
    enum err err = savepoint ? sqlite_run(db, SQL_SAVEPOINT, "write", error) : OK;

    for (const struct store_op *op = write->first; op != NULL && err == OK; op = op->next) {
        err = apply_op(db, op, &own, error);
    }
    if (err != OK && !own) {
        return err;
    }
    write->result = err;
    if (err != OK) {
        db->log.state = before;
    }
    if (!savepoint) {
        return OK;
    }
    err = write->result != OK ? sqlite_run(db, SQL_SAVEPOINT_UNDO, "undo a write", error) : OK;
    return err == OK ? sqlite_run(db, SQL_SAVEPOINT_RELEASE, "write", error) : err;
}

enum err sqlite_commit(struct store_db *db, struct store_write *const *writes, size_t count,
                       struct error *error)
{
    enum err err = begin(db, error);

    for (size_t i = 0; i < count && err == OK; i++) {
        err = apply_write(db, writes[i], error);
    }
    if (err == OK) {
        err = commit(db, error);
    }
    if (err != OK) {
        rollback(db);
        for (size_t i = 0; i < count; i++) {
            writes[i]->result = err;
        }
    }
    return err;
}
