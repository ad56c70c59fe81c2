/* Upstream: the client of one account of the action API. It holds the only token, sends calls,
 * and says of each which of three things happened. It keeps no queue and no budget.
 *
 * Runs on one thread, that of its event_base. Callbacks come from the event loop, never from
 * inside the call that caused them. */
#ifndef UPSTREAM_UPSTREAM_H
#define UPSTREAM_UPSTREAM_H

#include "common/error.h"
#include "common/memory.h"
#include "upstream/answer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct upstream;

/* Strings are copied. Either client_id and client_secret_file, or access_token_file. */
struct upstream_options {
    const char *base_url; /* passes upstream_check_url(); a slash at its end does not matter */
    const char *client_id;
    const char *client_secret_file;
    const char *token_url; /* the same; NULL = base_url + /o/oauth/token */
    const char *access_token_file;
    const char *ca_file; /* PEM; NULL = the system's */
    int64_t connect_timeout_ms;
    int64_t timeout_ms;      /* for a whole call, connecting included */
    size_t max_answer_bytes; /* a longer answer is nonsense */
};

/* Whether an account may use that URL: https, or http if the host is localhost or a loopback
 * address; without user, query and fragment. ERR_INVALID, and the text does not quote the URL,
 * which may hold a password. Any thread. */
enum err upstream_check_url(const char *url, struct error *error) MUST_CHECK;

/* Whether a file can be an account's ca_file: it holds a PEM certificate. ERR_INVALID. Any thread;
 * reads the file. */
enum err upstream_check_ca_file(const char *path, struct error *error) MUST_CHECK;

enum token_event { TOKEN_REFRESHED, TOKEN_FAILED };

struct upstream_callbacks {
    /* A token was had or could not be had. expires_wall_ms 0 = not known. The detail never holds a
     * secret. Also called when upstream_ready() may have become true. */
    void (*on_token)(enum token_event event, int64_t expires_wall_ms, const char *detail,
                     void *arg);
    void *arg;
};

enum upstream_result {
    UPSTREAM_OK,      /* answered 200, and the answer makes sense */
    UPSTREAM_FAILED,  /* nothing was applied: nothing was sent, or the upstream refused */
    UPSTREAM_UNKNOWN, /* it was sent and may have been applied */
};

struct upstream_outcome {
    enum upstream_result result;
    bool nothing_sent;   /* FAILED before a byte left: its slot of the budget is unused */
    bool answered;       /* at least a status line came */
    bool token_rejected; /* the upstream answered 401: the token is being refreshed */
    int status;          /* HTTP status, 0 = none */
    const struct answer_item *items; /* OK: one for each device asked, in the order asked */
    size_t item_count;
    size_t missing; /* devices the answer left out: their items say status 0 */
    size_t foreign; /* items about devices nobody asked: dropped */
    /* What the answer said about the rate limit; -1 = nothing. */
    int64_t rate_limit;
    int64_t rate_remaining;
    int64_t rate_reset_s; /* from now; at most a day, as is the next */
    int64_t retry_after_s;
    const char *detail; /* a sentence for people when result is not OK; never holds a secret */
};

/* The outcome and all it points to are valid during the callback only. */
typedef void (*upstream_call_cb)(const struct upstream_outcome *outcome, void *arg);

/* Starts fetching the token at once (a token from a file is there after the first turn of the
 * event loop, too). Ignores SIGPIPE in the whole process. ERR_DENIED, ERR_NOT_FOUND: a secret file;
 * ERR_INVALID: a URL or CA file. callbacks is copied. */
enum err upstream_new(struct event_base *base, const struct upstream_options *options,
                      const struct upstream_callbacks *callbacks, struct upstream **ret_upstream,
                      struct error *error) MUST_CHECK;

/* Aborts what is under way without calling back. Also from inside a callback. */
void upstream_free(struct upstream *upstream);

/* Whether a call can be sent now: a token is there and not known to be bad. While it is not, the
 * upstream keeps trying to get one (with backoff) and calls on_token. */
bool upstream_ready(const struct upstream *upstream);

/* Asks whether the upstream is there, by getting a fresh token: on_token says. False: the token
 * comes from a file, nothing was asked. */
bool upstream_probe(struct upstream *upstream);

/* Sends one device-action call: body is the canonical JSON, asked the device_count canonical
 * devices in it (macs says which kind); all are copied. on_done is called exactly once, unless
 * upstream_free() comes first. If upstream_ready() is false (it may have become so since it was
 * asked), the outcome is UPSTREAM_FAILED with nothing_sent. Never sends a call twice. */
void upstream_call(struct upstream *upstream, const char *body, const char *const *asked,
                   size_t device_count, bool macs, upstream_call_cb on_done, void *arg);

#endif
