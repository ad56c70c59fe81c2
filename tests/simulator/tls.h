/*
 * TLS for the simulator's connections.
 */
#ifndef SIM_TLS_H
#define SIM_TLS_H

#include <event2/bufferevent.h>
#include <openssl/ssl.h>

#include "base.h"

/* A server context from a certificate chain and a key (PEM files); NULL with the reason. */
SSL_CTX *tls_context_new(const char *certificate, const char *key, struct problem *problem);

/* The TLS side of a connection about to be accepted; NULL on failure. */
struct bufferevent *tls_bufferevent_new(struct event_base *base, SSL_CTX *context);

#endif
