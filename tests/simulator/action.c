/*
 * The device action call: token, rate limit, validation, execution, and the faults between.
 * All of it happens when the call has arrived; only the answer may wait.
 */
#include <event2/keyvalq_struct.h>
#include <inttypes.h>
#include <stdio.h>

#include "fault_apply.h"
#include "handlers.h"

#define COMMAND_ID_LENGTH 24

/* One arrived call. */
struct arrival {
    int64_t now_us;
    struct evkeyvalq query;
    const char *token; /* inside query; NULL if it has none */
    bool parsed;
    struct action_request request;
    int problem_status; /* what is wrong with it, if it was not parsed */
    struct problem problem;
};

static void arrival_read_token(struct arrival *arrival, struct evhttp_request *req)
{
    const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(req));

    TAILQ_INIT(&arrival->query);
    if (query && evhttp_parse_query_str(query, &arrival->query) == 0) {
        arrival->token = evhttp_find_header(&arrival->query, "access_token");
    }
}

static void arrival_read_body(struct arrival *arrival, struct evhttp_request *req,
                              size_t max_devices)
{
    size_t len = 0;
    const char *body = sim_request_body(req, &len);

    if (evhttp_request_get_command(req) != EVHTTP_REQ_POST) {
        arrival->problem_status = 405;
        problem_set(&arrival->problem, "method not allowed");
    } else if (!sim_request_has_type(req, "application/json")) {
        arrival->problem_status = 415;
        problem_set(&arrival->problem, "Content-Type must be application/json");
    } else {
        arrival->problem_status = 400;
        arrival->parsed =
            action_request_parse(&arrival->request, body, len, max_devices, &arrival->problem);
    }
}

static void action_execute(struct sim *sim, const struct arrival *arrival,
                           struct evhttp_request *req, struct answer *answer)
{
    const struct action_request *request = &arrival->request;
    json_t *items = json_array();
    size_t len = 0;
    const char *body = sim_request_body(req, &len);

    for (size_t i = 0; i < json_array_size(request->devices); i++) {
        const char *name = json_string_value(json_array_get(request->devices, i));
        enum device_status status = devices_apply(sim->devices, request, name);
        char command_id[COMMAND_ID_LENGTH + 1] = "";

        if (request->action == ACTION_FETCH_AGENT_LOG && status == DEVICE_APPLIED) {
            random_text(&sim->random, "0123456789abcdef", command_id, COMMAND_ID_LENGTH);
        }
        json_array_append_new(items, json_pack("{ss si ss}", "id", name, "status", (int)status,
                                               "command_id", command_id));
    }
    answer_set_json(answer, 200, items);
    answer->call = calls_add(sim->calls, arrival->now_us, body, len);
    sim->stats.executed++;
}

static void action_answer(struct sim *sim, const struct arrival *arrival,
                          struct evhttp_request *req, struct answer *answer)
{
    if (arrival->parsed) {
        action_execute(sim, arrival, req, answer);
        return;
    }
    answer_set_error(answer, arrival->problem_status, "invalid_request", arrival->problem.text);
    if (arrival->problem_status == 405) {
        answer_add_header(answer, "Allow", "POST");
    }
    sim->stats.bad_request++;
}

/* A call with a valid token. It counts, unless the limit or an ordered 429 refuses it. */
static void action_admit(struct sim *sim, const struct arrival *arrival, struct evhttp_request *req,
                         struct answer *answer)
{
    struct fault *fault = NULL;

    if (!limiter_allows(sim->limiter, arrival->now_us)) {
        answer_set_error(answer, 429, "rate_limit_exceeded", NULL);
        sim->stats.refused_429++;
        return;
    }
    fault = faults_take(sim->faults, FAULT_ON_ACTION, arrival->parsed ? &arrival->request : NULL);
    if (fault_status(fault) != 429) {
        limiter_count(sim->limiter, arrival->now_us);
    }
    if (!fault || fault_executes(fault)) {
        action_answer(sim, arrival, req, answer);
    }
    if (fault) {
        fault_apply(fault, answer, arrival->parsed ? &arrival->request : NULL, arrival->token);
        fault_free(fault);
    }
}

static void add_number_header(struct answer *answer, const char *name, int64_t value)
{
    char text[24];

    /* Already there if a "status" order gave it. */
    if (!json_object_get(answer->headers, name)) {
        snprintf(text, sizeof(text), "%" PRId64, value);
        answer_add_header(answer, name, text);
    }
}

static void add_rate_headers(struct sim *sim, int64_t now_us, struct answer *answer)
{
    struct limiter_state state = limiter_get_state(sim->limiter, now_us);

    add_number_header(answer, "X-RateLimit-Limit", state.limit);
    add_number_header(answer, "X-RateLimit-Remaining", state.remaining);
    add_number_header(answer, "X-RateLimit-Reset-Time", (state.reset_us + 999999) / 1000000);
}

void action_handle(struct sim *sim, struct evhttp_request *req, struct answer *answer)
{
    const struct options *options = sim->options;
    struct arrival arrival = {.now_us = clock_mono_us()};

    arrival_read_token(&arrival, req);
    if (!arrival.token || !tokens_accept(sim->tokens, arrival.token, arrival.now_us)) {
        answer_set_error(answer, 401, "invalid_token", NULL);
        sim->stats.bad_token++;
    } else {
        arrival_read_body(&arrival, req, (size_t)options->max_devices);
        action_admit(sim, &arrival, req, answer);
        action_request_done(&arrival.request);
    }
    add_rate_headers(sim, arrival.now_us, answer);
    answer->delay_ms +=
        random_between(&sim->random, options->latency_low_ms, options->latency_high_ms);
    evhttp_clear_headers(&arrival.query);
}
