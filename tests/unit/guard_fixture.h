/* What the tests of the guard share: a real evhttp behind it, in a thread of its own, and a raw
 * socket in front of it. Everything here asserts by itself. */
#ifndef TESTS_UNIT_GUARD_FIXTURE_H
#define TESTS_UNIT_GUARD_FIXTURE_H

#include "gateway/connections.h"
#include "gateway/guard.h"

#include <event2/event.h>
#include <event2/http.h>
#include <openssl/types.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* needs the ones above */

#define BIG_BYTES   ((size_t)8 << 20)
#define PATIENCE_MS 10000 /* a test fails rather than hangs */
#define HOST        "Host: a\r\n"

/* ---- The server ---- */

struct server {
    struct guard_options options;
    struct event_base *base;
    struct evhttp *http;
    struct guard *guard;
    SSL_CTX *tls; /* NULL: plain */
    pthread_t thread;
    int stop[2];
    uint16_t port;
    struct connections *connections;
    atomic_int handled;
    atomic_int completed;
    int64_t pause_ms; /* after a reply to /pause */
    atomic_int refused;
    atomic_int dropped[GUARD_DROP_NOT_READING + 1];
    struct guard_refusal last; /* texts copied below; read after the answer came */
    char remote[64];
    char request_id[GUARD_REQUEST_ID_SIZE];
};

/* A server that is not started: options may still be changed. */
struct server *prepare(bool with_tls);
void start(struct server *server);
struct server *start_plain(void);

/* Waits until no connection is left, ends everything, and expects that nothing leaks. */
void stop(struct server *server);

/* Until the counter is at least that. */
void wait_until(atomic_int *counter, int least);

/* ---- The client ---- */

struct client {
    int fd;
    SSL *ssl;    /* NULL: plain */
    bool broken; /* ended by an error: a reset, or TLS without close_notify */
    size_t len;
    char data[256 * 1024]; /* what was read and not yet taken, then a NUL */
};

/* A connected socket; from an address of 127.0.0.0/8. */
int dial(const struct server *server);
int dial_from(const struct server *server, const char *source);

struct client *open_client(const struct server *server);
void close_client(struct client *client);

/* False when the server closed. */
bool send_bytes(struct client *client, const char *data, size_t len);
bool send_text(struct client *client, const char *text);

/* Reads once; false at the end. */
bool receive(struct client *client);

/* Drops what was read, from its start. */
void take(struct client *client, size_t len);

struct response {
    int status;
    size_t body_len;
    char head[1024];
    char body[4096]; /* its start */
};

void read_head(struct client *client, struct response *response);
void read_response(struct client *client, struct response *response);

/* A 200 with that body; the end of the connection; a refusal by the guard, and the end. */
void expect_reply(struct client *client, const char *body);
void expect_end(struct client *client);
void expect_problem(struct server *server, struct client *client, int status, const char *problem);

#endif
