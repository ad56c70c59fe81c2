/* TLS: server contexts for listeners, client contexts for streams. Any thread; reads files. */
#ifndef GATEWAY_TLS_H
#define GATEWAY_TLS_H

#include "common/error.h"
#include "common/memory.h"
#include "gateway/config.h"

#include <openssl/ssl.h>

/* A server context for TLS 1.2 and 1.3 by the files of a listener's tls options; a session is never
 * resumed (docs/decisions/0009-tls.md). With client_ca it asks for a client certificate and takes
 * only what verifies. ERR_INVALID, with the file's name; *ret_option is the option at fault. The
 * caller frees. */
enum err tls_server_context(const struct listen_config *listen, SSL_CTX **ret_context,
                            const char **ret_option, struct error *error) MUST_CHECK;

/* Whether a listener's crl_file has a list that is out of date: then no client certificate of that
 * CA is taken. False also for a file that cannot be read. */
bool tls_crl_expired(const char *crl_file);

/* A client context for TLS 1.2 and 1.3 that verifies the server's chain (its name is the caller's
 * to set: SSL_set1_host()) against the CAs of a PEM file, or the system's if that is NULL.
 * certificate and key are its own, or NULL. ERR_INVALID, with the file's name. The caller frees. */
enum err tls_client_context(const char *ca_file, const char *certificate, const char *key,
                            SSL_CTX **ret_context, struct error *error) MUST_CHECK;

#endif
