/* Wipe: see wipe.h. What is overwritten is all that the allocator gave, not only what was asked
 * for: both are the caller's to write to. */
#include "common/wipe.h"

#include <assert.h>
#include <event2/event.h>
#include <jansson.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

void *wipe_malloc(size_t size)
{
    return malloc(size);
}

void *wipe_calloc(size_t count, size_t size)
{
    return calloc(count, size);
}

/* realloc() would leave the old copy behind. */
void *wipe_realloc(void *p, size_t size)
{
    size_t old = p != NULL ? malloc_usable_size(p) : 0;
    void *moved;

    if (p != NULL && size == 0) {
        wipe_free(p);
        return NULL;
    }
    if (p != NULL && size <= old) {
        return p;
    }
    moved = malloc(size > 0 ? size : 1);
    if (moved != NULL && p != NULL) {
        memcpy(moved, p, old < size ? old : size);
        wipe_free(p);
    }
    return moved;
}

char *wipe_strdup(const char *text)
{
    return strdup(text);
}

void wipe_free(void *p)
{
    if (p != NULL) {
        explicit_bzero(p, malloc_usable_size(p));
        free(p);
    }
}

static void *openssl_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return wipe_malloc(size);
}

static void *openssl_realloc(void *p, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return wipe_realloc(p, size);
}

static void openssl_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    wipe_free(p);
}

void wipe_libraries(void)
{
    /* Refused once OpenSSL has allocated, which it must not have. */
    int taken = CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free);

    assert(taken == 1);
    (void)taken;
    event_set_mem_functions(wipe_malloc, wipe_realloc, wipe_free);
    json_set_alloc_funcs(wipe_malloc, wipe_free);
}
