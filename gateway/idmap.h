/* Idmap: a compact table from ids to numbers, for millions of them. It keeps a keyed 64-bit hash of
 * each id (SipHash-2-4, https://www.aumasson.jp/siphash/siphash.pdf), whose key nobody can know, so
 * that two ids are the same only by a chance of 1 in 10^19. Any thread, one at a time. */
#ifndef GATEWAY_IDMAP_H
#define GATEWAY_IDMAP_H

#include <stddef.h>
#include <stdint.h>

struct idmap {
    uint64_t key[2];
    struct idmap_slot *slots;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
};

void idmap_init(struct idmap *map);
void idmap_done(struct idmap *map);

/* What an id is in this map: never 0. */
uint64_t idmap_hash(const struct idmap *map, const char *id, size_t len);

/* The number of an id, borrowed until the next call that changes the map; NULL: it has none. */
uint64_t *idmap_find(const struct idmap *map, uint64_t hash);

/* Gives an id that has none a number. */
void idmap_add(struct idmap *map, uint64_t hash, uint64_t number);

/* Forgets an id, which may have none. */
void idmap_remove(struct idmap *map, uint64_t hash);

/* Forgets all, and frees the memory. */
void idmap_clear(struct idmap *map);

/* Calls each for all of them, in no order. */
void idmap_each(const struct idmap *map, void (*each)(uint64_t hash, uint64_t number, void *arg),
                void *arg);

#endif
