/* Tree: the complete nodes of a stored log's Merkle tree, for proofs and for going on after a
 * restart. Stored are those of every eighth level, and where records were pruned the few others
 * that old checkpoints need; the rest is hashed together here. Any thread that has the connection.
 */
#include "store/store_priv.h"

#include <string.h>

/* Hashes that come one after another, into the node over all of them. */
struct fold {
    struct merkle_frontier frontier;
    int64_t level; /* they must be of this level */
    uint64_t next; /* and have this number */
    uint64_t end;
};

static void on_leaf(const uint8_t hash[STORE_HASH_BYTES], void *arg)
{
    struct fold *fold = arg;

    merkle_frontier_add(&fold->frontier, hash, NULL, NULL);
    fold->next++;
}

static bool on_hash(int64_t level, int64_t number, const uint8_t *hash, size_t len, void *arg)
{
    struct fold *fold = arg;

    if (level != fold->level || (uint64_t)number != fold->next || len != STORE_HASH_BYTES) {
        return false;
    }
    on_leaf(hash, fold);
    return fold->next < fold->end;
}

/* The one stored node (level, index) itself. */
static enum err get_stored(const struct tree *tree, unsigned level, uint64_t index,
                           uint8_t ret_hash[MERKLE_HASH_BYTES])
{
    struct fold fold = {.level = level, .next = index, .end = index + 1};
    enum err err = tree->log->hashes(tree->db, tree->node, level, (int64_t)index, 1, on_hash, &fold,
                                     tree->error);

    if (err == OK && fold.next != fold.end) {
        return ERR_NOT_FOUND;
    }
    if (err == OK) {
        merkle_frontier_root(&fold.frontier, ret_hash);
    }
    return err;
}

/* From all its descendants on the next stored level below, or the leaves. */
static enum err get_folded(const struct tree *tree, unsigned level, uint64_t index,
                           uint8_t ret_hash[MERKLE_HASH_BYTES])
{
    unsigned base = (level - 1) / STORE_TREE_STEP * STORE_TREE_STEP;
    unsigned shift = level - base;
    struct fold fold = {.level = base, .next = index << shift, .end = (index + 1) << shift};
    enum err err;

    if (base == 0) {
        err = tree->log->leaves(tree->db, tree->node, (int64_t)fold.next, (int64_t)fold.end,
                                on_leaf, &fold, tree->error);
    } else {
        err = tree->log->hashes(tree->db, tree->node, base, (int64_t)fold.next, (int64_t)1 << shift,
                                on_hash, &fold, tree->error);
    }
    if (err == OK && fold.next != fold.end) {
        return ERR_NOT_FOUND;
    }
    if (err == OK) {
        merkle_frontier_root(&fold.frontier, ret_hash);
    }
    return err;
}

static enum err get_leaf(const struct tree *tree, uint64_t index,
                         uint8_t ret_hash[MERKLE_HASH_BYTES])
{
    struct fold fold = {.next = index};
    enum err err = tree->log->leaves(tree->db, tree->node, (int64_t)index, (int64_t)index + 1,
                                     on_leaf, &fold, tree->error);

    if (err == OK) {
        merkle_frontier_root(&fold.frontier, ret_hash);
    }
    return err;
}

enum err tree_get(unsigned level, uint64_t index, uint8_t ret_hash[MERKLE_HASH_BYTES], void *arg)
{
    const struct tree *tree = arg;
    uint8_t left[MERKLE_HASH_BYTES];
    uint8_t right[MERKLE_HASH_BYTES];
    enum err err;

    if (level % STORE_TREE_STEP == 0 && level > 0) {
        return get_stored(tree, level, index, ret_hash);
    }
    err = level == 0 ? get_leaf(tree, index, ret_hash) : get_folded(tree, level, index, ret_hash);
    if (err != ERR_NOT_FOUND || level >= STORE_TREE_STEP) {
        return err;
    }
    /* The leaves were pruned. */
    err = get_stored(tree, level, index, ret_hash);
    if (err != ERR_NOT_FOUND || level == 0) {
        return err;
    }
    err = tree_get(level - 1, 2 * index, left, arg);
    if (err == OK) {
        err = tree_get(level - 1, 2 * index + 1, right, arg);
    }
    if (err == OK) {
        merkle_node_hash(left, right, ret_hash);
    }
    return err;
}
