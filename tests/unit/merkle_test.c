/* Tests of common/merkle: known vectors, and every tree of up to MANY leaves against the
 * definitions of RFC 9162 §2.1, written down here once more, recursively and without wit. */
#include "common/crypto.h"
#include "common/merkle.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

#define MANY 130

typedef uint8_t hash_bytes[MERKLE_HASH_BYTES];

/* ---- The definitions of the RFC ---- */

static void naive_node(const hash_bytes left, const hash_bytes right, hash_bytes ret)
{
    uint8_t bytes[65] = {0x01};

    memcpy(bytes + 1, left, 32);
    memcpy(bytes + 33, right, 32);
    crypto_sha256(bytes, sizeof(bytes), ret);
}

/* The largest power of two smaller than n. */
static size_t naive_split(size_t n)
{
    size_t k = 1;

    while (2 * k < n) {
        k *= 2;
    }
    return k;
}

/* §2.1.1: MTH(D_n), of leaf hashes. */
static void naive_root(hash_bytes *leaves, size_t n, hash_bytes ret)
{
    hash_bytes left;
    hash_bytes right;

    if (n == 0) {
        crypto_sha256("", 0, ret);
    } else if (n == 1) {
        memcpy(ret, leaves[0], 32);
    } else {
        size_t k = naive_split(n);
        naive_root(leaves, k, left);
        naive_root(leaves + k, n - k, right);
        naive_node(left, right, ret);
    }
}

/* §2.1.3.1: PATH(m, D_n). Returns the number of hashes. */
static size_t naive_path(size_t m, hash_bytes *leaves, size_t n, hash_bytes *ret)
{
    size_t count = 0;

    if (n > 1) {
        size_t k = naive_split(n);
        if (m < k) {
            count = naive_path(m, leaves, k, ret);
            naive_root(leaves + k, n - k, ret[count]);
        } else {
            count = naive_path(m - k, leaves + k, n - k, ret);
            naive_root(leaves, k, ret[count]);
        }
        count++;
    }
    return count;
}

/* §2.1.4.1: SUBPROOF(m, D_n, b). */
static size_t naive_subproof(size_t m, hash_bytes *leaves, size_t n, bool known, hash_bytes *ret)
{
    size_t count = 0;

    if (m == n) {
        if (!known) {
            naive_root(leaves, m, ret[count++]);
        }
        return count;
    }
    size_t k = naive_split(n);
    if (m <= k) {
        count = naive_subproof(m, leaves, k, known, ret);
        naive_root(leaves + k, n - k, ret[count]);
    } else {
        count = naive_subproof(m - k, leaves + k, n - k, false, ret);
        naive_root(leaves, k, ret[count]);
    }
    return count + 1;
}

/* ---- A stored tree ---- */

struct tree {
    struct merkle_frontier frontier;
    hash_bytes node[9][256];
    hash_bytes root[MANY + 1]; /* of each size */
    uint64_t told;             /* interior nodes */
    uint64_t asked_size;       /* nodes not complete in a tree of this size may not be asked for */
    uint64_t asked;
    uint64_t fail_at; /* the call of get that fails; 0: none */
};

static struct tree tree;

static void on_node(unsigned level, uint64_t index, const uint8_t *hash, void *arg)
{
    struct tree *to = arg;

    assert_in_range(level, 1, 8);
    assert_true(index == (to->frontier.size >> level));
    memcpy(to->node[level][index], hash, 32);
    to->told++;
}

static enum err get_node(unsigned level, uint64_t index, uint8_t *ret_hash, void *arg)
{
    struct tree *from = arg;

    assert_in_range(level, 0, 8);
    assert_true(index < from->asked_size >> level);
    if (++from->asked == from->fail_at) {
        return ERR_IO;
    }
    memcpy(ret_hash, from->node[level][index], 32);
    return OK;
}

static int tree_setup(void **state)
{
    memset(&tree, 0, sizeof(tree));
    merkle_frontier_root(&tree.frontier, tree.root[0]);
    for (unsigned i = 0; i < MANY; i++) {
        char record[16];
        int len = snprintf(record, sizeof(record), "record %u", i);

        merkle_leaf_hash(record, (size_t)len, tree.node[0][i]);
        merkle_frontier_add(&tree.frontier, tree.node[0][i], on_node, &tree);
        merkle_frontier_root(&tree.frontier, tree.root[i + 1]);
    }
    *state = &tree;
    return 0;
}

/* SplitMix64: the same numbers in every run. */
static uint64_t next_random(void)
{
    static uint64_t state = 1;
    uint64_t z = state += UINT64_C(0x9E3779B97F4A7C15);

    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static unsigned next_bit(void)
{
    return (unsigned)(next_random() % 256);
}

static void flip(uint8_t *hash, unsigned bit)
{
    hash[bit / 8] ^= (uint8_t)(1U << (bit % 8));
}

/* ---- Known vectors: those of the Certificate Transparency reference implementation ---- */

static const char *const ct_leaves[] = {
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
};

static const char *const ct_roots[] = {
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
};

struct ct_proof {
    bool inclusion;
    uint64_t first; /* index of the leaf, or old size */
    uint64_t size;
    const char *hashes[4];
};

static const struct ct_proof ct_proofs[] = {
    {true, 0, 1, {NULL}},
    {true,
     0,
     8,
     {"96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
      "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
      "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"}},
    {true,
     5,
     8,
     {"bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
      "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
      "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"}},
    {true, 2, 3, {"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"}},
    {true,
     1,
     5,
     {"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
      "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
      "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"}},
    {false, 1, 1, {NULL}},
    {false,
     1,
     8,
     {"96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
      "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
      "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"}},
    {false,
     6,
     8,
     {"0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
      "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
      "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"}},
    {false,
     2,
     5,
     {"5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
      "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"}},
};

static void assert_hash_hex(const uint8_t *hash, const char *hex)
{
    char text[SHA256_HEX_SIZE];

    crypto_hex(hash, 32, text);
    assert_string_equal(text, hex);
}

static void ct_tree(struct tree *ct)
{
    for (size_t i = 0; i < ARRAY_LEN(ct_leaves); i++) {
        uint8_t record[16];
        size_t len = strlen(ct_leaves[i]) / 2;

        assert_int_equal(crypto_unhex(ct_leaves[i], record, len), OK);
        merkle_leaf_hash(record, len, ct->node[0][i]);
        merkle_frontier_add(&ct->frontier, ct->node[0][i], on_node, ct);
        merkle_frontier_root(&ct->frontier, ct->root[i + 1]);
        assert_hash_hex(ct->root[i + 1], ct_roots[i + 1]);
    }
}

static void test_known_vectors(void **state)
{
    static struct tree ct;
    hash_bytes proof[MERKLE_CONSISTENCY_MAX];

    (void)state;
    merkle_frontier_root(&ct.frontier, ct.root[0]);
    assert_hash_hex(ct.root[0], ct_roots[0]);
    ct_tree(&ct);
    for (size_t i = 0; i < ARRAY_LEN(ct_proofs); i++) {
        const struct ct_proof *known = &ct_proofs[i];
        size_t count = 99;

        ct.asked_size = known->size;
        if (known->inclusion) {
            assert_int_equal(
                merkle_inclusion_proof(known->first, known->size, get_node, &ct, proof, &count),
                OK);
        } else {
            assert_int_equal(
                merkle_consistency_proof(known->first, known->size, get_node, &ct, proof, &count),
                OK);
        }
        for (size_t j = 0; j < count; j++) {
            assert_non_null(known->hashes[j]);
            assert_hash_hex(proof[j], known->hashes[j]);
        }
        assert_null(known->hashes[count]);
    }
}

/* ---- Properties ---- */

static void test_roots_are_those_of_the_definition(void **state)
{
    struct tree *all = *state;
    hash_bytes root;

    for (size_t n = 0; n <= MANY; n++) {
        naive_root(all->node[0], n, root);
        assert_memory_equal(all->root[n], root, 32);
        all->asked_size = n;
        memset(root, 0, sizeof(root));
        assert_int_equal(merkle_root_at(n, get_node, all, root), OK);
        assert_memory_equal(all->root[n], root, 32);
    }
    assert_true(all->told == (uint64_t)(MANY - __builtin_popcount(MANY)));
}

static void test_a_restored_frontier_goes_on_as_the_original(void **state)
{
    struct tree *all = *state;
    hash_bytes root;

    for (size_t n = 0; n <= MANY; n++) {
        struct merkle_frontier frontier;
        struct merkle_frontier copy;

        memset(&frontier, 0xAA, sizeof(frontier));
        all->asked_size = n;
        assert_int_equal(merkle_frontier_restore(&frontier, n, get_node, all), OK);
        copy = frontier;
        merkle_frontier_root(&frontier, root);
        assert_memory_equal(root, all->root[n], 32);
        for (size_t i = n; i < MANY; i++) {
            merkle_frontier_add(&frontier, all->node[0][i], NULL, NULL);
        }
        merkle_frontier_root(&frontier, root);
        assert_memory_equal(root, all->root[MANY], 32);
        merkle_frontier_root(&copy, root);
        assert_memory_equal(root, all->root[n], 32);
    }
}

/* Changes one bit of every hash, each of them in small trees, and the number of hashes. */
static void check_inclusion_changes(struct tree *all, uint64_t index, uint64_t size,
                                    hash_bytes *proof, size_t count)
{
    hash_bytes leaf;
    hash_bytes root;
    unsigned step = size <= 9 ? 1 : 256;

    memcpy(leaf, all->node[0][index], 32);
    memcpy(root, all->root[size], 32);
    for (size_t i = 0; i < count + 2; i++) {
        uint8_t *changed = i < count ? proof[i] : i == count ? leaf : root;

        for (unsigned bit = next_bit() % step; bit < 256; bit += step) {
            flip(changed, bit);
            assert_int_equal(merkle_verify_inclusion(index, size, leaf, proof, count, root),
                             ERR_INVALID);
            flip(changed, bit);
        }
    }
    for (unsigned bit = 0; bit < 64; bit++) {
        assert_int_not_equal(
            merkle_verify_inclusion(index ^ UINT64_C(1) << bit, size, leaf, proof, count, root),
            OK);
    }
    assert_int_equal(merkle_verify_inclusion(index, size, leaf, proof, count + 1, root),
                     ERR_MALFORMED);
    if (count > 0) {
        assert_int_equal(merkle_verify_inclusion(index, size, leaf, proof, count - 1, root),
                         ERR_MALFORMED);
    }
}

static void test_every_inclusion_proof(void **state)
{
    struct tree *all = *state;
    hash_bytes proof[MERKLE_INCLUSION_MAX] = {{0}};
    hash_bytes naive[MERKLE_INCLUSION_MAX];

    for (uint64_t size = 1; size <= MANY; size++) {
        all->asked_size = size;
        for (uint64_t index = 0; index < size; index++) {
            size_t count = 99;

            assert_int_equal(merkle_inclusion_proof(index, size, get_node, all, proof, &count), OK);
            assert_int_equal(naive_path(index, all->node[0], size, naive), count);
            assert_memory_equal(proof, naive, count * 32);
            assert_int_equal(merkle_verify_inclusion(index, size, all->node[0][index], proof, count,
                                                     all->root[size]),
                             OK);
            check_inclusion_changes(all, index, size, proof, count);
        }
    }
}

static void check_consistency_changes(struct tree *all, uint64_t old_size, uint64_t new_size,
                                      hash_bytes *proof, size_t count)
{
    hash_bytes old_root;
    hash_bytes new_root;
    unsigned step = new_size <= 9 ? 1 : 256;

    memcpy(old_root, all->root[old_size], 32);
    memcpy(new_root, all->root[new_size], 32);
    for (size_t i = 0; i < count + 2; i++) {
        uint8_t *changed = i < count ? proof[i] : i == count ? old_root : new_root;

        if (i == count + 1 && old_size == 0 && new_size > 0) {
            continue; /* every tree begins with the empty one */
        }
        for (unsigned bit = next_bit() % step; bit < 256; bit += step) {
            flip(changed, bit);
            assert_int_equal(
                merkle_verify_consistency(old_size, new_size, old_root, new_root, proof, count),
                ERR_INVALID);
            flip(changed, bit);
        }
    }
    assert_int_equal(
        merkle_verify_consistency(old_size, new_size, old_root, new_root, proof, count + 1),
        ERR_MALFORMED);
    if (count > 0) {
        assert_int_equal(
            merkle_verify_consistency(old_size, new_size, old_root, new_root, proof, count - 1),
            ERR_MALFORMED);
    }
}

static void test_every_consistency_proof(void **state)
{
    struct tree *all = *state;
    hash_bytes proof[MERKLE_CONSISTENCY_MAX] = {{0}};
    hash_bytes naive[MERKLE_CONSISTENCY_MAX];

    for (uint64_t new_size = 0; new_size <= MANY; new_size++) {
        all->asked_size = new_size;
        for (uint64_t old_size = 0; old_size <= new_size; old_size++) {
            size_t count = 99;

            assert_int_equal(
                merkle_consistency_proof(old_size, new_size, get_node, all, proof, &count), OK);
            if (old_size > 0) {
                assert_int_equal(naive_subproof(old_size, all->node[0], new_size, true, naive),
                                 count);
                assert_memory_equal(proof, naive, count * 32);
            } else {
                assert_int_equal(count, 0);
            }
            assert_int_equal(merkle_verify_consistency(old_size, new_size, all->root[old_size],
                                                       all->root[new_size], proof, count),
                             OK);
            check_consistency_changes(all, old_size, new_size, proof, count);
        }
    }
}

/* ---- Large trees: all leaves alike but the one that is marked ---- */

struct large_tree {
    uint64_t mark;
    uint64_t size;
    hash_bytes alike[MERKLE_LEVELS];
    hash_bytes marked[MERKLE_LEVELS]; /* the nodes above the mark */
};

static void large_init(struct large_tree *large, uint64_t mark, uint64_t size)
{
    large->mark = mark;
    large->size = size;
    merkle_leaf_hash("alike", 5, large->alike[0]);
    merkle_leaf_hash("marked", 6, large->marked[0]);
    for (unsigned level = 1; level < MERKLE_LEVELS; level++) {
        const uint8_t *other = large->alike[level - 1];
        const uint8_t *path = large->marked[level - 1];
        bool right = (mark >> (level - 1) & 1) != 0;

        naive_node(other, other, large->alike[level]);
        naive_node(right ? other : path, right ? path : other, large->marked[level]);
    }
}

static enum err get_large(unsigned level, uint64_t index, uint8_t *ret_hash, void *arg)
{
    const struct large_tree *from = arg;

    assert_in_range(level, 0, 63);
    assert_true(index < from->size >> level);
    memcpy(ret_hash, index == from->mark >> level ? from->marked[level] : from->alike[level], 32);
    return OK;
}

static void check_large_inclusion(struct large_tree *large)
{
    hash_bytes proof[MERKLE_INCLUSION_MAX];
    hash_bytes root;
    size_t count = 99;

    assert_int_equal(merkle_root_at(large->size, get_large, large, root), OK);
    assert_int_equal(
        merkle_inclusion_proof(large->mark, large->size, get_large, large, proof, &count), OK);
    assert_true(count <= MERKLE_INCLUSION_MAX);
    assert_int_equal(
        merkle_verify_inclusion(large->mark, large->size, large->marked[0], proof, count, root),
        OK);
    for (unsigned bit = 0; bit < 64; bit++) {
        assert_int_not_equal(merkle_verify_inclusion(large->mark ^ UINT64_C(1) << bit, large->size,
                                                     large->marked[0], proof, count, root),
                             OK);
    }
    assert_int_equal(
        merkle_verify_inclusion(large->mark, large->size, large->alike[0], proof, count, root),
        ERR_INVALID);
}

static void check_large_consistency(struct large_tree *large, uint64_t old_size)
{
    hash_bytes proof[MERKLE_CONSISTENCY_MAX];
    hash_bytes old_root;
    hash_bytes new_root;
    size_t count = 99;

    assert_int_equal(merkle_root_at(old_size, get_large, large, old_root), OK);
    assert_int_equal(merkle_root_at(large->size, get_large, large, new_root), OK);
    assert_int_equal(
        merkle_consistency_proof(old_size, large->size, get_large, large, proof, &count), OK);
    assert_true(count <= MERKLE_CONSISTENCY_MAX);
    assert_int_equal(
        merkle_verify_consistency(old_size, large->size, old_root, new_root, proof, count), OK);
    if (old_size > 0 && old_size < large->size) {
        flip(count > 0 ? proof[next_bit() % count] : new_root, next_bit());
        assert_int_equal(
            merkle_verify_consistency(old_size, large->size, old_root, new_root, proof, count),
            ERR_INVALID);
    }
}

static void check_large_frontier(struct large_tree *large)
{
    struct merkle_frontier frontier = {.size = 7};
    hash_bytes root;
    hash_bytes restored;
    enum err err = merkle_frontier_restore(&frontier, large->size, get_large, large);

    if (large->size > MERKLE_RESTORE_MAX) {
        assert_int_equal(err, ERR_INVALID);
        assert_true(frontier.size == 7);
        return;
    }
    assert_int_equal(err, OK);
    assert_int_equal(merkle_root_at(large->size, get_large, large, root), OK);
    merkle_frontier_root(&frontier, restored);
    assert_memory_equal(root, restored, 32);
}

static void test_large_trees(void **state)
{
    static const uint64_t sizes[] = {
        UINT64_MAX,         UINT64_MAX - 1,      MERKLE_RESTORE_MAX + 1,
        MERKLE_RESTORE_MAX, (uint64_t)INT64_MAX, UINT64_C(1000000007)};

    (void)state;
    for (unsigned i = 0; i < 300; i++) {
        struct large_tree large;
        uint64_t size = i < ARRAY_LEN(sizes) ? sizes[i] : (next_random() >> i % 60) + 1;

        large_init(&large, i % 7 == 0 ? size - 1 : next_random() % size, size);
        check_large_inclusion(&large);
        check_large_consistency(&large, next_random() % size);
        check_large_consistency(&large, size - 1);
        check_large_consistency(&large, UINT64_C(1) << (63 - __builtin_clzll(size)));
        check_large_frontier(&large);
    }
}

/* ---- Threads ---- */

/* A context is a thread's own, and ends with it: the leak checker looks on. */
static void *hash_in_thread(void *arg)
{
    struct tree *all = arg;
    hash_bytes root;

    for (unsigned round = 0; round < 20; round++) {
        struct merkle_frontier frontier = {0};

        for (size_t i = 0; i < MANY; i++) {
            merkle_frontier_add(&frontier, all->node[0][i], NULL, NULL);
            merkle_frontier_root(&frontier, root);
            if (memcmp(root, all->root[i + 1], 32) != 0) {
                return arg;
            }
        }
    }
    return NULL;
}

static void test_threads_do_not_disturb_each_other(void **state)
{
    pthread_t threads[4];

    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, hash_in_thread, *state), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        void *failed = NULL;

        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
}

/* ---- Errors ---- */

static void test_errors_of_the_reader_come_through(void **state)
{
    struct tree *all = *state;
    struct merkle_frontier frontier = {.size = 7};
    hash_bytes proof[MERKLE_CONSISTENCY_MAX];
    hash_bytes root = {5};
    size_t count = 99;

    all->asked_size = 107;
    for (all->fail_at = 1; all->fail_at <= 5; all->fail_at++) { /* 107 has five bits set */
        all->asked = 0;
        assert_int_equal(merkle_root_at(107, get_node, all, root), ERR_IO);
        all->asked = 0;
        assert_int_equal(merkle_frontier_restore(&frontier, 107, get_node, all), ERR_IO);
        all->asked = 0;
        assert_int_equal(merkle_inclusion_proof(37, 107, get_node, all, proof, &count), ERR_IO);
        all->asked = 0;
        assert_int_equal(merkle_consistency_proof(37, 107, get_node, all, proof, &count), ERR_IO);
    }
    all->fail_at = 0;
    assert_true(frontier.size == 7 && root[0] == 5 && count == 99);
}

static void test_impossible_requests_are_refused(void **state)
{
    struct tree *all = *state;
    hash_bytes proof[MERKLE_CONSISTENCY_MAX] = {{0}};
    size_t count = 99;

    all->asked_size = 0;
    assert_int_equal(merkle_inclusion_proof(0, 0, get_node, all, proof, &count), ERR_INVALID);
    assert_int_equal(merkle_inclusion_proof(8, 8, get_node, all, proof, &count), ERR_INVALID);
    assert_int_equal(merkle_consistency_proof(9, 8, get_node, all, proof, &count), ERR_INVALID);
    assert_int_equal(count, 99);
    assert_int_equal(merkle_verify_inclusion(0, 0, all->root[0], proof, 0, all->root[0]),
                     ERR_MALFORMED);
    assert_int_equal(merkle_verify_consistency(1, 0, all->root[0], all->root[0], proof, 0),
                     ERR_MALFORMED);
    assert_int_equal(merkle_verify_consistency(0, 5, all->root[1], all->root[5], proof, 0),
                     ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_vectors),
        cmocka_unit_test(test_roots_are_those_of_the_definition),
        cmocka_unit_test(test_a_restored_frontier_goes_on_as_the_original),
        cmocka_unit_test(test_every_inclusion_proof),
        cmocka_unit_test(test_every_consistency_proof),
        cmocka_unit_test(test_large_trees),
        cmocka_unit_test(test_threads_do_not_disturb_each_other),
        cmocka_unit_test(test_errors_of_the_reader_come_through),
        cmocka_unit_test(test_impossible_requests_are_refused),
    };

    return cmocka_run_group_tests(tests, tree_setup, NULL);
}
