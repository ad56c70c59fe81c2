/* Heap: see heap.h. Places are stored plus one, so that a zeroed item is in no heap. */
#include "policy/heap.h"

#include "common/memory.h"

#include <assert.h>
#include <stdlib.h>

void heap_init(struct heap *heap, heap_before before, size_t place_offset)
{
    *heap = (struct heap){.before = before, .place = place_offset};
}

void heap_done(struct heap *heap)
{
    free(heap->items);
    heap->items = NULL;
    heap->count = heap->capacity = 0;
}

static size_t *place_of(const struct heap *heap, void *item)
{
    return (size_t *)(void *)((char *)item + heap->place);
}

static void put(struct heap *heap, size_t at, void *item)
{
    heap->items[at] = item;
    *place_of(heap, item) = at + 1;
}

static void sift_up(struct heap *heap, size_t at)
{
    void *item = heap->items[at];

    while (at > 0 && heap->before(item, heap->items[(at - 1) / 2])) {
        put(heap, at, heap->items[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put(heap, at, item);
}

static void sift_down(struct heap *heap, size_t at)
{
    void *item = heap->items[at];

    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= heap->count) {
            break;
        }
        if (child + 1 < heap->count && heap->before(heap->items[child + 1], heap->items[child])) {
            child++;
        }
        if (!heap->before(heap->items[child], item)) {
            break;
        }
        put(heap, at, heap->items[child]);
        at = child;
    }
    put(heap, at, item);
}

void heap_add(struct heap *heap, void *item)
{
    assert(*place_of(heap, item) == 0);
    if (heap->count == heap->capacity) {
        heap->capacity = heap->capacity > 0 ? 2 * heap->capacity : 4;
        heap->items = xrealloc(heap->items, heap->capacity, sizeof(*heap->items));
    }
    heap->items[heap->count++] = item;
    sift_up(heap, heap->count - 1);
}

void heap_remove(struct heap *heap, void *item)
{
    size_t at = *place_of(heap, item) - 1;
    void *last = heap->items[heap->count - 1];

    assert(at < heap->count && heap->items[at] == item);
    *place_of(heap, item) = 0;
    heap->count--;
    if (last != item) {
        put(heap, at, last);
        sift_up(heap, at);
        sift_down(heap, *place_of(heap, last) - 1);
    }
}

void *heap_first(const struct heap *heap)
{
    return heap->count > 0 ? heap->items[0] : NULL;
}
