/* Certificates: clients that are known by their certificate (/clients/NAME/certificate), and the
 * client certificates of connections. OpenSSL has verified one in the handshake (tls.h); whose it
 * is, and whether it is still good by the settings now in force, is asked for each request. */
#ifndef GATEWAY_CERTIFICATES_H
#define GATEWAY_CERTIFICATES_H

#include "common/error.h"
#include "common/memory.h"
#include "gateway/config.h"

#include <openssl/ssl.h>

/* All certificates of a configuration, ready for look-up. */
struct certificate_table;

/* The config must live longer. */
struct certificate_table *certificate_table_new(const struct config *config);
void certificate_table_free(struct certificate_table *table);

/* Whose certificate it is: by its fingerprint, else by its subject alternative names: a URI (what
 * has a colon in the configuration), an email address (an @) or a DNS name, byte for byte.
 * ERR_DENIED: nobody's, or its names are those of several clients. Any thread. */
enum err certificate_table_find(const struct certificate_table *table, X509 *certificate,
                                const struct client_config **ret_client) MUST_CHECK;

#define CERTIFICATE_ID_SIZE 70 /* "cert:" and 64 hex digits */

/* How the audit log names a certificate: by its fingerprint, the SHA-256 of its DER. */
void certificate_id(X509 *certificate, char ret_id[static CERTIFICATE_ID_SIZE]);

struct settings;

/* Remembers with a new connection where it came in, and that these settings verify it. */
void peer_set(SSL *ssl, const struct settings *settings, size_t listener);

/* Whether the client certificate of a connection is good by these settings, which may be newer
 * than the handshake: its chain, its dates, whether it was revoked. What was found is believed for
 * some seconds under the same settings. ERR_NOT_FOUND: the client showed none. ERR_DENIED. On
 * success the certificate is borrowed from the connection. The connection's thread. */
enum err peer_certificate(SSL *ssl, const struct settings *settings,
                          X509 **ret_certificate) MUST_CHECK;

#endif
