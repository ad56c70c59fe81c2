/* Secret: the one type that holds credentials. It cleanses itself, compares in constant time,
 * and has no way into a format string: whoever needs the bytes must say secret_reveal().
 * Any thread, one at a time. */
#ifndef COMMON_SECRET_H
#define COMMON_SECRET_H

#include "common/error.h"
#include "common/memory.h"

#include <stdbool.h>
#include <stddef.h>

struct secret;

/* From now on secrets, and the private keys that OpenSSL holds, are kept in a heap of at least so
 * many bytes that is locked in memory, lies between guard pages, and is left out of core images.
 * Once, before there are other threads. A secret that finds it full is kept in ordinary memory;
 * OpenSSL's own, such as the key of a TLS handshake, then fail. ERR_FULL: it is used, but may be
 * swapped out. ERR_UNAVAILABLE: secrets are kept in ordinary memory. */
enum err secret_heap_init(size_t bytes, struct error *error) MUST_CHECK;

/* Copies len bytes; the caller cleanses its own copy. */
struct secret *secret_new(const char *data, size_t len);
void secret_free(struct secret *secret);

bool secret_equal(const struct secret *a, const struct secret *b);

/* The bytes, followed by a NUL that is not counted; valid until secret_free(). */
const char *secret_reveal(const struct secret *secret, size_t *ret_len);

/* Overwrites every appearance of the secret in data with '*': what a peer echoes goes no further.
 * Returns how many there were. */
size_t secret_scrub(const struct secret *secret, char *data, size_t len);

/* Overwrites memory that held a secret, in a way no compiler removes. */
void secret_cleanse(void *data, size_t len);

#endif
