/* Certificates, those of connections: see certificates.h. */
#include "gateway/certificates.h"
#include "gateway/settings.h"

#include "common/clock.h"

#include <openssl/err.h>
#include <pthread.h>
#include <stdlib.h>

#define BELIEVED_MS 10000 /* so long after it expired a certificate may still be taken */

struct peer {
    size_t listener;
    uint64_t serial; /* of the settings that it was verified by */
    int64_t verified_ms;
    bool good;
};

static int peer_index = -1;

static void on_free(void *parent, void *data, CRYPTO_EX_DATA *all, int index, long argl, void *argp)
{
    (void)parent;
    (void)all;
    (void)index;
    (void)argl;
    (void)argp;
    free(data);
}

static void make_index(void)
{
    peer_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, on_free);
}

void peer_set(SSL *ssl, const struct settings *settings, size_t listener)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct peer *peer = xcalloc(1, sizeof(*peer));

    (void)pthread_once(&once, make_index);
    *peer = (struct peer){.listener = listener,
                          .serial = settings->serial,
                          .verified_ms = clock_boot_ms(),
                          .good = true};
    if (SSL_set_ex_data(ssl, peer_index, peer) != 1) {
        free(peer); /* no certificate is taken then */
    }
}

/* As the handshake does it, by the listener's present CA and revocations. */
static bool verify(SSL *ssl, SSL_CTX *context, X509 *certificate)
{
    X509_STORE_CTX *verification = X509_STORE_CTX_new();
    bool good = verification != NULL &&
                X509_STORE_CTX_init(verification, SSL_CTX_get_cert_store(context), certificate,
                                    SSL_get_peer_cert_chain(ssl)) == 1 &&
                X509_STORE_CTX_set_default(verification, "ssl_client") == 1 &&
                X509_verify_cert(verification) == 1;

    X509_STORE_CTX_free(verification);
    ERR_clear_error();
    return good;
}

enum err peer_certificate(SSL *ssl, const struct settings *settings, X509 **ret_certificate)
{
    X509 *certificate = ssl != NULL ? SSL_get0_peer_certificate(ssl) : NULL;
    struct peer *peer = ssl != NULL && peer_index >= 0 ? SSL_get_ex_data(ssl, peer_index) : NULL;
    int64_t now = clock_boot_ms();

    if (certificate == NULL) {
        return ERR_NOT_FOUND;
    }
    if (peer == NULL || SSL_get_verify_result(ssl) != X509_V_OK) {
        return ERR_DENIED;
    }
    if (peer->serial != settings->serial || now - peer->verified_ms > BELIEVED_MS) {
        SSL_CTX *context = settings->tls[peer->listener];
        peer->good = context != NULL &&
                     config_listen(settings->config, peer->listener)->tls.client_ca != NULL &&
                     verify(ssl, context, certificate);
        peer->serial = settings->serial;
        peer->verified_ms = now;
    }
    if (!peer->good) {
        return ERR_DENIED;
    }
    *ret_certificate = certificate;
    return OK;
}
