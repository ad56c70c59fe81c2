/* Merkle: proofs, as a stranger sends them. The input is: how many leaves, two numbers below that,
 * which proof, and what to change in it. A proof as it is made verifies; with any of its hashes,
 * the leaf or a root changed, or with a hash more or less, it does not. What is left of the input
 * goes to the verifiers as it is, with numbers up to 2^64: they come back. */
#include "fuzz.h"

#include "common/merkle.h"

#include <assert.h>
#include <string.h>

#define MAX_LEAVES 64

static void leaf_of(size_t index, uint8_t ret_hash[MERKLE_HASH_BYTES])
{
    uint8_t record = (uint8_t)index;

    merkle_leaf_hash(&record, 1, ret_hash);
}

/* A complete node, from the leaves. */
static enum err get_node(unsigned level, uint64_t index, uint8_t ret_hash[MERKLE_HASH_BYTES],
                         void *arg)
{
    uint8_t left[MERKLE_HASH_BYTES];
    uint8_t right[MERKLE_HASH_BYTES];

    assert((index + 1) << level <= *(const size_t *)arg);
    if (level == 0) {
        leaf_of((size_t)index, ret_hash);
        return OK;
    }
    if (get_node(level - 1, 2 * index, left, arg) != OK ||
        get_node(level - 1, 2 * index + 1, right, arg) != OK) {
        return ERR_IO;
    }
    merkle_node_hash(left, right, ret_hash);
    return OK;
}

static void root_of(size_t size, uint8_t ret_root[MERKLE_HASH_BYTES])
{
    struct merkle_frontier frontier = {.size = 0};
    uint8_t leaf[MERKLE_HASH_BYTES];

    for (size_t i = 0; i < size; i++) {
        leaf_of(i, leaf);
        merkle_frontier_add(&frontier, leaf, NULL, NULL);
    }
    merkle_frontier_root(&frontier, ret_root);
}

static void check_inclusion(size_t index, size_t size, uint8_t change)
{
    uint8_t proof[MERKLE_INCLUSION_MAX][MERKLE_HASH_BYTES] = {{0}};
    uint8_t leaf[MERKLE_HASH_BYTES];
    uint8_t root[MERKLE_HASH_BYTES];
    size_t count = 0;
    enum err err = merkle_inclusion_proof(index, size, get_node, &size, proof, &count);

    leaf_of(index, leaf);
    root_of(size, root);
    assert(err == OK && count <= 6);
    assert(merkle_verify_inclusion(index, size, leaf, proof, count, root) == OK);
    assert(merkle_verify_inclusion(index, size, leaf, proof, count + 1, root) != OK);
    assert(count == 0 || merkle_verify_inclusion(index, size, leaf, proof, count - 1, root) != OK);
    if (change % 3 == 0 && count > 0) {
        proof[change % count][change % MERKLE_HASH_BYTES] ^= (uint8_t)(change | 1);
    } else if (change % 3 == 1) {
        leaf[change % MERKLE_HASH_BYTES] ^= (uint8_t)(change | 1);
    } else {
        root[change % MERKLE_HASH_BYTES] ^= (uint8_t)(change | 1);
    }
    assert(merkle_verify_inclusion(index, size, leaf, proof, count, root) != OK);
}

static void check_consistency(size_t old_size, size_t size, uint8_t change)
{
    uint8_t proof[MERKLE_CONSISTENCY_MAX][MERKLE_HASH_BYTES] = {{0}};
    uint8_t old_root[MERKLE_HASH_BYTES];
    uint8_t root[MERKLE_HASH_BYTES];
    size_t count = 0;
    enum err err = merkle_consistency_proof(old_size, size, get_node, &size, proof, &count);

    root_of(old_size, old_root);
    root_of(size, root);
    assert(err == OK && count <= 7);
    assert(merkle_verify_consistency(old_size, size, old_root, root, proof, count) == OK);
    assert(merkle_verify_consistency(old_size, size, old_root, root, proof, count + 1) != OK);
    if (change % 3 == 0 && count > 0) {
        proof[change % count][change % MERKLE_HASH_BYTES] ^= (uint8_t)(change | 1);
    } else {
        old_root[change % MERKLE_HASH_BYTES] ^= (uint8_t)(change | 1);
    }
    assert(merkle_verify_consistency(old_size, size, old_root, root, proof, count) != OK);
}

static void check_hostile(const uint8_t *data, size_t size)
{
    uint8_t proof[MERKLE_CONSISTENCY_MAX + 1][MERKLE_HASH_BYTES] = {{0}};
    uint8_t hash[MERKLE_HASH_BYTES] = {0};
    uint64_t numbers[2];
    size_t left;

    if (size < sizeof(numbers)) {
        return;
    }
    memcpy(numbers, data, sizeof(numbers));
    left = size - sizeof(numbers) < sizeof(proof) ? size - sizeof(numbers) : sizeof(proof);
    memcpy(proof, data + sizeof(numbers), left);
    /* The only leaf is the root, and equal sizes have equal roots: these need no proof. */
    assert(merkle_verify_inclusion(numbers[0], numbers[1], hash, proof, left / MERKLE_HASH_BYTES,
                                   hash) != OK ||
           (numbers[1] == 1 && left < MERKLE_HASH_BYTES));
    assert(merkle_verify_consistency(numbers[0], numbers[1], hash, hash, proof,
                                     left / MERKLE_HASH_BYTES) != OK ||
           (numbers[0] == numbers[1] && left < MERKLE_HASH_BYTES));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size >= 4) {
        size_t leaves = 1 + data[0] % MAX_LEAVES;
        check_inclusion(data[1] % leaves, leaves, data[3]);
        check_consistency(data[2] % (leaves + 1), leaves, data[3]);
        check_hostile(data + 4, size - 4);
    }
    return 0;
}
