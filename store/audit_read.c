/* The audit log, read on the reader's thread and answered on the sender's: pages of records, and
 * proofs. Knows no database. See audit.h. */
#include "store/store_priv.h"

#include <stdlib.h>
#include <string.h>

static struct store_record copy_record(struct arena *arena, const struct store_record *record)
{
    return (struct store_record){
        .node = arena_text(arena, record->node),
        .seq = record->seq,
        .bytes = arena_copy(arena, record->bytes, record->len),
        .len = record->len,
        .leaf = (const uint8_t *)arena_copy(arena, record->leaf, record->leaf_len),
        .leaf_len = record->leaf_len,
    };
}

/* ---- Pages of records ---- */

struct find_read {
    struct store_read read;
    struct finder *finder;
    int limit;
    struct store_record *records;
    size_t count;
    char next[STORE_CURSOR_SIZE];
    store_records_cb on_done;
};

static void on_found(const struct store_record *record, void *arg)
{
    struct find_read *find = arg;

    find->records[find->count++] = copy_record(&find->read.arena, record);
}

static enum err find_records(struct store_read *read, const struct store_backend *backend,
                             struct store_db *db)
{
    struct find_read *find = (struct find_read *)read;
    enum err err;

    find->records = arena_alloc(&read->arena, (size_t)find->limit * sizeof(*find->records));
    err = finder_run(find->finder, backend->log, db, on_found, find, find->next, NULL);
    finder_free(find->finder);
    return err;
}

static void answer_records(const struct store_read *read)
{
    const struct find_read *find = (const struct find_read *)read;
    bool good = read->result == OK;

    find->on_done(read->result, good ? find->records : NULL, good ? find->count : 0,
                  good && find->next[0] != '\0' ? find->next : NULL, read->arg);
}

enum err store_find_records(struct store *store, const struct store_record_query *query,
                            struct mailbox *reply_to, store_records_cb on_done, void *arg)
{
    static const struct read_kind kind = {sizeof(struct find_read), find_records, answer_records};
    struct finder *finder;
    struct store_read *read;
    struct find_read *find;
    enum err err = finder_new(query, &finder);

    if (err != OK) {
        return err;
    }
    read = store_read_new(&kind, reply_to, arg);
    find = (struct find_read *)read;
    find->finder = finder;
    find->limit = query->limit;
    find->on_done = on_done;
    err = store_read_post(store, read);
    if (err != OK) {
        finder_free(finder);
    }
    return err;
}

/* ---- Proofs ---- */

struct proof_read {
    struct store_read read;
    const char *node;
    int64_t seq; /* of an entry */
    int64_t old_size;
    int64_t new_size;
    struct store_proof proof;
    uint8_t hashes[STORE_PROOF_MAX][STORE_HASH_BYTES];
    store_proof_cb on_done;
};

static struct store_read *new_proof(const struct read_kind *kind, const char *node,
                                    struct mailbox *reply_to, store_proof_cb on_done, void *arg)
{
    struct store_read *read = store_read_new(kind, reply_to, arg);
    struct proof_read *proof = (struct proof_read *)read;

    proof->node = arena_text(&read->arena, node);
    proof->on_done = on_done;
    return read;
}

static void answer_proof(const struct store_read *read)
{
    const struct proof_read *proof = (const struct proof_read *)read;

    proof->on_done(read->result, read->result == OK ? &proof->proof : NULL, read->arg);
}

static bool on_entry(const struct store_record *record, void *arg)
{
    struct proof_read *proof = arg;

    proof->proof.record = copy_record(&proof->read.arena, record);
    return false;
}

static enum err find_checkpoint(struct store_read *read, const struct store_backend *backend,
                                struct store_db *db)
{
    struct proof_read *proof = (struct proof_read *)read;

    return backend->log->last_checkpoint(db, proof->node, &read->arena, &proof->proof.size,
                                         &proof->proof.checkpoint, NULL);
}

static enum err find_entry(struct store_read *read, const struct store_backend *backend,
                           struct store_db *db)
{
    struct proof_read *proof = (struct proof_read *)read;
    struct tree tree = {.log = backend->log, .db = db, .node = proof->node};
    int64_t count = 0;
    enum err err = backend->log->records(db, proof->node, proof->seq, proof->seq + 1, false, 1,
                                         on_entry, proof, &count, NULL);

    if (err == OK && count == 0) {
        return ERR_NOT_FOUND;
    }
    if (err == OK) {
        err = find_checkpoint(read, backend, db);
    }
    if (err == ERR_NOT_FOUND || (err == OK && proof->proof.size <= proof->seq)) {
        proof->proof.checkpoint = NULL;
        proof->proof.size = 0;
        return OK;
    }
    proof->proof.hashes = (const uint8_t(*)[STORE_HASH_BYTES])proof->hashes;
    return err == OK ? merkle_inclusion_proof((uint64_t)proof->seq, (uint64_t)proof->proof.size,
                                              tree_get, &tree, proof->hashes, &proof->proof.count)
                     : err;
}

static enum err find_consistency(struct store_read *read, const struct store_backend *backend,
                                 struct store_db *db)
{
    struct proof_read *proof = (struct proof_read *)read;
    struct tree tree = {.log = backend->log, .db = db, .node = proof->node};
    int64_t end = 0;
    enum err err = find_checkpoint(read, backend, db);

    if (err == OK && proof->new_size == 0) {
        proof->new_size = proof->proof.size;
    } else if (err == OK || (err == ERR_NOT_FOUND && proof->new_size > 0)) {
        proof->proof.checkpoint = NULL;
        err = backend->log->end(db, proof->node, &end, NULL);
        err = err == OK && proof->new_size > end ? ERR_NOT_FOUND : err;
    }
    if (err == OK && proof->old_size > proof->new_size) {
        err = ERR_NOT_FOUND;
    }
    proof->proof.size = proof->new_size;
    proof->proof.hashes = (const uint8_t(*)[STORE_HASH_BYTES])proof->hashes;
    return err == OK
               ? merkle_consistency_proof((uint64_t)proof->old_size, (uint64_t)proof->new_size,
                                          tree_get, &tree, proof->hashes, &proof->proof.count)
               : err;
}

enum err store_read_entry(struct store *store, const char *node, int64_t seq,
                          struct mailbox *reply_to, store_proof_cb on_done, void *arg)
{
    static const struct read_kind kind = {sizeof(struct proof_read), find_entry, answer_proof};
    struct store_read *read = new_proof(&kind, node, reply_to, on_done, arg);

    ((struct proof_read *)read)->seq = seq;
    return store_read_post(store, read);
}

enum err store_read_checkpoint(struct store *store, const char *node, struct mailbox *reply_to,
                               store_proof_cb on_done, void *arg)
{
    static const struct read_kind kind = {sizeof(struct proof_read), find_checkpoint, answer_proof};

    return store_read_post(store, new_proof(&kind, node, reply_to, on_done, arg));
}

enum err store_read_consistency(struct store *store, const char *node, int64_t old_size,
                                int64_t new_size, struct mailbox *reply_to, store_proof_cb on_done,
                                void *arg)
{
    static const struct read_kind kind = {sizeof(struct proof_read), find_consistency,
                                          answer_proof};
    struct store_read *read = new_proof(&kind, node, reply_to, on_done, arg);

    ((struct proof_read *)read)->old_size = old_size;
    ((struct proof_read *)read)->new_size = new_size;
    return store_read_post(store, read);
}
