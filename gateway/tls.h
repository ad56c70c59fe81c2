/* TLS: server contexts for listeners, client contexts for streams. Any thread; reads files. */
#ifndef GATEWAY_TLS_H
#define GATEWAY_TLS_H

#include "common/error.h"
#include "common/memory.h"

#include <openssl/ssl.h>

/* A server context for TLS 1.2 and 1.3 with the certificate chain and key of two PEM files. The
 * caller frees. ERR_INVALID, with the file's name. */
enum err tls_server_context(const char *certificate, const char *key, SSL_CTX **ret_context,
                            struct error *error) MUST_CHECK;

/* A client context for TLS 1.2 and 1.3 that verifies the server's chain (its name is the caller's
 * to set: SSL_set1_host()) against the CAs of a PEM file, or the system's if that is NULL.
 * certificate and key are its own, or NULL. ERR_INVALID, with the file's name. The caller frees. */
enum err tls_client_context(const char *ca_file, const char *certificate, const char *key,
                            SSL_CTX **ret_context, struct error *error) MUST_CHECK;

#endif
