/* Verify, the interior nodes that are stored of a tree: looking them up, and those that the records
 * do not lead to: of pruned records, and of records that are not there. See verify_priv.h. */
#include "gateway/verify_priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LEVEL_MAX 62 /* of a node whose numbers of leaves are int64_t */

void stored_done(struct stored_tree *tree)
{
    free(tree->hashes);
    *tree = (struct stored_tree){0};
}

uint64_t stored_start(unsigned level, uint64_t number)
{
    return number << level;
}

uint64_t stored_end(unsigned level, uint64_t number)
{
    return number > (UINT64_MAX >> level) - 1 ? UINT64_MAX : (number + 1) << level;
}

/* The first record that a stored node can be said to be about. */
static int64_t seq_of(unsigned level, uint64_t number)
{
    return (int64_t)stored_start(level, number);
}

void verify_add_hash(struct verify *verify, int64_t level, int64_t number, const uint8_t *hash,
                     size_t len)
{
    struct stored_tree *tree = &verify->log.stored;
    bool placed = level >= 0 && level <= LEVEL_MAX && number >= 0 &&
                  stored_end((unsigned)level, (uint64_t)number) <= INT64_MAX;

    if (!placed) {
        tree->strange++;
        return;
    }
    if (hash == NULL || len != MERKLE_HASH_BYTES) {
        VERIFY_FIND(verify, seq_of((unsigned)level, (uint64_t)number), TREE_ALTERED,
                    "what is stored as node (%" PRId64 ", %" PRId64 ") of the tree is no hash",
                    level, number);
        return;
    }
    if (tree->count == tree->capacity) {
        tree->capacity = tree->capacity > 0 ? tree->capacity * 2 : 64;
        tree->hashes = xrealloc(tree->hashes, tree->capacity, sizeof(*tree->hashes));
    }
    tree->hashes[tree->count] =
        (struct stored_hash){.level = (uint8_t)level, .number = (uint64_t)number};
    memcpy(tree->hashes[tree->count].hash, hash, MERKLE_HASH_BYTES);
    tree->count++;
}

static int compare(const void *left, const void *right)
{
    const struct stored_hash *a = left;
    const struct stored_hash *b = right;

    if (a->level != b->level) {
        return a->level < b->level ? -1 : 1;
    }
    return a->number < b->number ? -1 : a->number > b->number;
}

struct stored_hash *stored_find(struct stored_tree *tree, unsigned level, uint64_t number)
{
    struct stored_hash key = {.level = (uint8_t)level, .number = number};

    if (tree->count == 0) {
        return NULL;
    }
    if (!tree->sorted) {
        qsort(tree->hashes, tree->count, sizeof(*tree->hashes), compare);
        tree->sorted = true;
    }
    return bsearch(&key, tree->hashes, tree->count, sizeof(*tree->hashes), compare);
}

/* What follows from the two nodes below. */
static enum err from_below(unsigned level, uint64_t number, uint8_t ret_hash[MERKLE_HASH_BYTES],
                           struct stored_tree *tree)
{
    uint8_t halves[2][MERKLE_HASH_BYTES];

    for (uint64_t i = 0; i < 2; i++) {
        if (level == 0 || stored_get(level - 1, 2 * number + i, halves[i], tree) != OK) {
            return ERR_NOT_FOUND;
        }
    }
    merkle_node_hash(halves[0], halves[1], ret_hash);
    return OK;
}

/* At most as many steps as nodes are stored, times the levels: it goes on to the right half only
 * when the left one was found. */
enum err stored_get(unsigned level, uint64_t number, uint8_t ret_hash[MERKLE_HASH_BYTES], void *arg)
{
    struct stored_tree *tree = arg;
    struct stored_hash *stored = stored_find(tree, level, number);

    if (stored == NULL) {
        return from_below(level, number, ret_hash, tree);
    }
    memcpy(ret_hash, stored->hash, MERKLE_HASH_BYTES);
    return OK;
}

/* Of pruned records nodes of the tree are all that is left: they must agree with each other, and
 * lead to the tree that goes on after them. That this is the right one, the next root shows. */
void stored_check_pruned(struct verify *verify)
{
    struct log *log = &verify->log;
    uint8_t hash[MERKLE_HASH_BYTES];

    for (size_t i = 0; log->pruned > 0 && i < log->stored.count; i++) {
        struct stored_hash *stored;
        (void)stored_find(&log->stored, 0, 0); /* sorts */
        stored = &log->stored.hashes[i];
        if (stored_end(stored->level, stored->number) > (uint64_t)log->pruned) {
            continue;
        }
        stored->seen = true;
        if (from_below(stored->level, stored->number, hash, &log->stored) == OK &&
            memcmp(hash, stored->hash, sizeof(hash)) != 0) {
            VERIFY_FIND(verify, seq_of(stored->level, stored->number), TREE_ALTERED,
                        "the stored node (%u, %" PRIu64 ") of the tree does not follow from those "
                        "below it",
                        stored->level, stored->number);
        }
    }
    if (merkle_frontier_restore(&log->tree, (uint64_t)log->pruned, stored_get, &log->stored) !=
        OK) {
        VERIFY_FIND(verify, 0, TREE_ALTERED,
                    "the stored nodes of the tree do not lead to the %" PRId64 " pruned records",
                    log->pruned);
        log->chained = false;
    }
}

/* Nodes that no record led to. */
void stored_check_end(struct verify *verify)
{
    struct log *log = &verify->log;

    for (size_t i = 0; i < log->stored.count; i++) {
        const struct stored_hash *stored = &log->stored.hashes[i];
        bool is_stored_level = stored->level > 0 && stored->level % STORE_TREE_STEP == 0;
        if (stored->seen) {
            continue;
        }
        if (is_stored_level && stored_end(stored->level, stored->number) > (uint64_t)log->next) {
            log->stored.beyond = true; /* told as truncated */
        } else if (!is_stored_level || log->chained) {
            log->stored.strange++;
        }
    }
    if (log->stored.strange > 0) {
        VERIFY_FIND(verify, log->next, TREE_ALTERED,
                    "%" PRIu64 " of the stored nodes of the tree are none", log->stored.strange);
    }
}
