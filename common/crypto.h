/* Crypto: thin names over OpenSSL. Any thread. Failure of the library here (no randomness, no
 * SHA-256) ends the process: there is nothing safe to go on with. */
#ifndef COMMON_CRYPTO_H
#define COMMON_CRYPTO_H

#include "common/error.h"
#include "common/memory.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES    32
#define SHA256_HEX_SIZE 65

void crypto_sha256(const void *data, size_t len, uint8_t ret_digest[SHA256_BYTES]);

/* Compares in time that does not depend on the contents. */
bool crypto_equal(const void *a, const void *b, size_t len);

void crypto_random(void *data, size_t len);

/* Lower-case hex with a NUL: text holds 2 * len + 1 bytes. */
void crypto_hex(const uint8_t *data, size_t len, char *text);

/* Reads exactly 2 * len hex digits (either case); ERR_MALFORMED for anything else. */
enum err crypto_unhex(const char *text, uint8_t *ret_data, size_t len) MUST_CHECK;

/* Writes count characters of Crockford's base 32 (lower case) and a NUL, 5 random bits each. */
void crypto_random_text(char *text, size_t count);

/* CRC-32 (IEEE 802.3) as Crockford base 32, 7 characters and a NUL: finds typing errors in
 * keys without asking anybody; it protects nothing. */
void crypto_checksum_text(const void *data, size_t len, char text[8]);

#endif
