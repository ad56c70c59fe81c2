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

enum err tls_server_context(const char *certificate, const char *key, SSL_CTX **ret_context,
                            struct error *error)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());

    if (context == NULL || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1) {
        return fail(context, "TLS", error);
    }
    (void)SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                           SSL_OP_CIPHER_SERVER_PREFERENCE);
    if (SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1) {
        return fail(context, "TLS", error);
    }
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1) {
        return fail(context, certificate, error);
    }
    if (!tls_use_key(context, key) || SSL_CTX_check_private_key(context) != 1) {
        return fail(context, key, error);
    }
    *ret_context = context;
    return OK;
}
