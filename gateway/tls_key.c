/* TLS key: see tls_key.h. */
#include "gateway/tls_key.h"

#include "common/file.h"

#include <openssl/bio.h>
#include <openssl/pem.h>

/* OpenSSL would ask at the terminal for the password of an encrypted key. */
static int on_password(char *text, int size, int writing, void *arg)
{
    (void)text;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

bool tls_use_key(SSL_CTX *context, const char *file)
{
    struct secret *secret = NULL;
    EVP_PKEY *key = NULL;
    size_t len = 0;
    bool good;

    if (file_read_secret(file, &secret, NULL) != OK) {
        return false;
    }
    const char *pem = secret_reveal(secret, &len);
    BIO *bio = BIO_new_mem_buf(pem, (int)len);
    if (bio != NULL) {
        key = PEM_read_bio_PrivateKey(bio, NULL, on_password, NULL);
    }
    good = key != NULL && SSL_CTX_use_PrivateKey(context, key) == 1;
    (void)SSL_CTX_set_options(context, SSL_OP_CLEANSE_PLAINTEXT);
    EVP_PKEY_free(key);
    (void)BIO_free(bio);
    secret_free(secret);
    return good;
}
