/* TLS: see tls.h. */
#include "gateway/tls.h"

#include "gateway/tls_key.h"

#include <openssl/err.h>

static enum err fail(SSL_CTX *context, const char *file, struct error *error)
{
    char reason[160];

    ERR_error_string_n(ERR_peek_last_error(), reason, sizeof(reason));
    ERR_clear_error();
    SSL_CTX_free(context);
    return error_set(error, ERR_INVALID, "%s: %s", file, reason);
}

static enum err use_certificate(SSL_CTX *context, const char *certificate, const char *key,
                                struct error *error)
{
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1) {
        return fail(context, certificate, error);
    }
    if (!tls_use_key(context, key) || SSL_CTX_check_private_key(context) != 1) {
        return fail(context, key, error);
    }
    return OK;
}

enum err tls_server_context(const char *certificate, const char *key, SSL_CTX **ret_context,
                            struct error *error)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    enum err err;

    if (context == NULL || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1) {
        return fail(context, "TLS", error);
    }
    (void)SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                           SSL_OP_CIPHER_SERVER_PREFERENCE);
    if (SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1) {
        return fail(context, "TLS", error);
    }
    err = use_certificate(context, certificate, key, error);
    if (err == OK) {
        *ret_context = context;
    }
    return err;
}

enum err tls_client_context(const char *ca_file, const char *certificate, const char *key,
                            SSL_CTX **ret_context, struct error *error)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    enum err err = OK;

    if (context == NULL || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1) {
        return fail(context, "TLS", error);
    }
    (void)SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    if (ca_file != NULL ? SSL_CTX_load_verify_file(context, ca_file) != 1
                        : SSL_CTX_set_default_verify_paths(context) != 1) {
        return fail(context, ca_file != NULL ? ca_file : "the system's CAs", error);
    }
    if (certificate != NULL) {
        err = use_certificate(context, certificate, key, error);
    }
    if (err == OK) {
        *ret_context = context;
    }
    return err;
}
