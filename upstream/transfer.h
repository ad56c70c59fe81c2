/* Transfer: one HTTP POST at a time per handle, many at once, by curl's multi interface on
 * libevent. Runs on the thread of its event_base. Never follows a redirect, uses a proxy, keeps
 * a connection or sends a request a second time.
 *
 * Every transfer has a connection of its own. A connection kept from an earlier call may be dead
 * without anybody knowing: the call would be sent into it, and its outcome be unknown for no
 * reason but thrift. At ten calls a minute a handshake costs nothing. */
#ifndef UPSTREAM_TRANSFER_H
#define UPSTREAM_TRANSFER_H

#include "common/error.h"
#include "common/memory.h"
#include "upstream/rate.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct transfers;

/* All is copied, and the copies of url and body are cleansed. */
struct transfer_request {
    const char *url; /* passed upstream_check_url() but for its query */
    const char *content_type;
    const char *body;
    size_t body_len;
    const char *ca_file; /* NULL = the system's */
    int64_t connect_timeout_ms;
    int64_t timeout_ms;
    size_t max_answer_bytes;
};

struct transfer_answer {
    bool complete;         /* the whole answer came */
    int64_t request_bytes; /* that may have left this process; 0 is proof that none did */
    int status;            /* 0 = no status line; 1xx only while no other came */
    bool too_long;
    bool encoded; /* has a Content-Encoding, or a Transfer-Encoding but chunked */
    struct rate rate;
    char *body; /* ends in a NUL that body_len does not count; the receiver may overwrite it */
    size_t body_len;
    char *trouble; /* when not complete: what happened, printable; may be overwritten too */
};

/* The answer and all in it is valid during the callback only, and is cleansed afterwards. */
typedef void (*transfer_cb)(struct transfer_answer *answer, void *arg);

/* Ignores SIGPIPE in the whole process: OpenSSL writes to dead connections. */
struct transfers *transfers_new(struct event_base *base);

/* Aborts all without calling back. Also from inside a callback. */
void transfers_free(struct transfers *transfers);

/* on_done is called exactly once, from the event loop, unless transfers_free() comes first. */
void transfer_start(struct transfers *transfers, const struct transfer_request *request,
                    transfer_cb on_done, void *arg);

#endif
