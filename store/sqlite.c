/* SQLite: opening and closing a connection, migrations, and the lock that keeps a second gateway
 * out. Runs on the thread that opens the store. */
#include "store/sqlite_priv.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUSY_TIMEOUT_MS 1000
#define CONNECTION_SQL  "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF"
/* WAL with FULL: a commit is on the disk when it returns. The log is cut back to 64 MiB after
 * something made it grow. */
#define WRITER_SQL                                                                                 \
    "PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 67108864;"                             \
    " PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY"

static enum err open_db(const char *url, const char *node, struct store_db **ret_db,
                        struct error *error);
static void close_db(struct store_db *db);
static int64_t log_size(const struct store_db *db);

const struct store_backend store_backend_sqlite = {
    .scheme = "sqlite",
    .open = open_db,
    .close = close_db,
    .commit = sqlite_commit,
    .log_size = log_size,
    .read_action = sqlite_read_action,
    .read_idempotency = sqlite_read_idempotency,
    .list_actions = sqlite_list_actions,
    .load_accounts = sqlite_load_accounts,
    .load_open_actions = sqlite_load_open_actions,
    .load_grants = sqlite_load_grants,
    .log = &sqlite_log_reader,
};

enum err sqlite_fail(struct store_db *db, const char *what, struct error *error)
{
    int code = sqlite3_extended_errcode(db->sqlite);
    int kind = code & 0xff;
    enum err err = kind == SQLITE_BUSY || kind == SQLITE_LOCKED ? ERR_UNAVAILABLE : ERR_IO;

    return error_set(error, err, "%s: cannot %s: %s (SQLite %d)", db->path, what,
                     sqlite3_errmsg(db->sqlite), code);
}

/* Binding does not copy, so only a bug can make it fail. */
void sqlite_bind_text(sqlite3_stmt *statement, int i, const char *text)
{
    int rc = sqlite3_bind_text(statement, i, text, -1, SQLITE_STATIC);

    assert(rc == SQLITE_OK);
}

void sqlite_bind_blob(sqlite3_stmt *statement, int i, const void *data, size_t len)
{
    int rc = sqlite3_bind_blob64(statement, i, data, len, SQLITE_STATIC);

    assert(rc == SQLITE_OK);
}

void sqlite_bind_int(sqlite3_stmt *statement, int i, int64_t value)
{
    int rc = sqlite3_bind_int64(statement, i, value);

    assert(rc == SQLITE_OK);
}

static bool stat_file(const struct store_db *db, size_t i, struct stat *ret_stat)
{
    static const char *const suffixes[SQLITE_FILES] = {"", "-wal", "-shm"};
    char path[PATH_MAX + 8];

    (void)snprintf(path, sizeof(path), "%s%s", db->path, suffixes[i]);
    return stat(path, ret_stat) == 0;
}

bool sqlite_in_place(const struct store_db *db)
{
    struct stat now;

    for (size_t i = 0; i < SQLITE_FILES; i++) {
        if (!stat_file(db, i, &now) || now.st_ino != db->files[i].inode ||
            now.st_dev != db->files[i].device) {
            return false;
        }
    }
    return true;
}

static enum err note_files(struct store_db *db, struct error *error)
{
    struct stat now;

    for (size_t i = 0; i < SQLITE_FILES; i++) {
        if (!stat_file(db, i, &now)) {
            return error_set(error, ERR_IO, "%s: its log is missing: %s", db->path,
                             strerror(errno));
        }
        db->files[i].inode = now.st_ino;
        db->files[i].device = now.st_dev;
    }
    return OK;
}

/* One gateway for each file, for the life of the process: each keeps seq and budget in memory.
 * The lock is on a file of its own, because closing any descriptor of the database would drop
 * SQLite's own (POSIX) locks. The file stays: removing it would let two in. */
static enum err lock(struct store_db *db, struct error *error)
{
    char *name CLEANUP(cleanup_free) = xasprintf("%s.lock", db->path);

    db->lock_fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (db->lock_fd < 0) {
        return error_set(error, ERR_IO, "cannot open %s: %s", name, strerror(errno));
    }
    if (flock(db->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        return errno == EWOULDBLOCK
                   ? error_set(error, ERR_UNAVAILABLE,
                               "another gateway uses %s: stop it first, or give this one a store "
                               "of its own",
                               db->path)
                   : error_set(error, ERR_IO, "cannot lock %s: %s", name, strerror(errno));
    }
    return OK;
}

/* Finds the file, for the writer after locking and creating it. The path becomes absolute, so
 * that SQLite sees neither ":memory:" nor a "file:" URI. */
static enum err find_file(struct store_db *db, const char *path, struct error *error)
{
    char *found = realpath(path, NULL);
    enum err err = OK;
    int fd;

    if (found == NULL && (errno != ENOENT || db->node == NULL)) {
        return error_set(error, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO,
                         "cannot open the store %s: %s", path, strerror(errno));
    }
    db->path = found != NULL ? found : xstrdup(path);
    if (db->node != NULL) {
        err = lock(db, error);
    }
    if (err != OK || found != NULL) {
        return err;
    }
    /* O_EXCL: not through a dangling link, whose lock would have another name next time. */
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return error_set(error, ERR_IO, "cannot create the store %s: %s", path, strerror(errno));
    }
    (void)close(fd);
    found = realpath(path, NULL);
    if (found == NULL) {
        return error_set(error, ERR_IO, "cannot find the store %s: %s", path, strerror(errno));
    }
    free(db->path);
    db->path = found;
    return OK;
}

static enum err execute(struct store_db *db, const char *sql, const char *what, struct error *error)
{
    return sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL) == SQLITE_OK
               ? OK
               : sqlite_fail(db, what, error);
}

/* Runs a query of one row and copies its first column, as text. */
static enum err query(struct store_db *db, const char *sql, char *text, size_t size,
                      struct error *error)
{
    sqlite3_stmt *statement = NULL;
    enum err err = OK;

    if (sqlite3_prepare_v2(db->sqlite, sql, -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW) {
        (void)snprintf(text, size, "%s", (const char *)sqlite3_column_text(statement, 0));
    } else {
        err = sqlite_fail(db, "open it", error);
    }
    (void)sqlite3_finalize(statement);
    return err;
}

static enum err read_version(struct store_db *db, int *ret_version, struct error *error)
{
    char text[16];
    enum err err = query(db, "PRAGMA user_version", text, sizeof(text), error);

    if (err != OK) {
        return err;
    }
    *ret_version = (int)strtol(text, NULL, 10);
    if (*ret_version < 0 || *ret_version > sqlite_migration_count) {
        return error_set(error, ERR_INVALID,
                         "%s was written by a newer tollgate (version %d of its tables; this one "
                         "knows %d): use that one, or restore an older copy",
                         db->path, *ret_version, sqlite_migration_count);
    }
    return OK;
}

/* The SQL function leaf_hash(record), for the migration that gives old records their leaves. */
static void leaf_hash(sqlite3_context *context, int count, sqlite3_value **values)
{
    uint8_t hash[STORE_HASH_BYTES];

    (void)count;
    merkle_leaf_hash(sqlite3_value_blob(values[0]), (size_t)sqlite3_value_bytes(values[0]), hash);
    sqlite3_result_blob(context, hash, sizeof(hash), SQLITE_TRANSIENT);
}

static enum err migrate(struct store_db *db, struct error *error)
{
    int version;
    enum err err = read_version(db, &version, error);

    for (; err == OK && version < sqlite_migration_count; version++) {
        err = execute(db, "BEGIN IMMEDIATE", "migrate it", error);
        if (err == OK) {
            err = execute(db, sqlite_migrations[version], "migrate it", error);
        }
        if (err == OK) {
            err = execute(db, "COMMIT", "migrate it", error);
        }
        if (err != OK) {
            (void)sqlite3_exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL);
        }
    }
    return err;
}

static enum err prepare(struct store_db *db, size_t first, size_t end, struct error *error)
{
    for (size_t i = first; i < end; i++) {
        if (sqlite3_prepare_v3(db->sqlite, sqlite_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &db->statements[i], NULL) != SQLITE_OK) {
            return sqlite_fail(db, "use its tables", error);
        }
    }
    return OK;
}

static enum err open_writer(struct store_db *db, struct error *error)
{
    char mode[16] = "";
    enum err err = query(db, "PRAGMA journal_mode = WAL", mode, sizeof(mode), error);

    if (err == OK && strcmp(mode, "wal") != 0) {
        err = error_set(error, ERR_IO,
                        "%s: its file system cannot hold a write-ahead log: use a local one",
                        db->path);
    }
    if (err == OK) {
        err = execute(db, WRITER_SQL, "open it", error);
    }
    if (err == OK && sqlite3_create_function(db->sqlite, "leaf_hash", 1,
                                             SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_DIRECTONLY,
                                             NULL, leaf_hash, NULL, NULL) != SQLITE_OK) {
        err = sqlite_fail(db, "open it", error);
    }
    if (err == OK) {
        err = migrate(db, error);
    }
    if (err == OK) {
        err = prepare(db, 0, SQL_COUNT, error);
    }
    if (err == OK) {
        err = note_files(db, error);
    }
    if (err == OK) {
        record_log_init(&db->log, db->node);
        db->stale = true;
        err = sqlite_commit(db, NULL, 0, error);
    }
    return err;
}

static enum err open_reader(struct store_db *db, struct error *error)
{
    int version;
    enum err err = read_version(db, &version, error);

    if (err == OK && version < sqlite_migration_count) {
        err =
            error_set(error, ERR_INVALID,
                      "%s has tables of an older tollgate: start the gateway on it once", db->path);
    }
    return err == OK ? prepare(db, SQL_WRITER_COUNT, SQL_COUNT, error) : err;
}

static enum err open_db(const char *url, const char *node, struct store_db **ret_db,
                        struct error *error)
{
    const char *path = url + strlen("sqlite:");
    int mode = node != NULL ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY;
    struct store_db *db;
    enum err err;

    if (path[0] == '\0') {
        return error_set(error, ERR_INVALID, "the store's url names no file: use \"sqlite:FILE\"");
    }
    db = xcalloc(1, sizeof(*db));
    db->lock_fd = -1;
    db->node = xstrdup(node);
    err = find_file(db, path, error);
    if (err == OK &&
        sqlite3_open_v2(db->path, &db->sqlite, mode | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        err = sqlite_fail(db, "open it", error);
    }
    if (err == OK) {
        (void)sqlite3_extended_result_codes(db->sqlite, 1);
        (void)sqlite3_busy_timeout(db->sqlite, BUSY_TIMEOUT_MS);
        err = execute(db, CONNECTION_SQL, "open it", error);
    }
    if (err == OK) {
        err = node != NULL ? open_writer(db, error) : open_reader(db, error);
    }
    if (err != OK) {
        close_db(db);
        return err;
    }
    *ret_db = db;
    return OK;
}

static void close_db(struct store_db *db)
{
    int rc;

    if (db == NULL) {
        return;
    }
    for (size_t i = 0; i < SQL_COUNT; i++) {
        (void)sqlite3_finalize(db->statements[i]);
    }
    rc = sqlite3_close(db->sqlite);
    assert(rc == SQLITE_OK);
    record_log_done(&db->log);
    /* Last: until here the files are ours. */
    if (db->lock_fd >= 0) {
        (void)close(db->lock_fd);
    }
    free(db->path);
    free(db->node);
    free(db);
}

static int64_t log_size(const struct store_db *db)
{
    return db->log.state.next_seq;
}
