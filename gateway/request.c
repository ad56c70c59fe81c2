/* Request: arrival, identity, authentication and answers. See request.h. */
#include "gateway/request.h"

#include "common/clock.h"
#include "common/crypto.h"
#include "common/json.h"
#include "gateway/metrics.h"
#include "gateway/routes.h"
#include "gateway/worker.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char bearer[] = "Bearer ";

/* ---- Headers ---- */

const char *request_header(const struct request *request, const char *name)
{
    return evhttp_find_header(evhttp_request_get_input_headers(request->http), name);
}

void request_set_header(struct request *request, const char *name, const char *value)
{
    (void)evhttp_add_header(evhttp_request_get_output_headers(request->http), name, value);
}

void request_make_id(char *text, size_t size)
{
    char random[21];

    crypto_random_text(random, sizeof(random) - 1);
    (void)snprintf(text, size, "req_%s", random);
}

/* A sane X-Request-ID is taken over; anything else is replaced. */
static void set_id(struct request *request)
{
    const char *given = request_header(request, "X-Request-ID");
    size_t len = given != NULL
                     ? strspn(given, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                     "0123456789._:-")
                     : 0;

    if (len > 0 && given[len] == '\0' && len < sizeof(request->id)) {
        memcpy(request->id, given, len + 1);
    } else {
        request_make_id(request->id, sizeof(request->id));
    }
}

/* W3C Trace Context, version 00; anything else is ignored. */
static void set_traceparent(struct request *request)
{
    const char *given = request_header(request, "traceparent");

    if (given != NULL && strlen(given) == 55 && strspn(given, "0123456789abcdef-") == 55) {
        request->subject.traceparent = xstrdup(given);
    }
}

/* ---- Life ---- */

static struct request *new_request(struct worker *worker, struct evhttp_request *http)
{
    struct request *request = xcalloc(1, sizeof(*request));
    char *address = NULL;
    uint16_t port;

    request->worker = worker;
    request->http = http;
    request->started_us = clock_boot_us();
    request->wait_ms = -1;
    set_id(request);
    set_traceparent(request);
    evhttp_connection_get_peer(evhttp_request_get_connection(http), &address, &port);
    request->subject.request_id = xstrdup(request->id);
    request->subject.remote = xstrdup(address);
    worker_count(worker, 1);
    return request;
}

static void free_request(struct request *request)
{
    worker_count(request->worker, -1);
    if (request->timer != NULL) {
        event_free(request->timer);
    }
    subject_done(&request->subject);
    action_unref(request->action);
    free(request->reason);
    json_decref(request->problem);
    free(request);
}

/* ---- Answers ---- */

/* Reason phrases (RFC 9110 and 6585) that evhttp does not know; NULL leaves them to it. */
static const char *reason_phrase(int status)
{
    switch (status) {
    case 415:
        return "Unsupported Media Type";
    case 422:
        return "Unprocessable Content";
    case 429:
        return "Too Many Requests";
    case 504:
        return "Gateway Timeout";
    default:
        return NULL;
    }
}

void request_reply(struct request *request, int status, const char *content_type, const char *body,
                   size_t len)
{
    struct evbuffer *buffer = evbuffer_new();
    const char *route = request->route != NULL ? request->route->label : "none";
    char code[8];

    if (body != NULL) {
        (void)evbuffer_add(buffer, body, len);
        request_set_header(request, "Content-Type", content_type);
    }
    request_set_header(request, "X-Request-ID", request->id);
    request_set_header(request, "Cache-Control", "no-store");
    if (worker_gateway(request->worker)->draining) {
        request_set_header(request, "Connection", "close");
    }
    (void)snprintf(code, sizeof(code), "%d", status);
    metrics_add(METRIC_HTTP_REQUESTS, route, code, 1);
    metrics_observe(METRIC_HTTP_SECONDS, NULL,
                    (double)(clock_boot_us() - request->started_us) / 1e6);
    evhttp_send_reply(request->http, status, reason_phrase(status), buffer);
    evbuffer_free(buffer);
    free_request(request);
}

static void reply_json(struct request *request, int status, const char *type, json_t *body_take)
{
    CLEANUP(cleanup_free) char *text = json_write(body_take);

    json_decref(body_take);
    request_reply(request, status, type, text, strlen(text));
}

void request_reply_json(struct request *request, int status, json_t *body_take)
{
    reply_json(request, status, "application/json", body_take);
}

void request_reply_problem(struct request *request, enum problem_type type, const char *detail)
{
    if (type == PROBLEM_UNAVAILABLE) {
        request_set_header(request, "Retry-After", "1");
    }
    reply_json(request, problem_status(type), "application/problem+json",
               problem_json(type, detail, request->id));
}

/* ---- Refusals ---- */

static void on_refusal_stored(enum err result, void *arg)
{
    struct request *request = arg;
    char seconds[24];

    if (result != OK) {
        metrics_add(METRIC_AUDIT_FAILURES, NULL, NULL, 1);
        request_reply_problem(request, PROBLEM_UNAVAILABLE,
                              "The audit log cannot be written now. Nothing was sent.");
        return;
    }
    if (request->retry_after_s > 0) {
        (void)snprintf(seconds, sizeof(seconds), "%lld", (long long)request->retry_after_s);
        request_set_header(request, "Retry-After", seconds);
    }
    json_t *problem = TAKE(request->problem);
    int status = (int)json_integer_value(json_object_get(problem, "status"));
    reply_json(request, status, "application/problem+json", problem);
}

static char *refusal_record(const struct request *request, enum problem_type type, json_t *detail)
{
    const char *event =
        type == PROBLEM_UNAUTHENTICATED ? "request.unauthenticated" : "request.refused";
    json_t *record = audit_begin(event, &request->subject);
    const struct action *action = request->action;

    audit_add_text(record, "action_id", request->route->argument ? request->argument : NULL);
    if (action != NULL) {
        CLEANUP(cleanup_json) json_t *asked = action_as_asked(action);
        audit_add_text(record, "action", action->type->name);
        audit_add(record, "devices",
                  json_incref(json_object_get(asked, action->kind == DEVICE_MAC ? "macs" : "ids")));
        audit_add(record, "params", json_incref(action->params));
    }
    audit_add_text(record, "reason", request->reason);
    audit_add_text(record, "decision", "deny");
    audit_add_text(record, "problem", problem_name(type));
    audit_add(record, "detail", detail);
    metrics_add(METRIC_AUDIT_RECORDS, event, NULL, 1);
    return audit_end(record);
}

void request_refuse(struct request *request, enum problem_type type, const char *detail,
                    json_t *extra_take, int64_t retry_after_s)
{
    struct gateway *gateway = worker_gateway(request->worker);
    struct store_write *write = store_write_new();
    json_t *recorded = json_pack("{s:s, s:s*}", "text", detail, "route", request->route->label);

    request->problem = problem_json(type, detail, request->id);
    request->retry_after_s = retry_after_s;
    if (extra_take != NULL) {
        (void)json_object_update(request->problem, extra_take);
        (void)json_object_update(recorded, extra_take);
        json_decref(extra_take);
    }
    store_write_add_record(write, refusal_record(request, type, recorded));
    if (store_submit(gateway->store, write, worker_mailbox(request->worker), on_refusal_stored,
                     request) != OK) {
        store_write_free(write);
        on_refusal_stored(ERR_FULL, request);
    }
}

/* Unknown, wrong, revoked and expired keys look the same. The record does not hold up the answer:
 * a flood of bad keys must not cost the disk's time. */
static void refuse_unauthenticated(struct request *request)
{
    struct gateway *gateway = worker_gateway(request->worker);
    struct store_write *write = store_write_new();

    store_write_add_record(write, refusal_record(request, PROBLEM_UNAUTHENTICATED, NULL));
    if (store_submit(gateway->store, write, NULL, NULL, NULL) != OK) {
        store_write_free(write);
        metrics_add(METRIC_AUDIT_FAILURES, NULL, NULL, 1);
    }
    request_set_header(request, "WWW-Authenticate", "Bearer");
    request_reply_problem(request, PROBLEM_UNAUTHENTICATED,
                          "Send a valid key of this gateway: 'Authorization: Bearer tg_...'.");
}

/* ---- Steps ---- */

/* Finds the one access_token of the query. Returns how many there are; the caller frees. */
static int query_token(const struct request *request, char **ret_token)
{
    const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(request->http));
    struct evkeyvalq pairs;
    struct evkeyval *pair;
    int found = 0;

    if (query == NULL || strlen(query) == 0 || evhttp_parse_query_str(query, &pairs) != 0) {
        return 0;
    }
    for (pair = pairs.tqh_first; pair != NULL; pair = pair->next.tqe_next) {
        if (strcmp(pair->key, "access_token") == 0 && found++ == 0) {
            *ret_token = xstrdup(pair->value);
        }
    }
    evhttp_clear_headers(&pairs);
    return found;
}

static enum err authenticate(struct request *request)
{
    const struct gateway *gateway = worker_gateway(request->worker);
    const char *header = request_header(request, "Authorization");
    CLEANUP(cleanup_free) char *token = NULL;
    int in_query = gateway->config->accept_query_token ? query_token(request, &token) : 0;
    const char *key = token;

    if (in_query > 1 || (in_query == 1 && header != NULL)) {
        return ERR_MALFORMED;
    }
    if (header != NULL) {
        key = strncasecmp(header, bearer, strlen(bearer)) == 0 ? header + strlen(bearer) : "";
    }
    if (key == NULL ||
        key_table_authenticate(gateway->keys, key, clock_wall_ms(), &request->principal) != OK) {
        return ERR_DENIED;
    }
    request->subject.client = xstrdup(request->principal.client->name);
    request->subject.key_id = xstrdup(request->principal.key->id);
    request->subject.team = xstrdup(request->principal.client->team);
    return OK;
}

void on_http_request(struct evhttp_request *http, void *worker)
{
    struct request *request = new_request(worker, http);
    enum err err;

    if (!route_find(request)) {
        return; /* answered: 404 or 405 */
    }
    if (worker_gateway(worker)->draining) {
        request_reply_problem(request, PROBLEM_UNAVAILABLE,
                              "The gateway is shutting down. Nothing was sent.");
        return;
    }
    err = authenticate(request);
    if (err == ERR_MALFORMED) {
        request_reply_problem(request, PROBLEM_MALFORMED_REQUEST,
                              "Send the key once: in Authorization or as access_token, not both.");
    } else if (err != OK) {
        refuse_unauthenticated(request);
    } else {
        request->route->handle(request);
    }
}
