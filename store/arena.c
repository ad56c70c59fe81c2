/* Arena: see store_priv.h. A list of blocks; the first holds what most writes need. */
#include "store/store_priv.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES 2048

struct arena_block {
    struct arena_block *next;
    size_t used;
    size_t capacity;
    max_align_t data[];
};

void *arena_alloc(struct arena *arena, size_t size)
{
    struct arena_block *block = arena->blocks;
    size_t needed = (size + sizeof(void *) - 1) / sizeof(void *) * sizeof(void *);
    void *p;

    if (block == NULL || block->capacity - block->used < needed) {
        size_t capacity = needed > BLOCK_BYTES ? needed : BLOCK_BYTES;
        block = xcalloc(1, sizeof(*block) + capacity);
        block->capacity = capacity;
        block->next = arena->blocks;
        arena->blocks = block;
    }
    p = (char *)block->data + block->used;
    block->used += needed;
    arena->bytes += needed;
    return p;
}

char *arena_copy(struct arena *arena, const void *data, size_t len)
{
    char *copy = NULL;

    if (data != NULL) {
        copy = arena_alloc(arena, len + 1);
        memcpy(copy, data, len);
    }
    return copy;
}

char *arena_text(struct arena *arena, const char *text)
{
    return text != NULL ? arena_copy(arena, text, strlen(text)) : NULL;
}

void arena_done(struct arena *arena)
{
    while (arena->blocks != NULL) {
        struct arena_block *block = arena->blocks;
        arena->blocks = block->next;
        free(block);
    }
    arena->bytes = 0;
}
