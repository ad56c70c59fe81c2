/* Secret: the one type that holds credentials. It cleanses itself, compares in constant time,
 * and has no way into a format string: whoever needs the bytes must say secret_reveal().
 * Any thread, one at a time. */
#ifndef COMMON_SECRET_H
#define COMMON_SECRET_H

#include <stdbool.h>
#include <stddef.h>

struct secret;

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
