/* Crypto: see crypto.h. */
#include "common/crypto.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;
static EVP_MD *sha256; /* lives as long as the process */

static const char base32_alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";

static void die(const char *what)
{
    (void)fprintf(stderr, "{\"level\":\"error\",\"msg\":\"%s failed in OpenSSL\"}\n", what);
    abort();
}

/* SHA256() would look the algorithm up each time, which costs as much as hashing a key. */
static void fetch_sha256(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

void crypto_sha256(const void *data, size_t len, uint8_t ret_digest[SHA256_BYTES])
{
    if (pthread_once(&sha256_once, fetch_sha256) != 0 || sha256 == NULL ||
        EVP_Digest(data, len, ret_digest, NULL, sha256, NULL) != 1) {
        die("SHA-256");
    }
}

bool crypto_equal(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

void crypto_random(void *data, size_t len)
{
    if (RAND_bytes(data, (int)len) != 1) {
        die("random number generation");
    }
}

void crypto_hex(const uint8_t *data, size_t len, char *text)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < len; i++) {
        text[2 * i] = digits[data[i] >> 4];
        text[2 * i + 1] = digits[data[i] & 15];
    }
    text[2 * len] = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

enum err crypto_unhex(const char *text, uint8_t *ret_data, size_t len)
{
    if (strlen(text) != 2 * len) {
        return ERR_MALFORMED;
    }
    for (size_t i = 0; i < 2 * len; i++) {
        if (hex_value(text[i]) < 0) {
            return ERR_MALFORMED;
        }
    }
    for (size_t i = 0; i < len; i++) {
        ret_data[i] = (uint8_t)(hex_value(text[2 * i]) * 16 + hex_value(text[2 * i + 1]));
    }
    return OK;
}

void crypto_random_text(char *text, size_t count)
{
    crypto_random(text, count);
    for (size_t i = 0; i < count; i++) {
        text[i] = base32_alphabet[(uint8_t)text[i] & 31];
    }
    text[count] = '\0';
}

void crypto_checksum_text(const void *data, size_t len, char text[8])
{
    uint32_t crc = 0xFFFFFFFFU;
    const uint8_t *byte = data;

    for (size_t i = 0; i < len; i++) {
        crc ^= byte[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320U : 0);
        }
    }
    crc = ~crc;
    for (int i = 6; i >= 0; i--, crc >>= 5) {
        text[i] = base32_alphabet[crc & 31];
    }
    text[7] = '\0';
}
