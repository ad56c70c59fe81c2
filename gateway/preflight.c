/* POST /v1/preflight: what would become of a request; nothing is sent, queued or recorded as an
 * action. Worker threads. */
#include "gateway/routes.h"
#include "gateway/worker.h"

#include "common/clock.h"
#include "common/json.h"

#include <event2/buffer.h>
#include <event2/http.h>
#include <stdio.h>

/* problems_take: what speaks against it. eta_ms < 0: it would not be sent. */
static void reply(struct request *request, const char *decision, const char *rule,
                  json_t *problems_take, size_t calls, int64_t eta_ms, bool would_share)
{
    request_reply_json(request, 200,
                       json_pack("{s:s, s:s?, s:o, s:o, s:o, s:b}", "decision", decision, "rule",
                                 rule, "problems", problems_take, "calls_needed",
                                 calls > 0 ? json_integer((json_int_t)calls) : json_null(), "eta_s",
                                 eta_ms >= 0 ? json_integer((eta_ms + 999) / 1000) : json_null(),
                                 "would_share", (int)would_share));
}

static size_t calls_needed(const struct request *request)
{
    const struct config *config = request->config;
    size_t team = (size_t)request->principal.client->team_index;
    const struct account_config *account =
        config_account(config, config_team(config, team)->account_index);
    size_t max = (size_t)account->max_devices_per_call;

    return (request->action->device_count + max - 1) / max;
}

static void on_answer(struct request *request, struct question *question)
{
    json_t *problems = json_array();
    const char *rule = json_string_value(json_object_get(request->view, "rule"));

    if (question->result == ERR_NOT_FOUND) {
        json_decref(problems);
        question_free(question);
        request_reply_problem(request, PROBLEM_UNAVAILABLE, "The configuration just changed.");
        return;
    }
    if (question->result == ERR_FULL) {
        (void)json_array_append_new(
            problems, json_pack("{s:s}", "detail", "the team's queue is full at present"));
    }
    reply(request, "allow", rule, problems, calls_needed(request), question->eta_ms,
          question->would_share);
    question_free(question);
}

static void decide(struct request *request)
{
    size_t team = (size_t)request->principal.client->team_index;
    struct policy policy = config_policy(request->config, team);
    struct decision decision;
    struct question *question;

    policy_decide(&policy, request->action, request_header(request, "Action-Reason"),
                  clock_wall_ms(), &decision);
    if (!decision.allowed) {
        reply(request, "deny", NULL, decision_violations(&decision), calls_needed(request), -1,
              false);
    } else if (decision.approvers != NULL) {
        reply(request, "deny", decision.rule,
              json_pack("[{s:s}]", "detail",
                        "the rule needs an approval, which this version cannot take yet"),
              calls_needed(request), -1, false);
    } else {
        request->view = json_pack("{s:s}", "rule", decision.rule);
        question = xcalloc(1, sizeof(*question));
        question->kind = QUESTION_PREFLIGHT;
        question->team = team;
        question->action = action_ref(request->action);
        request_ask(request, question, on_answer);
    }
    decision_done(&decision);
}

void handle_preflight(struct request *request)
{
    struct evbuffer *input = evhttp_request_get_input_buffer(request->http);
    const struct config *config = request->config;
    size_t len = evbuffer_get_length(input);
    const char *body = len > 0 ? (const char *)evbuffer_pullup(input, -1) : "";
    struct problems problems = {0};
    struct error error = {0};
    enum err err;

    if (request->principal.client->team_index < 0) {
        request_refuse(request, PROBLEM_FORBIDDEN,
                       "The client belongs to no team, so it cannot submit actions.", NULL, 0);
        return;
    }
    err = action_parse(body, len, (size_t)config->limits.max_devices_per_request, &request->action,
                       &problems, &error);
    if (err == ERR_MALFORMED) {
        request_reply_problem(request, PROBLEM_MALFORMED_REQUEST, error.text);
    } else if (err != OK) {
        reply(request, "invalid", NULL, problems_json(&problems), 0, -1, false);
    } else {
        decide(request);
    }
    problems_done(&problems);
}
