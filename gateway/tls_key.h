/* TLS key: a listener's private key, from its file to its context. Any thread; reads a file. */
#ifndef GATEWAY_TLS_KEY_H
#define GATEWAY_TLS_KEY_H

#include <openssl/ssl.h>
#include <stdbool.h>

/* As SSL_CTX_use_PrivateKey_file() for PEM, but neither the file's bytes nor anything that the
 * context's connections decrypt, which may hold clients' keys, is left in freed memory; and nobody
 * is asked for a password. False: a reason is in OpenSSL's queue, or it is not a private file. */
bool tls_use_key(SSL_CTX *context, const char *file);

#endif
