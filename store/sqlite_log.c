/* SQLite: what is written of the audit log: records and their place in the tree, checkpoints, the
 * index, how far streams got, pruning. On the writer's thread, inside a transaction. */
#include "store/sqlite_priv.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static struct tree tree_of(struct store_db *db, struct error *error)
{
    return (struct tree){.log = &sqlite_log_reader, .db = db, .node = db->node, .error = error};
}

static enum err add_hash(struct store_db *db, unsigned level, uint64_t number,
                         const uint8_t hash[STORE_HASH_BYTES], struct error *error)
{
    sqlite3_stmt *statement = db->statements[SQL_ADD_HASH];

    sqlite_bind_text(statement, 1, db->node);
    sqlite_bind_int(statement, 2, level);
    sqlite_bind_int(statement, 3, (int64_t)number);
    sqlite_bind_blob(statement, 4, hash, STORE_HASH_BYTES);
    return sqlite_run(db, SQL_ADD_HASH, "write", error);
}

/* ---- Records ---- */

static enum err add_record(struct store_db *db, const struct store_op *op, struct error *error)
{
    struct record_log *log = &db->log;
    sqlite3_stmt *statement = db->statements[SQL_ADD_RECORD];
    int64_t seq = record_append(log, op->record.tail, op->record.len);
    enum err err;

    sqlite_bind_text(statement, 1, db->node);
    sqlite_bind_int(statement, 2, seq);
    sqlite_bind_blob(statement, 3, log->bytes.data, log->bytes.len);
    sqlite_bind_blob(statement, 4, log->leaf, sizeof(log->leaf));
    err = sqlite_run(db, SQL_ADD_RECORD, "write", error);
    for (size_t i = 0; err == OK && i < log->hash_count; i++) {
        err = add_hash(db, log->hashes[i].level, log->hashes[i].number, log->hashes[i].hash, error);
    }
    return err;
}

/* ---- The tree, after a start or a failure ---- */

/* A database of before there was a tree has leaves only. */
static enum err add_missing(struct store_db *db, int64_t next_seq, struct error *error)
{
    struct tree tree = tree_of(db, error);
    enum err err = OK;

    for (unsigned level = STORE_TREE_STEP;
         err == OK && level < MERKLE_LEVELS - 1 && (uint64_t)next_seq >> level > 0;
         level += STORE_TREE_STEP) {
        uint64_t count = (uint64_t)next_seq >> level;
        uint8_t hash[STORE_HASH_BYTES];
        for (uint64_t i = count; err == OK && i > 0; i--) {
            uint8_t left[STORE_HASH_BYTES];
            uint8_t right[STORE_HASH_BYTES];
            if (tree_get(level, i - 1, hash, &tree) == OK) {
                break; /* those before it are there too */
            }
            err = tree_get(level - 1, 2 * (i - 1), left, &tree);
            if (err == OK) {
                err = tree_get(level - 1, 2 * (i - 1) + 1, right, &tree);
            }
            if (err == OK) {
                merkle_node_hash(left, right, hash);
                err = add_hash(db, level, i - 1, hash, error);
            }
        }
    }
    return err;
}

enum err sqlite_restore_tree(struct store_db *db, int64_t next_seq, struct error *error)
{
    struct tree tree = tree_of(db, error);
    enum err err = add_missing(db, next_seq, error);

    if (err == OK) {
        err = merkle_frontier_restore(&db->log.state.tree, (uint64_t)next_seq, tree_get, &tree);
    }
    return err == ERR_NOT_FOUND
               ? error_set(error, ERR_IO,
                           "%s: records of the audit log are missing: see 'tollgate audit verify'",
                           db->path)
               : err;
}

/* ---- Checkpoints, index, streams ---- */

static enum err add_checkpoint(struct store_db *db, const struct store_op *op, struct error *error)
{
    const struct record_state *state = &db->log.state;
    sqlite3_stmt *statement = db->statements[SQL_ADD_CHECKPOINT];
    CLEANUP(cleanup_free) char *note = NULL;
    uint8_t root[STORE_HASH_BYTES];

    assert(state->next_seq > 0);
    merkle_frontier_root(&state->tree, root);
    note = op->checkpoint.sign(db->node, state->next_seq, root, op->checkpoint.arg);
    sqlite_bind_text(statement, 1, db->node);
    sqlite_bind_int(statement, 2, state->next_seq);
    sqlite_bind_text(statement, 3, note);
    return sqlite_run(db, SQL_ADD_CHECKPOINT, "write", error);
}

static enum err add_segment(struct store_db *db, const struct segment *segment, struct error *error)
{
    sqlite3_stmt *statement = db->statements[SQL_ADD_SEGMENT];
    enum err err;

    sqlite_bind_text(statement, 1, db->node);
    sqlite_bind_int(statement, 2, segment->number);
    sqlite_bind_int(statement, 3, segment->first_ms);
    sqlite_bind_int(statement, 4, segment->last_ms);
    err = sqlite_run(db, SQL_ADD_SEGMENT, "write", error);
    statement = db->statements[SQL_ADD_KEYS];
    for (size_t i = 0; err == OK && i < SEGMENT_BUCKETS; i++) {
        if (segment->buckets[i].len > 0) {
            sqlite_bind_text(statement, 1, db->node);
            sqlite_bind_int(statement, 2, segment->number);
            sqlite_bind_int(statement, 3, (int64_t)i);
            sqlite_bind_blob(statement, 4, segment->buckets[i].data, segment->buckets[i].len);
            err = sqlite_run(db, SQL_ADD_KEYS, "write", error);
        }
    }
    return err;
}

static enum err set_stream(struct store_db *db, const struct store_op *op, struct error *error)
{
    sqlite3_stmt *statement = db->statements[SQL_SET_STREAM];

    sqlite_bind_text(statement, 1, op->stream.name);
    sqlite_bind_text(statement, 2, op->stream.node);
    sqlite_bind_int(statement, 3, op->stream.seq);
    return sqlite_run(db, SQL_SET_STREAM, "write", error);
}

/* ---- Pruning ---- */

struct sizes {
    int64_t *list;
    size_t count;
    size_t capacity;
};

static void add_size(struct sizes *sizes, int64_t size)
{
    if (sizes->count == sizes->capacity) {
        sizes->capacity = sizes->capacity > 0 ? 2 * sizes->capacity : 64;
        sizes->list = xrealloc(sizes->list, sizes->capacity, sizeof(*sizes->list));
    }
    sizes->list[sizes->count++] = size;
}

/* The sizes of checkpoints between two others that end in the middle of a block. */
static enum err read_sizes(struct store_db *db, int64_t from, int64_t to, struct sizes *sizes,
                           struct error *error)
{
    sqlite3_stmt *statement = db->statements[SQL_READ_SIZES];
    enum err err = OK;
    int rc;

    sqlite_bind_text(statement, 1, db->node);
    sqlite_bind_int(statement, 2, from);
    sqlite_bind_int(statement, 3, to);
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
        int64_t size = sqlite3_column_int64(statement, 0);
        if (size % STORE_BLOCK_RECORDS != 0) {
            add_size(sizes, size);
        }
    }
    if (rc != SQLITE_DONE) {
        err = sqlite_fail(db, "read it", error);
    }
    (void)sqlite3_reset(statement);
    return err;
}

/* Keeps what a proof from the tree of that size needs inside its last block: the leaf before it
 * and, up to the block's root, whatever that is hashed with. */
static enum err keep_path(struct store_db *db, int64_t size, struct error *error)
{
    struct tree tree = tree_of(db, error);
    uint64_t last = (uint64_t)size - 1;
    uint8_t hash[STORE_HASH_BYTES];
    enum err err = tree_get(0, last, hash, &tree);

    if (err == OK) {
        err = add_hash(db, 0, last, hash, error);
    }
    for (unsigned level = 0; err == OK && level < STORE_TREE_STEP; level++) {
        uint64_t sibling = last >> level ^ 1;
        err = tree_get(level, sibling, hash, &tree);
        if (err == OK) {
            err = add_hash(db, level, sibling, hash, error);
        }
    }
    return err;
}

static enum err keep_paths(struct store_db *db, int64_t from, int64_t to, struct error *error)
{
    struct sizes sizes = {0};
    enum err err = read_sizes(db, from, to, &sizes, error);

    for (size_t i = 0; err == OK && i < sizes.count; i++) {
        err = keep_path(db, sizes.list[i], error);
    }
    free(sizes.list);
    return err;
}

static enum err drop_below(struct store_db *db, enum sqlite_sql sql, int64_t below,
                           struct error *error)
{
    sqlite_bind_text(db->statements[sql], 1, db->node);
    sqlite_bind_int(db->statements[sql], 2, below);
    return sqlite_run(db, sql, "prune it", error);
}

static enum err prune(struct store_db *db, const struct store_op *op, bool *ret_own,
                      struct error *error)
{
    struct arena arena = {0};
    int64_t size = op->prune.size;
    int64_t before = 0;
    int64_t covered = 0;
    const char *note;
    enum err err = sqlite_log_reader.pruned(db, db->node, &arena, &before, &note, error);

    if (err == OK || err == ERR_NOT_FOUND) {
        err = sqlite_log_reader.last_checkpoint(db, db->node, &arena, &covered, &note, error);
    }
    arena_done(&arena);
    if (err == ERR_NOT_FOUND || size <= before || size > covered ||
        size % STORE_BLOCK_RECORDS != 0) {
        *ret_own = true;
        return ERR_INVALID;
    }
    if (err == OK) {
        err = keep_paths(db, before, size, error);
        *ret_own = err == ERR_NOT_FOUND; /* somebody took records away: others go on */
    }
    if (err == OK) {
        sqlite_bind_text(db->statements[SQL_SET_PRUNED], 1, db->node);
        sqlite_bind_int(db->statements[SQL_SET_PRUNED], 2, size);
        sqlite_bind_text(db->statements[SQL_SET_PRUNED], 3, op->prune.note);
        err = sqlite_run(db, SQL_SET_PRUNED, "prune it", error);
    }
    if (err == OK) {
        err = drop_below(db, SQL_PRUNE_RECORDS, size, error);
    }
    if (err == OK) {
        err = drop_below(db, SQL_PRUNE_KEYS, size / STORE_SEGMENT_RECORDS, error);
    }
    return err == OK ? drop_below(db, SQL_PRUNE_SEGMENTS, size / STORE_SEGMENT_RECORDS, error)
                     : err;
}

enum err sqlite_apply_log(struct store_db *db, const struct store_op *op, bool *ret_own,
                          struct error *error)
{
    switch (op->kind) {
    case STORE_ADD_CHECKPOINT:
        return add_checkpoint(db, op, error);
    case STORE_ADD_SEGMENT:
        return add_segment(db, op->segment, error);
    case STORE_SET_STREAM:
        return set_stream(db, op, error);
    case STORE_PRUNE:
        return prune(db, op, ret_own, error);
    default:
        assert(op->kind == STORE_ADD_RECORD);
        return add_record(db, op, error);
    }
}
