/* Merkle: see merkle.h. One place says which nodes a proof consists of (sibling_path), one how a
 * verifier climbs past them (climb); both work on any uint64_t. */
#include "common/merkle.h"

#include <assert.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Hashes ---- */

/* Looking an algorithm up, and allocating a context, cost as much as hashing a short record: the
 * first happens once, the second once in a thread. */
static pthread_once_t hasher_once = PTHREAD_ONCE_INIT;
static pthread_key_t hasher_key; /* frees a thread's context when that ends */
static EVP_MD *hasher_sha256;
static _Thread_local EVP_MD_CTX *hasher_context;

static void require(bool ok)
{
    if (!ok) {
        (void)fputs("{\"level\":\"error\",\"msg\":\"SHA-256 failed in OpenSSL\"}\n", stderr);
        abort();
    }
}

static void hasher_free(void *context)
{
    EVP_MD_CTX_free(context);
}

static void hasher_init(void)
{
    hasher_sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    require(hasher_sha256 != NULL && pthread_key_create(&hasher_key, hasher_free) == 0);
}

static EVP_MD_CTX *hasher_start(void)
{
    if (hasher_context == NULL) {
        require(pthread_once(&hasher_once, hasher_init) == 0);
        hasher_context = EVP_MD_CTX_new();
        require(hasher_context != NULL && pthread_setspecific(hasher_key, hasher_context) == 0);
        require(EVP_DigestInit_ex2(hasher_context, hasher_sha256, NULL) == 1);
    } else {
        require(EVP_DigestInit_ex2(hasher_context, NULL, NULL) == 1);
    }
    return hasher_context;
}

void merkle_leaf_hash(const void *record, size_t len, uint8_t ret_hash[MERKLE_HASH_BYTES])
{
    static const uint8_t prefix[1] = {0x00};
    EVP_MD_CTX *context = hasher_start();

    require(EVP_DigestUpdate(context, prefix, sizeof(prefix)) == 1 &&
            EVP_DigestUpdate(context, record, len) == 1 &&
            EVP_DigestFinal_ex(context, ret_hash, NULL) == 1);
}

void merkle_node_hash(const uint8_t left[MERKLE_HASH_BYTES], const uint8_t right[MERKLE_HASH_BYTES],
                      uint8_t ret_hash[MERKLE_HASH_BYTES])
{
    uint8_t node[1 + 2 * MERKLE_HASH_BYTES] = {0x01};
    EVP_MD_CTX *context = hasher_start();

    memcpy(node + 1, left, MERKLE_HASH_BYTES);
    memcpy(node + 1 + MERKLE_HASH_BYTES, right, MERKLE_HASH_BYTES);
    require(EVP_DigestUpdate(context, node, sizeof(node)) == 1 &&
            EVP_DigestFinal_ex(context, ret_hash, NULL) == 1);
}

static void empty_root(uint8_t ret_root[MERKLE_HASH_BYTES])
{
    require(EVP_DigestFinal_ex(hasher_start(), ret_root, NULL) == 1);
}

static bool bit_set(uint64_t size, unsigned level)
{
    return (size >> level & 1) != 0;
}

/* ---- The frontier ---- */

void merkle_frontier_add(struct merkle_frontier *frontier,
                         const uint8_t leaf_hash[MERKLE_HASH_BYTES], merkle_node_cb on_node,
                         void *arg)
{
    uint8_t hash[MERKLE_HASH_BYTES];
    unsigned level = 0;

    assert(frontier->size < UINT64_MAX); /* no one lives to append that many */
    memcpy(hash, leaf_hash, sizeof(hash));
    for (; bit_set(frontier->size, level); level++) {
        merkle_node_hash(frontier->hash[level], hash, hash);
        if (on_node != NULL) {
            on_node(level + 1, frontier->size >> (level + 1), hash, arg);
        }
    }
    memcpy(frontier->hash[level], hash, sizeof(hash));
    frontier->size++;
}

/* Joins the hash of the leaves so far with the complete node to its left; the first is alone. */
static void join_left(const uint8_t node[MERKLE_HASH_BYTES], bool *first,
                      uint8_t hash[MERKLE_HASH_BYTES])
{
    if (*first) {
        memcpy(hash, node, MERKLE_HASH_BYTES);
        *first = false;
    } else {
        merkle_node_hash(node, hash, hash);
    }
}

void merkle_frontier_root(const struct merkle_frontier *frontier,
                          uint8_t ret_root[MERKLE_HASH_BYTES])
{
    bool first = true;

    if (frontier->size == 0) {
        empty_root(ret_root);
    }
    for (unsigned level = 0; level < MERKLE_LEVELS; level++) {
        if (bit_set(frontier->size, level)) {
            join_left(frontier->hash[level], &first, ret_root);
        }
    }
}

enum err merkle_frontier_restore(struct merkle_frontier *frontier, uint64_t size, merkle_get_cb get,
                                 void *arg)
{
    struct merkle_frontier restored = {.size = size};

    if (size > MERKLE_RESTORE_MAX) {
        return ERR_INVALID;
    }
    for (unsigned level = 0; level < MERKLE_LEVELS; level++) {
        if (bit_set(size, level)) {
            enum err err = get(level, (size >> level) - 1, restored.hash[level], arg);
            if (err != OK) {
                return err;
            }
        }
    }
    *frontier = restored;
    return OK;
}

/* ---- Proofs ---- */

/* The hash over the last leaves of the tree, those beyond its complete nodes of the given level,
 * of which there is one at least. */
static enum err edge_hash(unsigned level, uint64_t size, merkle_get_cb get, void *arg,
                          uint8_t ret_hash[MERKLE_HASH_BYTES])
{
    uint8_t hash[MERKLE_HASH_BYTES] = {0};
    uint8_t node[MERKLE_HASH_BYTES];
    bool first = true;

    for (unsigned below = 0; below < level; below++) {
        if (bit_set(size, below)) {
            enum err err = get(below, (size >> below) - 1, node, arg);
            if (err != OK) {
                return err;
            }
            join_left(node, &first, hash);
        }
    }
    memcpy(ret_hash, hash, sizeof(hash));
    return OK;
}

enum err merkle_root_at(uint64_t size, merkle_get_cb get, void *arg,
                        uint8_t ret_root[MERKLE_HASH_BYTES])
{
    if (size == 0) {
        empty_root(ret_root);
        return OK;
    }
    return edge_hash(MERKLE_LEVELS, size, get, arg, ret_root);
}

/* The siblings on the way from the complete node (level, index) up to the root, added to the
 * *count hashes that are there. A node that ends its level and has none goes up as it is. */
static enum err sibling_path(unsigned level, uint64_t index, uint64_t size, merkle_get_cb get,
                             void *arg, uint8_t proof[][MERKLE_HASH_BYTES], size_t *count)
{
    for (uint64_t last = (size - 1) >> level; last > 0; level++, index >>= 1, last >>= 1) {
        enum err err = OK;

        if ((index & 1) != 0) {
            err = get(level, index - 1, proof[*count], arg);
        } else if (index == last) {
            continue;
        } else if (index + 1 < size >> level) {
            err = get(level, index + 1, proof[*count], arg);
        } else {
            err = edge_hash(level, size, get, arg, proof[*count]);
        }
        if (err != OK) {
            return err;
        }
        (*count)++;
    }
    return OK;
}

enum err merkle_inclusion_proof(uint64_t index, uint64_t size, merkle_get_cb get, void *arg,
                                uint8_t ret_proof[MERKLE_INCLUSION_MAX][MERKLE_HASH_BYTES],
                                size_t *ret_count)
{
    size_t count = 0;

    if (index >= size) {
        return ERR_INVALID;
    }
    enum err err = sibling_path(0, index, size, get, arg, ret_proof, &count);
    if (err == OK) {
        *ret_count = count;
    }
    return err;
}

/* The level of the largest complete node that ends the tree: that is where its proofs begin. */
static unsigned end_level(uint64_t size)
{
    return (unsigned)__builtin_ctzll(size);
}

enum err merkle_consistency_proof(uint64_t old_size, uint64_t new_size, merkle_get_cb get,
                                  void *arg,
                                  uint8_t ret_proof[MERKLE_CONSISTENCY_MAX][MERKLE_HASH_BYTES],
                                  size_t *ret_count)
{
    enum err err = OK;
    size_t count = 0;

    if (old_size > new_size) {
        return ERR_INVALID;
    }
    if (old_size > 0 && old_size < new_size) {
        unsigned level = end_level(old_size);
        uint64_t index = (old_size >> level) - 1;

        if (index > 0) { /* else that node is the old tree, whose root the verifier has */
            err = get(level, index, ret_proof[0], arg);
            count = 1;
        }
        if (err == OK) {
            err = sibling_path(level, index, new_size, get, arg, ret_proof, &count);
        }
    }
    if (err == OK) {
        *ret_count = count;
    }
    return err;
}

/* ---- Verification ---- */

/* Goes up past the next sibling of a node that is number *index on its level, of which *last is the
 * last number; there must be one. Returns whether that sibling is on the left. */
static bool climb(uint64_t *index, uint64_t *last)
{
    bool left = (*index & 1) != 0 || *index == *last;

    while (left && (*index & 1) == 0 && *index != 0) { /* levels where it has no sibling */
        *index >>= 1;
        *last >>= 1;
    }
    *index >>= 1;
    *last >>= 1;
    return left;
}

enum err merkle_verify_inclusion(uint64_t index, uint64_t size,
                                 const uint8_t leaf_hash[MERKLE_HASH_BYTES],
                                 const uint8_t proof[][MERKLE_HASH_BYTES], size_t count,
                                 const uint8_t root[MERKLE_HASH_BYTES])
{
    uint8_t hash[MERKLE_HASH_BYTES];
    uint64_t last = size - 1;

    if (index >= size) {
        return ERR_MALFORMED;
    }
    memcpy(hash, leaf_hash, sizeof(hash));
    for (size_t i = 0; i < count; i++) {
        if (last == 0) {
            return ERR_MALFORMED;
        }
        if (climb(&index, &last)) {
            merkle_node_hash(proof[i], hash, hash);
        } else {
            merkle_node_hash(hash, proof[i], hash);
        }
    }
    if (last != 0) {
        return ERR_MALFORMED;
    }
    return memcmp(hash, root, sizeof(hash)) == 0 ? OK : ERR_INVALID;
}

/* The cases that have an empty proof. */
static enum err verify_without_proof(uint64_t old_size, uint64_t new_size,
                                     const uint8_t old_root[MERKLE_HASH_BYTES],
                                     const uint8_t new_root[MERKLE_HASH_BYTES], size_t count)
{
    uint8_t empty[MERKLE_HASH_BYTES];

    if (count != 0) {
        return ERR_MALFORMED;
    }
    if (old_size == new_size && memcmp(old_root, new_root, MERKLE_HASH_BYTES) != 0) {
        return ERR_INVALID;
    }
    empty_root(empty);
    return old_size > 0 || memcmp(old_root, empty, sizeof(empty)) == 0 ? OK : ERR_INVALID;
}

/* From the node that ends the old tree, to both roots: what is to the left of the way belongs to
 * both trees, what is to the right only to the new one. */
static enum err verify_path(uint64_t index, uint64_t last, const uint8_t start[MERKLE_HASH_BYTES],
                            const uint8_t proof[][MERKLE_HASH_BYTES], size_t count,
                            const uint8_t old_root[MERKLE_HASH_BYTES],
                            const uint8_t new_root[MERKLE_HASH_BYTES])
{
    uint8_t old_hash[MERKLE_HASH_BYTES];
    uint8_t new_hash[MERKLE_HASH_BYTES];

    memcpy(old_hash, start, sizeof(old_hash));
    memcpy(new_hash, start, sizeof(new_hash));
    for (size_t i = 0; i < count; i++) {
        if (last == 0) {
            return ERR_MALFORMED;
        }
        if (climb(&index, &last)) {
            merkle_node_hash(proof[i], old_hash, old_hash);
            merkle_node_hash(proof[i], new_hash, new_hash);
        } else {
            merkle_node_hash(new_hash, proof[i], new_hash);
        }
    }
    if (last != 0) {
        return ERR_MALFORMED;
    }
    return memcmp(old_hash, old_root, sizeof(old_hash)) == 0 &&
                   memcmp(new_hash, new_root, sizeof(new_hash)) == 0
               ? OK
               : ERR_INVALID;
}

enum err merkle_verify_consistency(uint64_t old_size, uint64_t new_size,
                                   const uint8_t old_root[MERKLE_HASH_BYTES],
                                   const uint8_t new_root[MERKLE_HASH_BYTES],
                                   const uint8_t proof[][MERKLE_HASH_BYTES], size_t count)
{
    if (old_size > new_size) {
        return ERR_MALFORMED;
    }
    if (old_size == 0 || old_size == new_size) {
        return verify_without_proof(old_size, new_size, old_root, new_root, count);
    }
    unsigned level = end_level(old_size);
    uint64_t index = (old_size >> level) - 1;
    uint64_t last = (new_size - 1) >> level;

    if (index == 0) { /* the old tree is one complete node: the proof leaves its hash out */
        return verify_path(index, last, old_root, proof, count, old_root, new_root);
    }
    if (count == 0) {
        return ERR_MALFORMED;
    }
    return verify_path(index, last, proof[0], proof + 1, count - 1, old_root, new_root);
}
