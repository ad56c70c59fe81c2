/* Upstream: see upstream.h. This file makes calls out of transfers; token.c has the token,
 * verdict.c decides what became of a call. */
#include "upstream/upstream.h"

#include "common/file.h"
#include "upstream/token.h"
#include "upstream/transfer.h"
#include "upstream/verdict.h"

#include <assert.h>
#include <curl/curl.h>
#include <event2/event.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define ACTION_PATH       "/o/api/v3.1/devices/action"
#define MAX_CA_FILE_BYTES ((size_t)4 << 20)

struct call {
    LIST_ENTRY(call) entry;
    struct upstream *upstream;
    struct secret *token; /* the one it was sent with; NULL = it was not sent */
    uint64_t generation;
    char **asked;
    size_t count;
    bool macs;
    struct event *refusal; /* only if it was not sent: brings the outcome */
    upstream_call_cb on_done;
    void *arg;
};

struct upstream {
    struct event_base *base;
    struct transfers *transfers;
    struct token *token;
    LIST_HEAD(, call) calls;
    char *base_url; /* without a slash at the end */
    char *ca_file;
    int64_t connect_timeout_ms;
    int64_t timeout_ms;
    size_t max_answer_bytes;
};

/* ---- calls ---- */

static void free_call(struct call *call)
{
    for (size_t i = 0; i < call->count; i++) {
        free(call->asked[i]);
    }
    free(call->asked);
    secret_free(call->token);
    if (call->refusal != NULL) {
        event_free(call->refusal);
    }
    free(call);
}

/* The callback may free the upstream: nothing that belongs to it is touched after this. */
static void complete(struct call *call, const struct upstream_outcome *outcome)
{
    LIST_REMOVE(call, entry);
    call->on_done(outcome, call->arg);
    free_call(call);
}

static void on_refusal(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    complete(arg, &(struct upstream_outcome){.result = UPSTREAM_FAILED,
                                             .nothing_sent = true,
                                             .rate_limit = -1,
                                             .rate_remaining = -1,
                                             .rate_reset_s = -1,
                                             .retry_after_s = -1,
                                             .detail = "there is no valid token now"});
}

static void scrub(const struct call *call, char *data, size_t len)
{
    (void)secret_scrub(call->token, data, len);
    token_scrub(call->upstream->token, data, len);
}

/* Scrubs a second time what JSON may have spelled in another way. */
static void scrub_items(const struct call *call, struct answer *answer)
{
    for (size_t i = 0; i < call->count; i++) {
        char *id = answer->items[i].command_id;
        scrub(call, id, strlen(id));
    }
}

static struct verdict judge(const struct call *call, struct transfer_answer *transfer,
                            struct answer *answer)
{
    struct verdict_facts facts = {.complete = transfer->complete,
                                  .request_bytes = transfer->request_bytes,
                                  .status = transfer->status,
                                  .too_long = transfer->too_long,
                                  .encoded = transfer->encoded,
                                  .trouble = transfer->trouble};
    struct error error;

    scrub(call, transfer->body, transfer->body_len);
    scrub(call, transfer->trouble, strlen(transfer->trouble));
    if (transfer->complete && transfer->status == 200) {
        if (answer_read(transfer->body, transfer->body_len, (const char *const *)call->asked,
                        call->count, call->macs, answer, &error) != OK) {
            facts.nonsense = error.text;
        } else {
            scrub_items(call, answer);
        }
    }
    return verdict_of(&facts);
}

static void on_answer(struct transfer_answer *transfer, void *arg)
{
    struct call *call = arg;
    CLEANUP(answer_done) struct answer answer = {0};
    struct verdict verdict = judge(call, transfer, &answer);
    struct upstream_outcome outcome = {.result = verdict.result,
                                       .nothing_sent = verdict.nothing_sent,
                                       .answered = verdict.answered,
                                       .token_rejected = verdict.token_rejected,
                                       .status = verdict.status,
                                       .rate_limit = transfer->rate.limit,
                                       .rate_remaining = transfer->rate.remaining,
                                       .rate_reset_s = transfer->rate.reset_s,
                                       .retry_after_s = transfer->rate.retry_after_s,
                                       .detail = verdict.detail};

    if (verdict.result == UPSTREAM_OK) {
        outcome.items = answer.items;
        outcome.item_count = call->count;
        outcome.missing = answer.missing;
        outcome.foreign = answer.foreign;
    }
    if (verdict.token_rejected) {
        token_reject(call->upstream->token, call->generation);
    }
    complete(call, &outcome);
}

static struct secret *copy_secret(const struct secret *secret)
{
    size_t len;
    const char *data = secret_reveal(secret, &len);

    return secret_new(data, len);
}

static void send_call(struct upstream *upstream, struct call *call, const char *body)
{
    size_t len;
    const char *token = secret_reveal(call->token, &len);
    char *token_text = curl_easy_escape(NULL, token, (int)len);
    char *url;

    assert(token_text != NULL);
    url = xasprintf("%s" ACTION_PATH "?access_token=%s", upstream->base_url, token_text);
    transfer_start(upstream->transfers,
                   &(struct transfer_request){.url = url,
                                              .content_type = "application/json",
                                              .body = body,
                                              .body_len = strlen(body),
                                              .ca_file = upstream->ca_file,
                                              .connect_timeout_ms = upstream->connect_timeout_ms,
                                              .timeout_ms = upstream->timeout_ms,
                                              .max_answer_bytes = upstream->max_answer_bytes},
                   on_answer, call);
    secret_cleanse(token_text, strlen(token_text));
    curl_free(token_text);
    secret_cleanse(url, strlen(url));
    free(url);
}

void upstream_call(struct upstream *upstream, const char *body, const char *const *asked,
                   size_t device_count, bool macs, upstream_call_cb on_done, void *arg)
{
    struct call *call = xcalloc(1, sizeof(*call));
    const struct secret *token = token_get(upstream->token, &call->generation);

    call->upstream = upstream;
    call->asked = xcalloc(device_count, sizeof(*call->asked));
    call->count = device_count;
    for (size_t i = 0; i < device_count; i++) {
        call->asked[i] = xstrdup(asked[i]);
    }
    call->macs = macs;
    call->on_done = on_done;
    call->arg = arg;
    LIST_INSERT_HEAD(&upstream->calls, call, entry);
    if (token == NULL) {
        call->refusal = evtimer_new(upstream->base, on_refusal, call);
        assert(call->refusal != NULL);
        event_active(call->refusal, EV_TIMEOUT, 0);
        return;
    }
    call->token = copy_secret(token);
    send_call(upstream, call, body);
}

bool upstream_ready(const struct upstream *upstream)
{
    return token_ready(upstream->token);
}

bool upstream_probe(struct upstream *upstream)
{
    return token_probe(upstream->token);
}

/* ---- life ---- */

/* Found at start, a wrong file is a configuration error; later it would be a failed call. */
enum err upstream_check_ca_file(const char *path, struct error *error)
{
    CLEANUP(cleanup_free) char *text = NULL;
    size_t len = 0;
    BIO *bio;
    X509 *certificate;

    struct error why;

    if (file_read(path, MAX_CA_FILE_BYTES, &text, &len, &why) != OK) {
        return error_set(error, ERR_INVALID, "%s", why.text);
    }
    bio = BIO_new_mem_buf(text, (int)len);
    assert(bio != NULL);
    certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    (void)BIO_free(bio);
    if (certificate == NULL) {
        ERR_clear_error(); /* left there, it would look like the next connection's */
        return error_set(error, ERR_INVALID, "%s: holds no PEM certificate", path);
    }
    X509_free(certificate);
    return OK;
}

static enum err check_options(const struct upstream_options *options, struct error *error)
{
    enum err err = upstream_check_url(options->base_url, error);

    if (err != OK) {
        (void)error_prefix(error, "base_url");
    } else if (options->token_url != NULL &&
               (err = upstream_check_url(options->token_url, error)) != OK) {
        (void)error_prefix(error, "token_url");
    } else if (options->ca_file != NULL) {
        err = upstream_check_ca_file(options->ca_file, error);
    }
    return err;
}

enum err upstream_new(struct event_base *base, const struct upstream_options *options,
                      const struct upstream_callbacks *callbacks, struct upstream **ret_upstream,
                      struct error *error)
{
    struct upstream_options plain = *options;
    struct upstream *upstream;
    size_t len = strlen(options->base_url);
    enum err err = check_options(options, error);

    if (err != OK) {
        return err;
    }
    while (len > 0 && options->base_url[len - 1] == '/') {
        len--;
    }
    upstream = xcalloc(1, sizeof(*upstream));
    upstream->base = base;
    LIST_INIT(&upstream->calls);
    upstream->base_url = xstrndup(options->base_url, len);
    upstream->ca_file = xstrdup(options->ca_file);
    upstream->connect_timeout_ms = options->connect_timeout_ms;
    upstream->timeout_ms = options->timeout_ms;
    upstream->max_answer_bytes = options->max_answer_bytes;
    upstream->transfers = transfers_new(base);
    plain.base_url = upstream->base_url;
    err = token_new(base, upstream->transfers, &plain, callbacks, &upstream->token, error);
    if (err != OK) {
        upstream_free(upstream);
        return err;
    }
    *ret_upstream = upstream;
    return OK;
}

void upstream_free(struct upstream *upstream)
{
    struct call *call;

    if (upstream == NULL) {
        return;
    }
    transfers_free(upstream->transfers);
    token_free(upstream->token);
    while ((call = LIST_FIRST(&upstream->calls)) != NULL) {
        LIST_REMOVE(call, entry);
        free_call(call);
    }
    free(upstream->base_url);
    free(upstream->ca_file);
    free(upstream);
}
