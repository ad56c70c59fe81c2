/* Heap: a binary heap of pointers, least first. An item can be in several heaps: each heap keeps
 * the item's place in a size_t member of the item. Pure; one thread. */
#ifndef POLICY_HEAP_H
#define POLICY_HEAP_H

#include <stdbool.h>
#include <stddef.h>

/* Whether a goes before b; a total order. */
typedef bool (*heap_before)(const void *a, const void *b);

struct heap {
    void **items;
    size_t count;
    size_t capacity;
    heap_before before;
    size_t place; /* offset of the size_t member of an item that holds its place */
};

void heap_init(struct heap *heap, heap_before before, size_t place_offset);

/* Frees the heap's memory, not the items. */
void heap_done(struct heap *heap);

/* Adds an item whose place member is 0 (it is in no heap by that member). O(log n). */
void heap_add(struct heap *heap, void *item);

/* Takes an item out, wherever it stands; its place member is 0 then. O(log n). */
void heap_remove(struct heap *heap, void *item);

/* The least item, or NULL. */
void *heap_first(const struct heap *heap);

#endif
