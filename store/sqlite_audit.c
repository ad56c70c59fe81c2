/* SQLite: reading the audit log. Each statement is a transaction of its own. See struct log_reader
 * of store_priv.h. */
#include "store/sqlite_priv.h"

#include <stdlib.h>
#include <string.h>

/* A name that somebody put into the tables may have a NUL, which is shown as SUB and 0, and SUB as
 * two: so that it can be told, and asked for. */
#define SUB '\032'

static char *escape_name(struct arena *arena, const char *name, size_t len)
{
    char *shown = arena_alloc(arena, 2 * len + 1);
    size_t at = 0;

    for (size_t i = 0; i < len; i++) {
        if (name[i] == '\0' || name[i] == SUB) {
            shown[at++] = SUB;
        }
        if (name[i] == '\0') {
            shown[at++] = '0';
        } else {
            shown[at++] = name[i];
        }
    }
    return shown;
}

static void bind_name(sqlite3_stmt *statement, const char *shown)
{
    CLEANUP(cleanup_free) char *name = NULL;
    size_t len = 0;

    if (strchr(shown, SUB) == NULL) {
        sqlite_bind_text(statement, 1, shown);
        return;
    }
    name = xcalloc(1, strlen(shown) + 1);
    for (const char *c = shown; *c != '\0'; c++) {
        bool escape = *c == SUB && c[1] != '\0';
        c += escape ? 1 : 0;
        name[len++] = *c;
        if (escape && *c == '0') {
            name[len - 1] = '\0';
        }
    }
    (void)sqlite3_bind_text(statement, 1, name, (int)len, SQLITE_TRANSIENT);
}

static sqlite3_stmt *start(struct store_db *db, enum sqlite_sql sql, const char *node)
{
    sqlite3_stmt *statement = db->statements[sql];

    bind_name(statement, node);
    return statement;
}

/* Ends a statement that gave rows, rc being its last step's. */
static enum err end(struct store_db *db, sqlite3_stmt *statement, int rc, struct error *error)
{
    enum err err = rc == SQLITE_ROW || rc == SQLITE_DONE ? OK : sqlite_fail(db, "read it", error);

    (void)sqlite3_reset(statement);
    return err;
}

/* The same for one that gives at most one. */
static enum err end_one(struct store_db *db, sqlite3_stmt *statement, int rc, struct error *error)
{
    enum err err = end(db, statement, rc, error);

    return err == OK && rc == SQLITE_DONE ? error_set(error, ERR_NOT_FOUND, "there is none") : err;
}

/* Names are never empty, nor do they hold a NUL: those that somebody put there are seen too. */
static enum err next_node(struct store_db *db, const char *after, struct arena *arena,
                          const char **ret_node, struct error *error)
{
    sqlite3_stmt *statement =
        after != NULL ? start(db, SQL_NEXT_NODE, after) : db->statements[SQL_FIRST_NODE];
    int rc = sqlite3_step(statement);
    const char *node = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(statement, 0) : NULL;

    if (rc == SQLITE_ROW && node == NULL) {
        rc = SQLITE_DONE;
    }
    if (node != NULL) {
        *ret_node = escape_name(arena, node, (size_t)sqlite3_column_bytes(statement, 0));
    }
    return end_one(db, statement, rc, error);
}

static enum err records(struct store_db *db, const char *node, int64_t from, int64_t to, bool back,
                        int64_t max, bool (*each)(const struct store_record *record, void *arg),
                        void *arg, int64_t *ret_count, struct error *error)
{
    sqlite3_stmt *statement = start(db, back ? SQL_READ_RECORDS_BACK : SQL_READ_RECORDS, node);
    bool more = true;
    int rc = SQLITE_DONE;

    sqlite_bind_int(statement, 2, from);
    sqlite_bind_int(statement, 3, to == INT64_MAX ? to : to - 1);
    sqlite_bind_int(statement, 4, max);
    *ret_count = 0;
    while (more && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
        const void *bytes = sqlite3_column_blob(statement, 1);
        struct store_record record = {
            .node = node,
            .seq = sqlite3_column_int64(statement, 0),
            .bytes = bytes != NULL ? bytes : "",
            .len = (size_t)sqlite3_column_bytes(statement, 1),
            .leaf = sqlite3_column_blob(statement, 2),
            .leaf_len = (size_t)sqlite3_column_bytes(statement, 2),
        };
        (*ret_count)++;
        more = each(&record, arg);
    }
    return end(db, statement, rc, error);
}

static enum err leaves(struct store_db *db, const char *node, int64_t from, int64_t to,
                       void (*each)(const uint8_t hash[STORE_HASH_BYTES], void *arg), void *arg,
                       struct error *error)
{
    sqlite3_stmt *statement = start(db, SQL_READ_LEAVES, node);
    int64_t count = 0;
    enum err err;
    int rc;

    sqlite_bind_int(statement, 2, from);
    sqlite_bind_int(statement, 3, to);
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW &&
           sqlite3_column_bytes(statement, 0) == STORE_HASH_BYTES) {
        each(sqlite3_column_blob(statement, 0), arg);
        count++;
    }
    err = end(db, statement, rc, error);
    return err == OK && count != to - from
               ? error_set(error, ERR_NOT_FOUND, "not all of these records are there")
               : err;
}

static enum err read_int(struct store_db *db, sqlite3_stmt *statement, int64_t *ret_value,
                         struct error *error)
{
    int rc = sqlite3_step(statement);

    if (rc == SQLITE_ROW) {
        *ret_value = sqlite3_column_int64(statement, 0);
    }
    return end_one(db, statement, rc, error);
}

static enum err read_end(struct store_db *db, const char *node, int64_t *ret_end,
                         struct error *error)
{
    return read_int(db, start(db, SQL_READ_END, node), ret_end, error);
}

static enum err last_segment(struct store_db *db, const char *node, int64_t *ret_segment,
                             struct error *error)
{
    return read_int(db, start(db, SQL_LAST_SEGMENT, node), ret_segment, error);
}

static enum err stream(struct store_db *db, const char *name, const char *node, int64_t *ret_seq,
                       struct error *error)
{
    sqlite3_stmt *statement = start(db, SQL_READ_STREAM, name);

    sqlite_bind_text(statement, 2, node);
    return read_int(db, statement, ret_seq, error);
}

static enum err
hashes(struct store_db *db, const char *node, int64_t level, int64_t number, int64_t max,
       bool (*each)(int64_t level, int64_t number, const uint8_t *hash, size_t len, void *arg),
       void *arg, struct error *error)
{
    sqlite3_stmt *statement = start(db, SQL_READ_HASHES, node);
    bool more = true;
    int rc = SQLITE_DONE;

    sqlite_bind_int(statement, 2, level);
    sqlite_bind_int(statement, 3, number);
    sqlite_bind_int(statement, 4, max);
    while (more && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
        const void *hash = sqlite3_column_blob(statement, 2);
        more = each(sqlite3_column_int64(statement, 0), sqlite3_column_int64(statement, 1),
                    hash != NULL ? hash : (const void *)"",
                    (size_t)sqlite3_column_bytes(statement, 2), arg);
    }
    return end(db, statement, rc, error);
}

static enum err checkpoints(struct store_db *db, const char *node, int64_t after, int64_t max,
                            bool (*each)(int64_t size, const char *note, size_t len, void *arg),
                            void *arg, struct error *error)
{
    sqlite3_stmt *statement = start(db, SQL_READ_CHECKPOINTS, node);
    bool more = true;
    int rc = SQLITE_DONE;

    sqlite_bind_int(statement, 2, after);
    sqlite_bind_int(statement, 3, max);
    while (more && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *note = (const char *)sqlite3_column_text(statement, 1);
        more = each(sqlite3_column_int64(statement, 0), note != NULL ? note : "",
                    (size_t)sqlite3_column_bytes(statement, 1), arg);
    }
    return end(db, statement, rc, error);
}

static enum err size_and_note(struct store_db *db, sqlite3_stmt *statement, struct arena *arena,
                              int64_t *ret_size, const char **ret_note, struct error *error)
{
    int rc = sqlite3_step(statement);

    if (rc == SQLITE_ROW) {
        const char *note = (const char *)sqlite3_column_text(statement, 1);
        *ret_size = sqlite3_column_int64(statement, 0);
        *ret_note = arena_text(arena, note != NULL ? note : "");
    }
    return end_one(db, statement, rc, error);
}

static enum err last_checkpoint(struct store_db *db, const char *node, struct arena *arena,
                                int64_t *ret_size, const char **ret_note, struct error *error)
{
    return size_and_note(db, start(db, SQL_LAST_CHECKPOINT, node), arena, ret_size, ret_note,
                         error);
}

static enum err pruned(struct store_db *db, const char *node, struct arena *arena,
                       int64_t *ret_size, const char **ret_note, struct error *error)
{
    return size_and_note(db, start(db, SQL_READ_PRUNED, node), arena, ret_size, ret_note, error);
}

static enum err segment(struct store_db *db, const char *node, int64_t number,
                        int64_t *ret_first_ms, int64_t *ret_last_ms, struct error *error)
{
    sqlite3_stmt *statement = start(db, SQL_READ_SEGMENT, node);
    int rc;

    sqlite_bind_int(statement, 2, number);
    rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW) {
        *ret_first_ms = sqlite3_column_int64(statement, 0);
        *ret_last_ms = sqlite3_column_int64(statement, 1);
    }
    return end_one(db, statement, rc, error);
}

static enum err keys(struct store_db *db, const char *node, int64_t number, size_t bucket,
                     struct arena *arena, const uint8_t **ret_data, size_t *ret_len,
                     struct error *error)
{
    sqlite3_stmt *statement = start(db, SQL_READ_KEYS, node);
    int rc;

    sqlite_bind_int(statement, 2, number);
    sqlite_bind_int(statement, 3, (int64_t)bucket);
    rc = sqlite3_step(statement);
    *ret_len = 0;
    if (rc == SQLITE_ROW) {
        size_t len = (size_t)sqlite3_column_bytes(statement, 0);
        *ret_data = (uint8_t *)arena_copy(arena, sqlite3_column_blob(statement, 0), len);
        *ret_len = *ret_data != NULL ? len : 0;
    }
    return end(db, statement, rc, error);
}

const struct log_reader sqlite_log_reader = {
    .next_node = next_node,
    .records = records,
    .leaves = leaves,
    .end = read_end,
    .hashes = hashes,
    .checkpoints = checkpoints,
    .last_checkpoint = last_checkpoint,
    .pruned = pruned,
    .stream = stream,
    .segment = segment,
    .keys = keys,
    .last_segment = last_segment,
};
