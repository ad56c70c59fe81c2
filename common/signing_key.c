/* Signing key: see signing_key.h. PEM is taken apart here rather than by OpenSSL's general readers:
 * those also take other formats, and ask at the terminal for the password of an encrypted key. */
#include "common/signing_key.h"

#include "common/file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct signing_key {
    EVP_PKEY *pkey;
};

/* What a key is called in PEM, and how its bytes are read. */
struct pem_kind {
    const char *name;
    EVP_PKEY *(*decode)(const unsigned char **der, long len);
    const char *expected; /* for people */
};

static void require(bool ok, const char *what)
{
    if (!ok) {
        (void)fprintf(stderr, "{\"level\":\"error\",\"msg\":\"%s failed in OpenSSL\"}\n", what);
        abort();
    }
}

static void cleanup_bio(BIO **bio)
{
    BIO_free_all(*bio);
}

static void cleanup_pkey(EVP_PKEY **pkey)
{
    EVP_PKEY_free(*pkey);
}

static void cleanup_context(EVP_MD_CTX **context)
{
    EVP_MD_CTX_free(*context);
}

/* ---- PEM ---- */

static EVP_PKEY *decode_private(const unsigned char **der, long len)
{
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, der, len);
    EVP_PKEY *pkey = info != NULL ? EVP_PKCS82PKEY(info) : NULL;

    PKCS8_PRIV_KEY_INFO_free(info);
    return pkey;
}

static EVP_PKEY *decode_public(const unsigned char **der, long len)
{
    return d2i_PUBKEY(NULL, der, len);
}

static const struct pem_kind pem_private = {PEM_STRING_PKCS8INF, decode_private,
                                            "an Ed25519 private key in PEM form (PKCS#8, not "
                                            "encrypted, \"BEGIN PRIVATE KEY\")"};
static const struct pem_kind pem_public = {PEM_STRING_PUBLIC, decode_public,
                                           "an Ed25519 public key in PEM form (\"BEGIN PUBLIC "
                                           "KEY\")"};

static bool only_space_left(BIO *bio)
{
    char *rest = NULL;
    long len = BIO_get_mem_data(bio, &rest);

    for (long i = 0; i < len; i++) {
        if (isspace((unsigned char)rest[i]) == 0) {
            return false;
        }
    }
    return true;
}

/* NULL unless the bytes are the key, all of them. */
static EVP_PKEY *decode_key(const struct pem_kind *kind, const unsigned char *der, long len)
{
    const unsigned char *at = der;
    EVP_PKEY *pkey = kind->decode(&at, len);

    if (pkey != NULL && (at != der + len || EVP_PKEY_get_base_id(pkey) != EVP_PKEY_ED25519)) {
        EVP_PKEY_free(pkey);
        return NULL;
    }
    return pkey;
}

static EVP_PKEY *decode_pem(const struct pem_kind *kind, const char *pem, size_t len)
{
    static const char begin[] = "-----BEGIN ";
    char *name = NULL;
    char *header = NULL;
    unsigned char *der = NULL;
    long der_len = 0;
    EVP_PKEY *pkey = NULL;

    if (len > KEY_FILE_MAX_BYTES || len < strlen(begin) ||
        memcmp(pem, begin, strlen(begin)) != 0) { /* OpenSSL would skip text before it */
        return NULL;
    }
    CLEANUP(cleanup_bio) BIO *bio = BIO_new_mem_buf(pem, (int)len);
    require(bio != NULL, "memory");
    if (PEM_read_bio_ex(bio, &name, &header, &der, &der_len, PEM_FLAG_SECURE) != 1) {
        return NULL;
    }
    if (strcmp(name, kind->name) == 0 && header[0] == '\0' && only_space_left(bio)) {
        pkey = decode_key(kind, der, der_len);
    }
    OPENSSL_secure_free(name);
    OPENSSL_secure_free(header);
    OPENSSL_secure_clear_free(der, (size_t)der_len);
    return pkey;
}

/* Nothing that a stranger's bytes did to the error queue is left for the TLS code to stumble on. */
static enum err read_pem(const struct pem_kind *kind, const char *pem, size_t len,
                         EVP_PKEY **ret_pkey, struct error *error)
{
    (void)ERR_set_mark(); /* fails only on an empty queue, and an empty one is left then */
    EVP_PKEY *pkey = decode_pem(kind, pem, len);
    (void)ERR_pop_to_mark();
    if (pkey == NULL) {
        return error_set(error, ERR_MALFORMED, "not %s", kind->expected);
    }
    *ret_pkey = pkey;
    return OK;
}

/* ---- Private keys ---- */

static struct signing_key *key_take(EVP_PKEY *pkey)
{
    struct signing_key *key = xcalloc(1, sizeof(*key));

    key->pkey = pkey;
    return key;
}

struct signing_key *signing_key_generate(void)
{
    EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");

    require(pkey != NULL, "key generation");
    return key_take(pkey);
}

void signing_key_free(struct signing_key *key)
{
    if (key != NULL) {
        EVP_PKEY_free(key->pkey); /* cleanses the private half */
        free(key);
    }
}

struct secret *signing_key_pem(const struct signing_key *key)
{
    CLEANUP(cleanup_bio) BIO *bio = BIO_new(BIO_s_secmem());
    char *pem = NULL;

    require(bio != NULL &&
                PEM_write_bio_PKCS8PrivateKey(bio, key->pkey, NULL, NULL, 0, NULL, NULL) == 1,
            "writing a key");
    long len = BIO_get_mem_data(bio, &pem);
    return secret_new(pem, (size_t)len);
}

enum err signing_key_from_pem(const char *pem, size_t len, struct signing_key **ret_key,
                              struct error *error)
{
    EVP_PKEY *pkey = NULL;
    enum err err = read_pem(&pem_private, pem, len, &pkey, error);

    if (err == OK) {
        *ret_key = key_take(pkey);
    }
    return err;
}

enum err signing_key_load(const char *path, struct signing_key **ret_key, struct error *error)
{
    struct secret *secret = NULL;
    struct error detail = {0};
    size_t len = 0;
    enum err err = file_read_secret(path, &secret, error);

    if (err != OK) {
        return err;
    }
    const char *pem = secret_reveal(secret, &len);
    err = signing_key_from_pem(pem, len, ret_key, &detail);
    secret_free(secret);
    return err == OK ? OK : error_set(error, err, "%s: %s", path, detail.text);
}

/* ---- Writing a file ---- */

static bool write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t wrote = write(fd, data, len);
        if (wrote < 0 && errno != EINTR) {
            return false;
        }
        data += wrote > 0 ? wrote : 0;
        len -= wrote > 0 ? (size_t)wrote : 0;
    }
    return fsync(fd) == 0;
}

/* A new name is durable only when its folder is. */
static bool sync_folder(const char *path)
{
    CLEANUP(cleanup_free) char *copy = xstrdup(path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;

    if (fd >= 0) {
        (void)close(fd);
    }
    return ok;
}

enum err signing_key_save(const struct signing_key *key, const char *path, struct error *error)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
    size_t len = 0;

    if (fd < 0) {
        return error_set(error, errno == EEXIST ? ERR_EXISTS : ERR_IO, "%s: %s", path,
                         strerror(errno));
    }
    struct secret *secret = signing_key_pem(key);
    const char *pem = secret_reveal(secret, &len);
    bool ok = write_all(fd, pem, len);
    secret_free(secret);
    ok = close(fd) == 0 && ok && sync_folder(path);
    if (!ok) {
        int cause = errno;
        (void)unlink(path);
        return error_set(error, ERR_IO, "%s: %s", path, strerror(cause));
    }
    return OK;
}

/* ---- Signatures ---- */

void signing_key_sign(const struct signing_key *key, const void *data, size_t len,
                      uint8_t ret_signature[SIGNATURE_BYTES])
{
    CLEANUP(cleanup_context) EVP_MD_CTX *context = EVP_MD_CTX_new();
    size_t size = SIGNATURE_BYTES;

    require(context != NULL && EVP_DigestSignInit(context, NULL, NULL, NULL, key->pkey) == 1 &&
                EVP_DigestSign(context, ret_signature, &size, data, len) == 1 &&
                size == SIGNATURE_BYTES,
            "signing");
}

void signing_key_public(const struct signing_key *key, uint8_t ret_public_key[PUBLIC_KEY_BYTES])
{
    size_t size = PUBLIC_KEY_BYTES;

    require(EVP_PKEY_get_raw_public_key(key->pkey, ret_public_key, &size) == 1 &&
                size == PUBLIC_KEY_BYTES,
            "reading a key");
}

static EVP_PKEY *public_pkey(const uint8_t public_key[PUBLIC_KEY_BYTES])
{
    EVP_PKEY *pkey =
        EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key, PUBLIC_KEY_BYTES);

    require(pkey != NULL, "Ed25519"); /* any 32 bytes are taken here, and looked at by a verify */
    return pkey;
}

enum err public_key_verify(const uint8_t public_key[PUBLIC_KEY_BYTES], const void *data, size_t len,
                           const uint8_t signature[SIGNATURE_BYTES])
{
    CLEANUP(cleanup_pkey) EVP_PKEY *pkey = public_pkey(public_key);
    CLEANUP(cleanup_context) EVP_MD_CTX *context = EVP_MD_CTX_new();

    require(context != NULL && EVP_DigestVerifyInit(context, NULL, NULL, NULL, pkey) == 1,
            "Ed25519");
    (void)ERR_set_mark();
    int verified = EVP_DigestVerify(context, signature, SIGNATURE_BYTES, data, len);
    (void)ERR_pop_to_mark();
    return verified == 1 ? OK : ERR_INVALID;
}

/* ---- Public keys ---- */

char *public_key_pem(const uint8_t public_key[PUBLIC_KEY_BYTES])
{
    CLEANUP(cleanup_pkey) EVP_PKEY *pkey = public_pkey(public_key);
    CLEANUP(cleanup_bio) BIO *bio = BIO_new(BIO_s_mem());
    char *pem = NULL;

    require(bio != NULL && PEM_write_bio_PUBKEY(bio, pkey) == 1, "writing a key");
    long len = BIO_get_mem_data(bio, &pem);
    return xstrndup(pem, (size_t)len);
}

enum err public_key_from_pem(const char *pem, size_t len, uint8_t ret_public_key[PUBLIC_KEY_BYTES],
                             struct error *error)
{
    CLEANUP(cleanup_pkey) EVP_PKEY *pkey = NULL;
    size_t size = PUBLIC_KEY_BYTES;
    enum err err = read_pem(&pem_public, pem, len, &pkey, error);

    if (err == OK) {
        require(EVP_PKEY_get_raw_public_key(pkey, ret_public_key, &size) == 1 &&
                    size == PUBLIC_KEY_BYTES,
                "reading a key");
    }
    return err;
}
