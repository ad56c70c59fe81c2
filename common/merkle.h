/* Merkle: the tree hashing of RFC 9162 §2.1 with SHA-256: hashes, the growing right edge of a tree,
 * inclusion and consistency proofs, and their verification. Pure: no I/O, no allocation but one
 * digest context for each thread, freed when the thread ends. Any thread; objects one at a time.
 * Failure of the library (no SHA-256) ends the process, as in crypto.h.
 *
 * Words: a node (level, index) is the hash over the leaves index * 2^level up to, not including,
 * (index + 1) * 2^level; level 0 are the leaf hashes. It is complete in a tree that has all of
 * them, and never changes after that: complete nodes are what is worth storing.
 * size is the number of leaves of a tree: any uint64_t unless said otherwise. */
#ifndef COMMON_MERKLE_H
#define COMMON_MERKLE_H

#include "common/error.h"
#include "common/memory.h"

#include <stddef.h>
#include <stdint.h>

#define MERKLE_HASH_BYTES      32
#define MERKLE_LEVELS          64
#define MERKLE_INCLUSION_MAX   64 /* hashes of the longest inclusion proof */
#define MERKLE_CONSISTENCY_MAX 65 /* hashes of the longest consistency proof */

/* SHA-256(0x00 || record). */
void merkle_leaf_hash(const void *record, size_t len, uint8_t ret_hash[MERKLE_HASH_BYTES]);

/* SHA-256(0x01 || left || right). ret_hash may be left or right. */
void merkle_node_hash(const uint8_t left[MERKLE_HASH_BYTES], const uint8_t right[MERKLE_HASH_BYTES],
                      uint8_t ret_hash[MERKLE_HASH_BYTES]);

/* Gives the complete node (level, index) of a stored tree. Its errors go unchanged to the caller of
 * the function that it was given to. */
typedef enum err (*merkle_get_cb)(unsigned level, uint64_t index,
                                  uint8_t ret_hash[MERKLE_HASH_BYTES], void *arg);

/* Is told an interior node (level >= 1) that an append made complete; hash is borrowed. */
typedef void (*merkle_node_cb)(unsigned level, uint64_t index,
                               const uint8_t hash[MERKLE_HASH_BYTES], void *arg);

/* ---- The frontier: all that an append and the root need to know of a tree ---- */

/* A value: zeroed it is the empty tree, and assignment copies it. */
struct merkle_frontier {
    uint64_t size;
    /* hash[level] is the last complete node of the level, where bit level of size is set; what is
     * elsewhere means nothing. */
    uint8_t hash[MERKLE_LEVELS][MERKLE_HASH_BYTES];
};

#define MERKLE_RESTORE_MAX (UINT64_C(1) << 63) /* leaves of a tree that can be restored */

/* Appends a leaf, whose index is the size before. on_node (may be NULL) is called during the call
 * for each interior node that is now complete, lowest level first: on average one. */
void merkle_frontier_add(struct merkle_frontier *frontier,
                         const uint8_t leaf_hash[MERKLE_HASH_BYTES], merkle_node_cb on_node,
                         void *arg);

/* The root hash of the tree; of the empty tree SHA-256 of nothing. */
void merkle_frontier_root(const struct merkle_frontier *frontier,
                          uint8_t ret_root[MERKLE_HASH_BYTES]);

/* Makes the frontier of the tree of that size from its complete nodes: asks for one for each bit
 * set in size, 64 at most. ERR_INVALID above MERKLE_RESTORE_MAX, else the errors of get; the
 * frontier is untouched then. */
enum err merkle_frontier_restore(struct merkle_frontier *frontier, uint64_t size, merkle_get_cb get,
                                 void *arg) MUST_CHECK;

/* ---- Proofs, from the stored nodes of a tree that has at least size leaves ---- */

/* They call get for complete nodes of the tree of that size only, at most 128 times, during the
 * call. On failure the proof may hold a part, and the other outputs are untouched. */

/* The root hash of the tree as it was at that size. The errors of get. */
enum err merkle_root_at(uint64_t size, merkle_get_cb get, void *arg,
                        uint8_t ret_root[MERKLE_HASH_BYTES]) MUST_CHECK;

/* RFC 9162 §2.1.3.1: that leaf index is in the tree of that size; leaf first, root last.
 * ERR_INVALID: index is not below size; else the errors of get. */
enum err merkle_inclusion_proof(uint64_t index, uint64_t size, merkle_get_cb get, void *arg,
                                uint8_t ret_proof[MERKLE_INCLUSION_MAX][MERKLE_HASH_BYTES],
                                size_t *ret_count) MUST_CHECK;

/* RFC 9162 §2.1.4.1: that the tree of new_size begins with the tree of old_size. Empty if the sizes
 * are equal, or old_size is 0, which everything begins with. ERR_INVALID: old_size is above
 * new_size; else the errors of get. */
enum err merkle_consistency_proof(uint64_t old_size, uint64_t new_size, merkle_get_cb get,
                                  void *arg,
                                  uint8_t ret_proof[MERKLE_CONSISTENCY_MAX][MERKLE_HASH_BYTES],
                                  size_t *ret_count) MUST_CHECK;

/* ---- Verification; every argument may come from a stranger ---- */

/* RFC 9162 §2.1.3.2. ERR_MALFORMED: index is not below size, or the proof has not the number of
 * hashes that these ask for; ERR_INVALID: it does not lead from the leaf to the root. */
enum err merkle_verify_inclusion(uint64_t index, uint64_t size,
                                 const uint8_t leaf_hash[MERKLE_HASH_BYTES],
                                 const uint8_t proof[][MERKLE_HASH_BYTES], size_t count,
                                 const uint8_t root[MERKLE_HASH_BYTES]) MUST_CHECK;

/* RFC 9162 §2.1.4.2, and the two cases that have an empty proof: equal sizes have equal roots, and
 * the old tree without leaves has the root of the empty tree. ERR_MALFORMED: old_size is above
 * new_size, or the number of hashes is wrong; ERR_INVALID: it does not lead to both roots. */
enum err merkle_verify_consistency(uint64_t old_size, uint64_t new_size,
                                   const uint8_t old_root[MERKLE_HASH_BYTES],
                                   const uint8_t new_root[MERKLE_HASH_BYTES],
                                   const uint8_t proof[][MERKLE_HASH_BYTES],
                                   size_t count) MUST_CHECK;

#endif
