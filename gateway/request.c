/* Request: arrival, identity, authentication and answers. See request.h. */
#include "gateway/request.h"

#include "common/clock.h"
#include "common/crypto.h"
#include "common/json.h"
#include "common/wipe.h"
#include "gateway/headers.h"
#include "gateway/metrics.h"
#include "gateway/overload.h"
#include "gateway/routes.h"
#include "gateway/worker.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/http.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BAD_KEY_DELAY_MS 1000

static const char query_token[] = "access_token";
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

    if (header_is_request_id(given, sizeof(request->id) - 1)) {
        memcpy(request->id, given, strlen(given) + 1);
    } else {
        request_make_id(request->id, sizeof(request->id));
    }
}

/* Anything that is none is ignored. */
static void set_traceparent(struct request *request)
{
    const char *given = request_header(request, "traceparent");

    if (header_is_traceparent(given)) {
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
    request->settings = settings_ref(worker_settings(worker));
    request->config = request->settings->config;
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
    overload_leave(worker_gateway(request->worker)->overload, &request->pass);
    if (request->timer != NULL) {
        event_free(request->timer);
    }
    subject_done(&request->subject);
    action_unref(request->action);
    free(request->reason);
    free(request->idempotency_key);
    json_decref(request->view);
    json_decref(request->problem);
    settings_unref(request->settings);
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

/* IETF draft-ietf-httpapi-ratelimit-headers: the account's window as the caller's policy. */
static void set_rate_headers(struct request *request)
{
    const struct client_config *client = request->principal.client;
    const struct account_config *account;
    int64_t free_slots;
    int64_t next_s;
    size_t index;
    char text[96];

    if (client == NULL || client->team_index < 0) {
        return;
    }
    index = config_team(request->config, (size_t)client->team_index)->account_index;
    account = config_account(request->config, index);
    gauge_read(request->settings->gauges[index], &free_slots, &next_s);
    (void)snprintf(text, sizeof(text), "\"account\";q=%lld;w=%lld",
                   (long long)account->budget.requests, (long long)account->budget.window_s);
    request_set_header(request, "RateLimit-Policy", text);
    (void)snprintf(text, sizeof(text), "\"account\";r=%lld;t=%lld", (long long)free_slots,
                   (long long)next_s);
    request_set_header(request, "RateLimit", text);
}

void request_reply(struct request *request, int status, const char *content_type, const char *body,
                   size_t len)
{
    struct evbuffer *buffer = evbuffer_new();
    const char *route = request->route != NULL ? request->route->label : "none";
    char code[24];

    request_set_header(request, "Content-Type", content_type);
    if (evhttp_request_get_command(request->http) == EVHTTP_REQ_HEAD) {
        (void)snprintf(code, sizeof(code), "%zu", len);
        request_set_header(request, "Content-Length", code);
    } else {
        (void)evbuffer_add(buffer, body, len);
    }
    request_set_header(request, "X-Request-ID", request->id);
    request_set_header(request, "Cache-Control", "no-store");
    if (worker_gateway(request->worker)->draining) {
        request_set_header(request, "Connection", "close");
    }
    if (request->route != NULL && request->route->rated && status != 202) {
        set_rate_headers(request);
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

static void set_retry_after(struct request *request, int64_t seconds)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%lld", (long long)seconds);
    request_set_header(request, "Retry-After", text);
}

void request_reply_problem(struct request *request, enum problem_type type, const char *detail)
{
    if (type == PROBLEM_UNAVAILABLE) {
        set_retry_after(request, request->retry_after_s > 0 ? request->retry_after_s : 1);
    }
    reply_json(request, problem_status(type), "application/problem+json",
               problem_json(type, detail, request->id));
}

/* ---- Refusals ---- */

static void on_refusal_stored(enum err result, void *arg)
{
    struct request *request = arg;

    if (result != OK) {
        metrics_add(METRIC_AUDIT_FAILURES, NULL, NULL, 1);
        request_reply_problem(request, PROBLEM_UNAVAILABLE,
                              "The audit log cannot be written now. Nothing was sent.");
        return;
    }
    if (request->retry_after_s > 0) {
        set_retry_after(request, request->retry_after_s);
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
        audit_add(record, "params", action_params(action));
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

/* Of a client that nobody knows. The record does not hold up the answer: a flood must not cost the
 * disk's time. */
static void record_unknown(struct request *request, enum problem_type type, json_t *detail)
{
    refusals_record(worker_gateway(request->worker)->refusals, request->subject.remote,
                    problem_name(type), refusal_record(request, type, detail));
}

static void reply_unauthenticated(struct request *request)
{
    request_set_header(request, "WWW-Authenticate", "Bearer");
    request_reply_problem(request, PROBLEM_UNAUTHENTICATED,
                          "Send a valid key of this gateway: 'Authorization: Bearer tg_...'.");
}

static void on_delay_over(evutil_socket_t fd, short what, void *arg)
{
    struct request *request = arg;

    (void)fd;
    (void)what;
    refusals_waited(worker_gateway(request->worker)->refusals);
    reply_unauthenticated(request);
}

/* Unknown, wrong, revoked and expired keys look the same, and no key too. */
static void refuse_unauthenticated(struct request *request)
{
    const struct timeval delay = {.tv_sec = BAD_KEY_DELAY_MS / 1000,
                                  .tv_usec = BAD_KEY_DELAY_MS % 1000 * 1000};
    enum refusal_answer answer;

    if (refusals_add_bad_key(worker_gateway(request->worker)->refusals, request->subject.remote,
                             &answer)) {
        record_unknown(request, PROBLEM_UNAUTHENTICATED, NULL);
    }
    if (answer == REFUSAL_LATER) {
        request->timer = evtimer_new(worker_base(request->worker), on_delay_over, request);
        (void)evtimer_add(request->timer, &delay);
        return;
    }
    if (answer == REFUSAL_AND_CLOSE) {
        request_set_header(request, "Connection", "close");
    }
    reply_unauthenticated(request);
}

/* A key in two places is not even looked at. */
static void refuse_ambiguous(struct request *request)
{
    static const char text[] = "Send the key once: in Authorization or as access_token, not both.";

    if (refusals_add(worker_gateway(request->worker)->refusals, request->subject.remote,
                     problem_name(PROBLEM_MALFORMED_REQUEST))) {
        record_unknown(request, PROBLEM_MALFORMED_REQUEST,
                       json_pack("{s:s, s:s}", "text", text, "route", request->route->label));
    }
    request_reply_problem(request, PROBLEM_MALFORMED_REQUEST, text);
}

/* ---- Steps ---- */

/* evhttp's own parser gives up on empty values, which are as good as none here. */
char *request_query(const struct request *request, const char *name, bool *ret_twice)
{
    const char *at = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(request->http));
    size_t name_len = strlen(name);
    char *value = NULL;

    *ret_twice = false;
    while (at != NULL && *at != '\0') {
        size_t len = strcspn(at, "&");
        if (len > name_len && strncmp(at, name, name_len) == 0 && at[name_len] == '=') {
            CLEANUP(cleanup_free) char *coded = xstrndup(at + name_len + 1, len - name_len - 1);
            size_t size = 0;
            *ret_twice = *ret_twice || value != NULL;
            free(value);
            value = evhttp_uridecode(coded, 1, &size);
            *ret_twice = *ret_twice || (value != NULL && strlen(value) != size);
        }
        at += len + (at[len] == '&' ? 1 : 0);
    }
    if (*ret_twice || (value != NULL && value[0] == '\0')) {
        free(value);
        value = NULL;
    }
    return value;
}

bool request_query_knows(const struct request *request, const char *const *names, size_t count)
{
    const char *at = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(request->http));

    while (at != NULL && *at != '\0') {
        size_t len = strcspn(at, "&");
        size_t name_len = strcspn(at, "=&");
        bool known = len == 0 ||
                     (name_len == strlen(query_token) && strncmp(at, query_token, name_len) == 0);
        for (size_t i = 0; i < count && !known; i++) {
            known = strlen(names[i]) == name_len && strncmp(at, names[i], name_len) == 0 &&
                    len > name_len + 1;
        }
        if (!known) {
            return false;
        }
        at += len + (at[len] == '&' ? 1 : 0);
    }
    return true;
}

bool request_has_role(const struct request *request, const char *role)
{
    const struct text_list *roles = &request->principal.client->roles;

    for (size_t i = 0; i < roles->count; i++) {
        if (strcmp(roles->items[i], role) == 0) {
            return true;
        }
    }
    return false;
}

/* Auditors and operators see every team's. */
bool request_sees_team(const struct request *request, const char *team)
{
    const struct client_config *client = request->principal.client;

    return client->roles.count > 0 || (client->team != NULL && strcmp(client->team, team) == 0);
}

void request_ask(struct request *request, struct question *question_take,
                 void (*on_answer)(struct request *request, struct question *question))
{
    worker_park(request->worker, request);
    request->on_answer = on_answer;
    question_take->settings = settings_ref(request->settings);
    question_take->reply_to = worker_mailbox(request->worker);
    question_take->on_answer = worker_on_answer;
    question_take->token = request->token;
    if (dispatcher_ask(worker_gateway(request->worker)->dispatcher, question_take) != OK) {
        question_free(question_take);
        worker_unpark(request->worker, request);
        request_reply_problem(request, PROBLEM_UNAVAILABLE, "The gateway is overloaded.");
    }
}

/* Where no key is sent: by the certificate of the connection. */
static enum err authenticate_certificate(struct request *request, char key_id[CERTIFICATE_ID_SIZE])
{
    struct evhttp_connection *connection = evhttp_request_get_connection(request->http);
    struct bufferevent *filter = evhttp_connection_get_bufferevent(connection);
    SSL *ssl = bufferevent_openssl_get_ssl(bufferevent_get_underlying(filter));
    X509 *certificate;

    if (peer_certificate(ssl, request->settings, &certificate) != OK ||
        certificate_table_find(request->settings->certificates, certificate,
                               &request->principal.client) != OK) {
        return ERR_DENIED;
    }
    certificate_id(certificate, key_id);
    return OK;
}

static void cleanup_secret_text(char **text)
{
    wipe_free(*text);
}

/* A key that is sent decides, whatever certificate there is. */
static enum err authenticate(struct request *request)
{
    const char *header = request_header(request, "Authorization");
    CLEANUP(cleanup_secret_text) char *token = NULL;
    char certificate[CERTIFICATE_ID_SIZE];
    const char *key_id = certificate;
    bool twice = false;
    const char *key;
    enum err err;

    if (request->config->accept_query_token) {
        token = request_query(request, query_token, &twice);
    }
    if (twice || (token != NULL && header != NULL)) {
        return ERR_MALFORMED;
    }
    key = token;
    if (header != NULL) {
        key = strncasecmp(header, bearer, strlen(bearer)) == 0 ? header + strlen(bearer) : "";
    }
    if (key == NULL) {
        err = authenticate_certificate(request, certificate);
    } else {
        err = key_table_authenticate(request->settings->keys, key, clock_wall_ms(),
                                     &request->principal);
        key_id = err == OK ? request->principal.key->id : NULL;
    }
    if (err != OK) {
        return ERR_DENIED;
    }
    request->subject.client = xstrdup(request->principal.client->name);
    request->subject.key_id = xstrdup(key_id);
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
        refuse_ambiguous(request);
    } else if (err != OK) {
        refuse_unauthenticated(request);
    } else {
        request->route->handle(request);
    }
}
