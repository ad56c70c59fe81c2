/* Signing key: Ed25519 (RFC 8032) over OpenSSL. A private key is opaque and cleansed when it is
 * freed; a public key is its 32 bytes. No error text holds a byte of a private key.
 * Any thread; one key may sign on several threads at once. The OpenSSL error queue of the thread is
 * left as it was. Failure of the library (no randomness, no Ed25519) ends the process, as in
 * crypto.h. */
#ifndef COMMON_SIGNING_KEY_H
#define COMMON_SIGNING_KEY_H

#include "common/error.h"
#include "common/memory.h"
#include "common/secret.h"

#include <stddef.h>
#include <stdint.h>

#define PUBLIC_KEY_BYTES   32
#define SIGNATURE_BYTES    64
#define KEY_FILE_MAX_BYTES 8192

struct signing_key;

/* Makes a new key; never NULL. */
struct signing_key *signing_key_generate(void);
void signing_key_free(struct signing_key *key);

/* The private key as PKCS#8 PEM (RFC 8410: "BEGIN PRIVATE KEY", not encrypted). The caller frees.
 */
struct secret *signing_key_pem(const struct signing_key *key);

/* Reads exactly that, with nothing but white space after it. ERR_MALFORMED: it is something else,
 * an encrypted key or one of another kind included. */
enum err signing_key_from_pem(const char *pem, size_t len, struct signing_key **ret_key,
                              struct error *error) MUST_CHECK;

/* Reads a PEM file with the checks of file_read_secret(), and its errors; else as
 * signing_key_from_pem(). The error names the file. Blocks on the disk. */
enum err signing_key_load(const char *path, struct signing_key **ret_key,
                          struct error *error) MUST_CHECK;

/* Writes a new PEM file with mode 0600, durable when it returns. Never overwrites: ERR_EXISTS.
 * ERR_IO: nothing is left of it. The error names the file. Blocks on the disk. */
enum err signing_key_save(const struct signing_key *key, const char *path,
                          struct error *error) MUST_CHECK;

/* The signature over len bytes, PureEdDSA: no digest first, no context. */
void signing_key_sign(const struct signing_key *key, const void *data, size_t len,
                      uint8_t ret_signature[SIGNATURE_BYTES]);

void signing_key_public(const struct signing_key *key, uint8_t ret_public_key[PUBLIC_KEY_BYTES]);

/* ERR_INVALID: this is not the signature of that key over the data, or the key is none. */
enum err public_key_verify(const uint8_t public_key[PUBLIC_KEY_BYTES], const void *data, size_t len,
                           const uint8_t signature[SIGNATURE_BYTES]) MUST_CHECK;

/* SubjectPublicKeyInfo as PEM ("BEGIN PUBLIC KEY", RFC 8410), as openssl pkeyutl -verify -pubin
 * -rawin takes it. The caller frees. A public key file that holds this or a vkey is read by
 * note_load_verifier() in note.h. */
char *public_key_pem(const uint8_t public_key[PUBLIC_KEY_BYTES]);

/* Reads exactly that, with nothing but white space after it. ERR_MALFORMED: it is something
 * else, a public key of another kind included. */
enum err public_key_from_pem(const char *pem, size_t len, uint8_t ret_public_key[PUBLIC_KEY_BYTES],
                             struct error *error) MUST_CHECK;

#endif
