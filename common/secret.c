/* Secret: see secret.h. */
#include "common/secret.h"

#include "common/crypto.h"
#include "common/memory.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

struct secret {
    size_t len;
    char data[];
};

struct secret *secret_new(const char *data, size_t len)
{
    struct secret *secret = xcalloc(1, sizeof(*secret) + len + 1);

    secret->len = len;
    if (len > 0) {
        memcpy(secret->data, data, len);
    }
    return secret;
}

void secret_free(struct secret *secret)
{
    if (secret != NULL) {
        OPENSSL_cleanse(secret, sizeof(*secret) + secret->len + 1);
        free(secret);
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
