/* Secret: see secret.h. */
#include "common/secret.h"

#include "common/crypto.h"
#include "common/memory.h"

#include <openssl/crypto.h>
#include <string.h>
#include <sys/resource.h>

struct secret {
    size_t len;
    char data[];
};

#define HEAP_LEAST_BLOCK 64 /* OpenSSL hands out powers of two, this being the smallest */

/* As much memory may be locked as the system lets us. */
static void raise_lock_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_MEMLOCK, &limit);
    }
}

enum err secret_heap_init(size_t bytes, struct error *error)
{
    size_t size = (size_t)64 * 1024;

    while (size < bytes) {
        size *= 2;
    }
    raise_lock_limit();
    switch (CRYPTO_secure_malloc_init(size, HEAP_LEAST_BLOCK)) {
    case 1:
        return OK;
    case 2:
        return error_set(error, ERR_FULL,
                         "%zu KiB for secrets cannot be locked in memory: they may be swapped out",
                         size / 1024);
    default:
        return error_set(error, ERR_UNAVAILABLE, "there is no secure heap");
    }
}

struct secret *secret_new(const char *data, size_t len)
{
    const size_t size = sizeof(struct secret) + len + 1;
    struct secret *secret = OPENSSL_secure_zalloc(size);

    if (secret == NULL) { /* the heap is full: better there than nowhere */
        secret = xcalloc(1, size);
    }
    secret->len = len;
    if (len > 0) {
        memcpy(secret->data, data, len);
    }
    return secret;
}

void secret_free(struct secret *secret)
{
    if (secret != NULL) {
        OPENSSL_secure_clear_free(secret, sizeof(*secret) + secret->len + 1);
    }
}

bool secret_equal(const struct secret *a, const struct secret *b)
{
    return a->len == b->len && crypto_equal(a->data, b->data, a->len);
}

const char *secret_reveal(const struct secret *secret, size_t *ret_len)
{
    if (ret_len != NULL) {
        *ret_len = secret->len;
    }
    return secret->data;
}

size_t secret_scrub(const struct secret *secret, char *data, size_t len)
{
    size_t found = 0;
    char *at = data;

    if (secret->len == 0) {
        return 0;
    }
    while ((at = memmem(at, len - (size_t)(at - data), secret->data, secret->len)) != NULL) {
        memset(at, '*', secret->len);
        found++;
    }
    return found;
}

void secret_cleanse(void *data, size_t len)
{
    OPENSSL_cleanse(data, len);
}
