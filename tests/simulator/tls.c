/*
 * TLS by OpenSSL under libevent's bufferevents.
 */
#include "tls.h"

#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>

SSL_CTX *tls_context_new(const char *certificate, const char *key, struct problem *problem)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    const char *file = certificate;

    if (context && SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
        SSL_CTX_use_certificate_chain_file(context, certificate) == 1) {
        file = key;
        if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) == 1) {
            return context;
        }
    }
    problem_set(problem, "%s: %s", file, ERR_reason_error_string(ERR_peek_error()));
    SSL_CTX_free(context);
    return NULL;
}

struct bufferevent *tls_bufferevent_new(struct event_base *base, SSL_CTX *context)
{
    SSL *ssl = SSL_new(context);
    struct bufferevent *bev = NULL;

    if (!ssl) {
        return NULL;
    }
    bev = bufferevent_openssl_socket_new(base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING,
                                         BEV_OPT_CLOSE_ON_FREE);
    if (!bev) {
        SSL_free(ssl);
        return NULL;
    }
    bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
    return bev;
}
