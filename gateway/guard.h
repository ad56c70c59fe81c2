/* Guard: stands between each client connection and evhttp, which is too lax to face clients alone.
 * It lets through only requests the framer accepts, one at a time; answers the others itself
 * (problem+json, then close); and owns the deadlines and the number of connections.
 * One guard for each worker, used on that worker's thread only. */
#ifndef GATEWAY_GUARD_H
#define GATEWAY_GUARD_H

#include "gateway/framer.h"

#include <event2/event.h>
#include <stddef.h>
#include <stdint.h>

struct bufferevent;
struct connections;
struct guard;

#define GUARD_REQUEST_ID_SIZE 40

/* A request that was answered by the guard; the texts live as long as the callback runs. */
struct guard_refusal {
    int status;          /* 400, 413 or 431 */
    const char *problem; /* the NAME in urn:tollgate:problem:NAME */
    const char *detail;  /* static text */
    const char *remote;  /* numeric address of the client; "unknown" when it is gone already */
    const char *request_id;
};

/* Why a connection was closed without an answer. Idle connections end without a report. */
enum guard_drop {
    GUARD_DROP_FULL,        /* max_connections are open */
    GUARD_DROP_ADDRESS,     /* max_connections_per_address are, from there */
    GUARD_DROP_HEADER_LATE, /* TLS handshake or head not complete in time */
    GUARD_DROP_BODY_LATE,
    GUARD_DROP_NOT_READING, /* the client does not take its answer */
};

struct guard_options {
    struct framer_limits limits;
    int64_t header_timeout_ms; /* from accept (handshake included), later from the first byte */
    int64_t body_timeout_ms;   /* from the end of the head to the end of the body */
    int64_t idle_timeout_ms;   /* between requests */
    int64_t write_timeout_ms;  /* without the client taking a byte of its answer */
    size_t max_connections;    /* more than 0, both */
    size_t max_connections_per_address;
    struct connections *connections; /* the workers share one, which outlives them */

    /* Writes a new request id of sane characters, at most 39. Required. */
    void (*make_request_id)(char ret_id[GUARD_REQUEST_ID_SIZE], void *arg);
    /* Both may be NULL; they may not free evhttp, the guard or a connection. */
    void (*on_refused)(const struct guard_refusal *refusal, void *arg);
    void (*on_dropped)(enum guard_drop reason, const char *remote, void *arg);
    void *arg;
};

/* Makes a guard for evhttps on this base; options is copied. Never NULL. */
struct guard *guard_new(struct event_base *base, const struct guard_options *options);

/* Goes by other options from now on; a connection keeps the limits that it began with. on_refused,
 * connections and all else that is not a number stay. */
void guard_configure(struct guard *guard, const struct guard_options *options);

/* Lets go of the guard; it ends with its last connection, so callbacks may still come until evhttp
 * is freed and the loop has turned or its base is freed. NULL is fine. */
void guard_free(struct guard *guard);

/* To be returned from evhttp's bevcb, on the guard's base; never NULL. underlying_take is a new
 * bufferevent_socket or bufferevent_openssl_socket without descriptor, BEV_OPT_CLOSE_ON_FREE, not
 * deferred; NULL (it could not be made) gives a connection that closes at once. It belongs to the
 * result, and is what bufferevent_get_underlying() of the result gives, to ask for its SSL.
 *
 * What evhttp's user must know: set no timeout and no body limit on evhttp, they belong here, and
 * no header limit below max_header_bytes. SIGPIPE must be ignored. The complete callback of a
 * request comes when the reply is in the kernel. Do not stream (evhttp_send_reply_start) to an
 * HTTP/1.0 client: evhttp would close before the end is flushed. */
struct bufferevent *guard_wrap(struct guard *guard, struct bufferevent *underlying_take);

/* While evhttp owes a reply on what guard_wrap() gave: the client's next request is not read until
 * so long after that reply. For a client that is told to come back later: the connection stays, and
 * costs nothing meanwhile. */
void guard_pause(struct bufferevent *wrapped, int64_t pause_ms);

#endif
