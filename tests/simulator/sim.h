/*
 * The simulator as a whole: what its request handlers share.
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include <event2/event.h>
#include <event2/http.h>
#include <openssl/ssl.h>
#include <sys/queue.h>

#include "answer.h"
#include "calls.h"
#include "devices.h"
#include "faults.h"
#include "limiter.h"
#include "options.h"
#include "random.h"
#include "tokens.h"

struct exchange;

struct sim {
    const struct options *options;
    struct random random;
    struct limiter *limiter;
    struct tokens *tokens;
    struct devices *devices;
    struct faults *faults;
    struct calls *calls;
    struct stats stats;
    struct event_base *base;
    struct evhttp *http;
    SSL_CTX *tls; /* NULL: plain HTTP */
    LIST_HEAD(, exchange) exchanges;
};

/* A handler fills the (zeroed) answer to a request. */
typedef void (*sim_handler)(struct sim *sim, struct evhttp_request *req, struct answer *answer);

/* The request's body, and its length; never NULL, not NUL-terminated. It is the request's. */
const char *sim_request_body(struct evhttp_request *req, size_t *ret_len);

/* Whether the request's Content-Type is this one, parameters aside. */
bool sim_request_has_type(struct evhttp_request *req, const char *type);

#endif
