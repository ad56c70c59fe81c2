/* The two calls that submit an action, from the body to the answer: read it, decide, submit it to
 * the dispatcher, wait for what the caller wants to wait for. Worker threads. */
#include "gateway/action_view.h"
#include "gateway/guard.h"
#include "gateway/headers.h"
#include "gateway/metrics.h"
#include "gateway/overload.h"
#include "gateway/routes.h"
#include "gateway/worker.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REFUSED_PAUSE_MS 250

/* ---- Reading the request ---- */

/* How long the caller waits, and what it gets when that ends. */
static void read_preferences(struct request *request, bool async_by_default)
{
    struct header_prefer prefer = header_read_prefer(request_header(request, "Prefer"));
    const struct config *config = request->config;
    size_t team = (size_t)request->principal.client->team_index;
    bool waits = prefer.wait_s >= 0;

    request->respond_async = prefer.respond_async || (async_by_default && !waits);
    if (waits) {
        request->wait_ms = prefer.wait_s * 1000;
    } else {
        request->wait_ms =
            request->respond_async ? -1 : config_team(config, team)->sync_wait_s * 1000;
    }
}

static bool read_reason(struct request *request)
{
    const char *given = request_header(request, "Action-Reason");

    if (given != NULL && !header_is_reason(given)) {
        return false;
    }
    request->reason = xstrdup(given);
    return true;
}

/* ---- Deciding ---- */

static void refuse_denied(struct request *request, const struct decision *decision)
{
    const char *detail = "No rule of the team allows this; the violations say why.";

    if (decision->allowed) {
        detail = "The rule that matches needs an approval, which this version cannot take yet.";
    }
    request_refuse(request, PROBLEM_POLICY_DENIED, detail,
                   json_pack("{s:o, s:s*}", "violations", decision_violations(decision), "rule",
                             decision->rule),
                   0);
}

static void submit(struct request *request, const struct decision *decision)
{
    struct gateway *gateway = worker_gateway(request->worker);
    struct submission *submission = xcalloc(1, sizeof(*submission));

    worker_park(request->worker, request);
    *submission = (struct submission){
        .action = action_ref(request->action),
        .settings = settings_ref(request->settings),
        .team = (size_t)request->principal.client->team_index,
        .reason = xstrdup(request->reason),
        .rule = xstrdup(decision->rule),
        .report = decision->violation_count > 0 ? decision_violations(decision) : NULL,
        .priority = header_read_priority(request_header(request, "Priority")),
        .wait_ms = request->respond_async ? -1 : request->wait_ms,
        .waits = request->wait_ms >= 0,
        .idempotency_key = xstrdup(request->idempotency_key),
        .reply_to = worker_mailbox(request->worker),
        .on_reply = worker_on_reply,
        .token = request->token,
    };
    memcpy(submission->body_sha256, request->body_sha256, sizeof(submission->body_sha256));
    subject_copy(&submission->subject, &request->subject);
    if (dispatcher_submit(gateway->dispatcher, submission) != OK) {
        submission_free(submission);
        worker_unpark(request->worker, request);
        request_reply_problem(request, PROBLEM_UNAVAILABLE,
                              "The gateway is overloaded. Nothing was sent.");
    }
}

void action_call_decide(struct request *request)
{
    size_t team = (size_t)request->principal.client->team_index;
    struct policy policy = config_policy(request->config, team);
    struct decision decision;
    bool allowed;

    policy_decide(&policy, request->action, request->reason, clock_wall_ms(), &decision);
    allowed = decision.allowed && decision.approvers == NULL;
    metrics_add(METRIC_POLICY_DECISIONS, policy.team, allowed ? "allow" : "deny", 1);
    if (allowed) {
        submit(request, &decision);
    } else {
        refuse_denied(request, &decision);
    }
    decision_done(&decision);
}

static bool read_action(struct request *request)
{
    struct evbuffer *input = evhttp_request_get_input_buffer(request->http);
    const struct config *config = request->config;
    size_t len = evbuffer_get_length(input);
    const char *body = len > 0 ? (const char *)evbuffer_pullup(input, -1) : "";
    struct problems problems = {0};
    struct error error = {0};
    enum err err = action_parse(body, len, (size_t)config->limits.max_devices_per_request,
                                &request->action, &problems, &error);

    if (err == ERR_MALFORMED) {
        request_refuse(request, PROBLEM_MALFORMED_REQUEST, error.text, NULL, 0);
    } else if (err != OK) {
        request_refuse(request, PROBLEM_INVALID_ACTION,
                       "The body is JSON, but not a valid action; the errors say where.",
                       json_pack("{s:o}", "errors", problems_json(&problems)), 0);
    }
    problems_done(&problems);
    return err == OK && idempotency_read(request, body, len);
}

/* What can be said before the body is read; false: the request is answered. */
static bool check_headers(struct request *request)
{
    if (request->principal.client->team_index < 0) {
        request_refuse(request, PROBLEM_FORBIDDEN,
                       "The client belongs to no team, so it cannot submit actions.", NULL, 0);
    } else if (!header_is_json(request_header(request, "Content-Type"))) {
        request_refuse(request, PROBLEM_UNSUPPORTED_MEDIA_TYPE,
                       "Send the action as 'Content-Type: application/json'.", NULL, 0);
    } else if (!read_reason(request)) {
        request_refuse(request, PROBLEM_MALFORMED_REQUEST,
                       "Action-Reason must be at most 512 bytes of UTF-8 text on one line.", NULL,
                       0);
    } else {
        return true;
    }
    return false;
}

/* Before anything is done for it: what is too much should cost little. It is not in the audit log,
 * which is what cannot keep up. A client that does not heed Retry-After waits a little on its
 * connection, or refusing it would take all of the processor's time. */
static bool check_load(struct request *request)
{
    struct gateway *gateway = worker_gateway(request->worker);
    const char *team = request->subject.team != NULL ? request->subject.team : "";

    if (overload_enter(gateway->overload, team, &request->pass, &request->retry_after_s)) {
        request->retry_after_s = 0;
        return true;
    }
    guard_pause(evhttp_connection_get_bufferevent(evhttp_request_get_connection(request->http)),
                REFUSED_PAUSE_MS);
    request_reply_problem(request, PROBLEM_UNAVAILABLE,
                          "The gateway is overloaded. Nothing was sent.");
    return false;
}

static void handle(struct request *request, bool async_by_default)
{
    if (!check_load(request) || !check_headers(request) || !read_action(request)) {
        return;
    }
    read_preferences(request, async_by_default);
    if (request->idempotency_key != NULL) {
        idempotency_look_up(request);
    } else {
        action_call_decide(request);
    }
}

void handle_drop_in(struct request *request)
{
    handle(request, false);
}

void handle_submit(struct request *request)
{
    handle(request, true);
}

/* ---- Answering ---- */

static void set_location(struct request *request)
{
    char location[64];

    (void)snprintf(location, sizeof(location), "/v1/actions/%s", request->action_id);
    request_set_header(request, "Location", location);
}

static void reply_accepted(struct request *request)
{
    CLEANUP(cleanup_json) json_t *asked = action_as_asked(request->action);
    CLEANUP(cleanup_free) char *text = json_write(asked);
    struct store_action row = {
        .id = request->action_id,
        .team = request->subject.team,
        .client = request->subject.client,
        .state = action_state_name(ACTION_QUEUED),
        .submitted_ms = request->submitted_ms,
        .reason = request->reason,
        .request = text,
    };

    set_location(request);
    request_set_header(request, "Preference-Applied", "respond-async");
    request_reply_json(request, 202,
                       action_view(&row, (int64_t)request->position, request->eta_ms));
}

/* The wait ended before the results came. */
void action_call_stop_waiting(struct request *request)
{
    worker_unpark(request->worker, request);
    if (request->respond_async) {
        reply_accepted(request);
        return;
    }
    set_location(request);
    request_reply_problem(request, PROBLEM_STILL_RUNNING,
                          "The action is accepted and goes on. Ask for its results at the URL in "
                          "Location; do not send it again.");
}

static void on_wait_over(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    action_call_stop_waiting(arg);
}

static void on_accepted(struct request *request, const struct dispatcher_reply *reply)
{
    int64_t waited_ms = (clock_boot_us() - request->started_us) / 1000;
    int64_t left_ms = request->wait_ms > waited_ms ? request->wait_ms - waited_ms : 0;
    struct timeval left = {.tv_sec = left_ms / 1000, .tv_usec = (left_ms % 1000) * 1000};

    overload_leave(worker_gateway(request->worker)->overload, &request->pass);
    request->accepted = true;
    memcpy(request->action_id, reply->action_id, sizeof(request->action_id));
    request->submitted_ms = reply->submitted_ms;
    request->position = reply->position;
    request->eta_ms = reply->eta_ms;
    if (request->wait_ms < 0) {
        worker_unpark(request->worker, request);
        reply_accepted(request);
        return;
    }
    request->timer = evtimer_new(worker_base(request->worker), on_wait_over, request);
    (void)evtimer_add(request->timer, &left);
}

void action_call_reply_ended(struct request *request, enum action_state state, const char *results,
                             json_t *problem_take)
{
    CLEANUP(cleanup_json) json_t *problem = problem_take;
    CLEANUP(cleanup_free) char *text = NULL;
    int status;

    set_location(request);
    if (state == ACTION_COMPLETED && results != NULL) {
        request_reply(request, 200, "application/json", results, strlen(results));
        return;
    }
    if (problem == NULL) { /* a cancelled action has none of its own */
        problem =
            problem_json(PROBLEM_CANCELLED, "It was cancelled before anything was sent.", NULL);
    }
    (void)json_object_set_new(problem, "request_id", json_string(request->id));
    text = json_write(problem);
    status = (int)json_integer_value(json_object_get(problem, "status"));
    request_reply(request, status, "application/problem+json", text, strlen(text));
}

static void on_finished(struct request *request, const struct dispatcher_reply *reply)
{
    json_t *problem = NULL;

    worker_unpark(request->worker, request);
    if (reply->state != ACTION_COMPLETED) {
        problem = problem_json(reply->problem, reply->detail, request->id);
        if (reply->upstream_status > 0) {
            (void)json_object_set_new(problem, "upstream_status",
                                      json_integer(reply->upstream_status));
        }
    }
    action_call_reply_ended(request, reply->state, reply->results, problem);
}

static int64_t seconds_up(int64_t ms)
{
    return ms > 1000 ? (ms + 999) / 1000 : 1;
}

void action_call_on_reply(struct request *request, struct dispatcher_reply *reply)
{
    char detail[256];
    int64_t eta_s = seconds_up(reply->eta_ms);

    switch (reply->kind) {
    case REPLY_ACCEPTED:
        on_accepted(request, reply);
        break;
    case REPLY_FINISHED:
        on_finished(request, reply);
        break;
    case REPLY_QUEUE_FULL:
        worker_unpark(request->worker, request);
        request_refuse(request, PROBLEM_QUOTA_EXCEEDED,
                       "The team's queue is full. Nothing was queued; try again later.",
                       json_pack("{s:I}", "eta_s", (json_int_t)eta_s), eta_s);
        break;
    case REPLY_TOO_LONG:
        worker_unpark(request->worker, request);
        (void)snprintf(detail, sizeof(detail),
                       "The results are expected in %lld s, but the caller waits %lld s. Nothing "
                       "was queued. Wait longer (Prefer: wait=N) or do not wait (Prefer: "
                       "respond-async).",
                       (long long)eta_s, (long long)(request->wait_ms / 1000));
        request_refuse(request, PROBLEM_QUOTA_EXCEEDED, detail,
                       json_pack("{s:I}", "eta_s", (json_int_t)eta_s),
                       seconds_up(reply->eta_ms - request->wait_ms));
        break;
    case REPLY_DUPLICATE:
        worker_unpark(request->worker, request);
        idempotency_look_up(request);
        break;
    case REPLY_NO_UPSTREAM:
        worker_unpark(request->worker, request);
        request_refuse(request, PROBLEM_UPSTREAM_ERROR,
                       "The upstream cannot be reached now. Nothing was queued; try again later, "
                       "or do not wait (Prefer: respond-async).",
                       NULL, 5);
        break;
    case REPLY_UNAVAILABLE:
        worker_unpark(request->worker, request);
        request_reply_problem(request, PROBLEM_UNAVAILABLE,
                              "The gateway cannot record actions now. Nothing was sent.");
        break;
    }
}
