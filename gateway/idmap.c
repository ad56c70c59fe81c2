/* Idmap: see idmap.h. Open addressing with linear probing; removing moves back what came later, so
 * there are no marks of the removed. */
#include "gateway/idmap.h"

#include "common/crypto.h"
#include "common/memory.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 64

struct idmap_slot {
    uint64_t hash; /* 0: free */
    uint64_t number;
};

void idmap_init(struct idmap *map)
{
    *map = (struct idmap){0};
    crypto_random(map->key, sizeof(map->key));
}

void idmap_done(struct idmap *map)
{
    idmap_clear(map);
}

void idmap_clear(struct idmap *map)
{
    free(TAKE(map->slots));
    map->capacity = 0;
    map->count = 0;
}

static uint64_t rotate(uint64_t value, unsigned bits)
{
    return value << bits | value >> (64 - bits);
}

static void mix(uint64_t v[4], int rounds)
{
    for (int i = 0; i < rounds; i++) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] = rotate(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] = rotate(v[2], 32);
    }
}

uint64_t idmap_hash(const struct idmap *map, const char *id, size_t len)
{
    uint64_t v[4] = {
        map->key[0] ^ UINT64_C(0x736f6d6570736575), map->key[1] ^ UINT64_C(0x646f72616e646f6d),
        map->key[0] ^ UINT64_C(0x6c7967656e657261), map->key[1] ^ UINT64_C(0x7465646279746573)};
    uint64_t hash;

    for (size_t at = 0; at <= len; at += 8) {
        /* Bytes as this machine orders them: the hash never leaves it. The last word has the
         * length too. */
        uint64_t word = 0;
        size_t left = len - at;
        memcpy(&word, id + at, left < 8 ? left : 8);
        if (left < 8) {
            word ^= (uint64_t)len << 56;
        }
        v[3] ^= word;
        mix(v, 2);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    mix(v, 4);
    hash = v[0] ^ v[1] ^ v[2] ^ v[3];
    return hash != 0 ? hash : 1;
}

/* The slot that has the hash, or the free one where it would be. */
static struct idmap_slot *slot_of(const struct idmap *map, uint64_t hash)
{
    size_t at = hash & (map->capacity - 1);

    while (map->slots[at].hash != 0 && map->slots[at].hash != hash) {
        at = (at + 1) & (map->capacity - 1);
    }
    return &map->slots[at];
}

uint64_t *idmap_find(const struct idmap *map, uint64_t hash)
{
    struct idmap_slot *slot;

    if (map->count == 0) {
        return NULL;
    }
    slot = slot_of(map, hash);
    return slot->hash != 0 ? &slot->number : NULL;
}

static void grow(struct idmap *map)
{
    struct idmap old = *map;

    map->capacity = old.capacity > 0 ? old.capacity * 2 : FIRST_CAPACITY;
    map->slots = xcalloc(map->capacity, sizeof(*map->slots));
    for (size_t i = 0; i < old.capacity; i++) {
        if (old.slots[i].hash != 0) {
            *slot_of(map, old.slots[i].hash) = old.slots[i];
        }
    }
    free(old.slots);
}

void idmap_add(struct idmap *map, uint64_t hash, uint64_t number)
{
    if (map->count >= map->capacity - map->capacity / 4) {
        grow(map);
    }
    *slot_of(map, hash) = (struct idmap_slot){hash, number};
    map->count++;
}

void idmap_remove(struct idmap *map, uint64_t hash)
{
    size_t mask = map->capacity - 1;
    struct idmap_slot *slot;
    size_t hole;

    if (map->count == 0 || (slot = slot_of(map, hash))->hash == 0) {
        return;
    }
    hole = (size_t)(slot - map->slots);
    for (size_t at = (hole + 1) & mask; map->slots[at].hash != 0; at = (at + 1) & mask) {
        size_t home = map->slots[at].hash & mask;
        /* It may move to the hole unless its home lies behind that. */
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            map->slots[hole] = map->slots[at];
            hole = at;
        }
    }
    map->slots[hole].hash = 0;
    map->count--;
}

void idmap_each(const struct idmap *map, void (*each)(uint64_t hash, uint64_t number, void *arg),
                void *arg)
{
    for (size_t i = 0; i < map->capacity; i++) {
        if (map->slots[i].hash != 0) {
            each(map->slots[i].hash, map->slots[i].number, arg);
        }
    }
}
