/* What the tests of the upstream client share: a scripted server in the same event loop, and a
 * client with the outcomes of its calls. Everything here asserts by itself. */
#ifndef TESTS_UNIT_UPSTREAM_FIXTURE_H
#define TESTS_UNIT_UPSTREAM_FIXTURE_H

#include "common/clock.h"
#include "common/error.h"
#include "upstream/upstream.h"

#include <event2/event.h>
#include <openssl/types.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/stat.h>

#include <cmocka.h> /* needs the ones above */

#define GUARD_MS   20000
#define SECRET     "s3cr3t/+&=value"
#define BODY       "{\"types\":\"ignore\",\"ids\":[\"a\",\"b\"]}"
#define ITEMS      "[{\"id\":\"b\",\"status\":0},{\"id\":\"a\",\"status\":1,\"command_id\":\"c1\"}]"
#define ITEMS_LEN  "63"
#define KEEP       "HTTP/1.1 200 OK\r\nContent-Length: " ITEMS_LEN "\r\n\r\n" ITEMS
#define EMPTY(...) "HTTP/1.1 " __VA_ARGS__ "\r\nContent-Length: 0\r\n\r\n"

/* ---- The server ---- */

enum how {
    ANSWER, /* text, and keep the connection open */
    ANSWER_AND_CLOSE,
    BYTES,   /* text, byte by byte */
    HANG,    /* until release() */
    RESET,   /* close without an answer, by RST */
    ENDLESS, /* text, and then x for ever */
};

struct step {
    enum how how;
    const char *text;
};

struct connection;

struct server {
    struct event_base *base;
    struct evconnlistener *listener;
    SSL_CTX *tls;
    int port;
    TAILQ_HEAD(, connection) connections;
    int accepted;
    int actions;          /* complete action requests: executed */
    int tokens;           /* complete token requests */
    int refuse_accepted;  /* so many connections are reset at once */
    size_t reset_at;      /* reset when so many bytes of a request came */
    int valid_token;      /* the number in TOKEN/<n> that is taken */
    struct step action;   /* for every action with the valid token */
    struct step token;    /* text NULL = a new token */
    const char *lifetime; /* what stands in the token answer after the token */
    char *last_action;
    char *last_token;
};

/* Connections are refused from now on. */
void stop_listening(struct server *server);

/* Gives held requests their answer. */
void release(struct server *server, const char *text);

/* ---- The fixture ---- */

struct outcomes {
    struct upstream **free_this; /* freed in the callback */
    int count;
    struct upstream_outcome last; /* its pointers: see the copies below */
    struct answer_item items[2];
    char detail[512];
};

struct fixture {
    struct event_base *base;
    struct server *server;
    struct upstream *upstream;
    struct upstream_options options;
    char directory[64];
    char url[64];
    char secret_file[128];
    char token_file[128];
    char ca_file[128];
    int refreshed;
    int failed;
    int64_t expires_wall_ms;
    char detail[512];
    struct outcomes outcomes;
};

#define WAIT_UNTIL(fixture, condition)                                                             \
    do {                                                                                           \
        int64_t wait_start_ = clock_boot_ms();                                                     \
        while (!(condition)) {                                                                     \
            assert_int_equal(event_base_loop((fixture)->base, EVLOOP_ONCE), 0);                    \
            assert_true(clock_boot_ms() < wait_start_ + GUARD_MS);                                 \
        }                                                                                          \
    } while (0)

void write_file(const char *path, const char *text, mode_t mode);

/* A server and a loop, but no client yet. Takes tls, which may be NULL. */
struct fixture *fixture_prepare(SSL_CTX *tls);

/* Makes the client. */
enum err fixture_try(struct fixture *fixture, struct error *error);

/* The same, and waits until it got a token or could not. */
void fixture_start(struct fixture *fixture);

/* All of it, with a token. */
struct fixture *fixture_new(void);
void fixture_free(struct fixture *fixture);

/* arg is a struct outcomes. */
void on_outcome(const struct upstream_outcome *outcome, void *arg);

/* Starts a call for the devices a and b; or makes one, which the server answers so. */
void start_call(struct fixture *fixture);
const struct upstream_outcome *call(struct fixture *fixture, struct step step);

/* A body of some megabytes arrives whole, or, when the connection breaks, is unknown. */
void check_long_body(struct fixture *fixture);

#endif
