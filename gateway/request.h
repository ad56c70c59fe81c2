/* Request: one HTTP request from its arrival to its one answer, on its worker's thread.
 * A handler either answers before it returns, or parks the request and answers from a callback.
 * The client's connection may be gone by then: answering is right all the same, evhttp then only
 * frees its part. Nobody keeps a pointer to the connection. */
#ifndef GATEWAY_REQUEST_H
#define GATEWAY_REQUEST_H

#include "gateway/audit.h"
#include "gateway/dispatcher.h"
#include "gateway/keys.h"
#include "gateway/problem.h"
#include "gateway/settings.h"
#include "policy/gate.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct evhttp_request;
struct event;
struct route;
struct worker;

#define REQUEST_ID_SIZE 129

struct request {
    struct worker *worker;
    struct evhttp_request *http;
    const struct settings *settings; /* in force when it came, and so until it is answered */
    const struct config *config;     /* theirs */
    const struct route *route;
    char id[REQUEST_ID_SIZE];
    char argument[64]; /* the path's variable part, or empty */
    int64_t started_us;
    struct principal principal;
    struct subject subject;

    /* An action call, while it is parked. */
    struct action *action;
    char *reason;
    int64_t wait_ms;       /* how long the caller waits; < 0: not at all */
    bool respond_async;    /* the caller prefers 202 */
    struct gate_pass pass; /* until it is accepted or refused */
    bool accepted;
    char action_id[ACTION_ID_SIZE];
    int64_t submitted_ms;
    size_t position;
    int64_t eta_ms;
    struct event *timer;
    uint64_t token;
    struct request *next;  /* in the worker's table */
    char *idempotency_key; /* or NULL */
    char body_sha256[65];

    /* A question to the dispatcher, while it is parked. question_free() is the callee's. */
    void (*on_answer)(struct request *request, struct question *question);
    json_t *view; /* the action it is about */

    /* A refusal that waits until it is recorded. */
    json_t *problem;
    int64_t retry_after_s; /* 0: no such header, or what is usual for the problem */
};

/* evhttp's callback: takes the request and runs it. worker is the argument. */
void on_http_request(struct evhttp_request *http, void *worker);

/* A header of the request, or NULL. */
const char *request_header(const struct request *request, const char *name);

/* Sets a header of the answer. */
void request_set_header(struct request *request, const char *name, const char *value);

/* The answers. Each ends the request: it must not be touched afterwards. */
void request_reply(struct request *request, int status, const char *content_type, const char *body,
                   size_t len);
void request_reply_json(struct request *request, int status, json_t *body_take);
void request_reply_problem(struct request *request, enum problem_type type, const char *detail);

/* Refuses with a problem once the refusal is recorded in the audit log (503 if that fails).
 * extra_take (may be NULL) are members to add to the problem, which also go into the record's
 * detail. retry_after_s 0: no Retry-After. */
void request_refuse(struct request *request, enum problem_type type, const char *detail,
                    json_t *extra_take, int64_t retry_after_s);

/* Asks the dispatcher about something and parks the request until on_answer; 503 if that cannot
 * be. question_take has its kind and what is asked. */
void request_ask(struct request *request, struct question *question_take,
                 void (*on_answer)(struct request *request, struct question *question));

/* A parameter of the query, decoded; NULL if it is not there, or there twice or with a NUL, which
 * is two texts as well (*ret_twice). The caller frees. */
char *request_query(const struct request *request, const char *name, bool *ret_twice);

/* Whether the query has no other parameters than these (and the key), none of them empty. */
bool request_query_knows(const struct request *request, const char *const *names, size_t count);

/* Whether the client may see this team's actions. */
bool request_sees_team(const struct request *request, const char *team);

/* Whether the client has a role. */
bool request_has_role(const struct request *request, const char *role);

/* Makes a request id, for requests that bring none. */
void request_make_id(char *text, size_t size);

#endif
