/* TLS: server contexts for listeners. Start-up only. */
#ifndef GATEWAY_TLS_H
#define GATEWAY_TLS_H

#include "common/error.h"
#include "common/memory.h"

#include <openssl/ssl.h>

/* A server context for TLS 1.2 and 1.3 with the certificate chain and key of two PEM files. The
 * caller frees. ERR_INVALID, with the file's name. */
enum err tls_server_context(const char *certificate, const char *key, SSL_CTX **ret_context,
                            struct error *error) MUST_CHECK;

#endif
