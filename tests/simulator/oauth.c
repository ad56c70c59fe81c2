/*
 * The token endpoint: the client credentials grant of RFC 6749, section 4.4, with its errors
 * (5.2). The client's credentials are in the form, as the upstream documents.
 */
#include <event2/keyvalq_struct.h>
#include <stdlib.h>
#include <string.h>

#include "fault_apply.h"
#include "handlers.h"

/* Parses the form body; the caller clears ret_form. */
static bool read_form(struct evhttp_request *req, struct evkeyvalq *ret_form)
{
    size_t len = 0;
    const char *body = sim_request_body(req, &len);
    char *form = NULL;
    bool parsed = false;

    TAILQ_INIT(ret_form);
    if (len == 0 || memchr(body, '\0', len) ||
        !sim_request_has_type(req, "application/x-www-form-urlencoded")) {
        return false;
    }
    form = sim_copy(body, len);
    parsed = evhttp_parse_query_str(form, ret_form) == 0;
    free(form);
    return parsed;
}

/* The value of a field given exactly once, else NULL. */
static const char *form_value(const struct evkeyvalq *form, const char *name)
{
    const struct evkeyval *field = NULL;
    const char *value = NULL;

    TAILQ_FOREACH(field, form, next)
    {
        if (strcmp(field->key, name) == 0) {
            if (value) {
                return NULL;
            }
            value = field->value;
        }
    }
    return value;
}

static void oauth_issue(struct sim *sim, struct answer *answer)
{
    int64_t ttl_s = sim->options->token_ttl_s;
    const char *token = tokens_issue(sim->tokens, &sim->random, clock_mono_us());
    json_t *body = json_pack("{ss ss}", "access_token", token, "token_type", "Bearer");

    sim->stats.tokens_issued++;
    if (ttl_s > 0) {
        json_object_set_new(body, "expires_in", json_integer(ttl_s));
    }
    answer_set_json(answer, 200, body);
}

static void oauth_execute(struct sim *sim, struct evhttp_request *req, struct answer *answer)
{
    struct evkeyvalq form;
    bool parsed = read_form(req, &form);
    const char *grant_type = form_value(&form, "grant_type");
    const char *client_id = form_value(&form, "client_id");
    const char *client_secret = form_value(&form, "client_secret");

    if (!parsed) {
        answer_set_error(answer, 400, "invalid_request", "the body must be a form");
    } else if (!grant_type || !client_id || !client_secret) {
        answer_set_error(answer, 400, "invalid_request",
                         "grant_type, client_id and client_secret are required, once each");
    } else if (strcmp(grant_type, "client_credentials") != 0) {
        answer_set_error(answer, 400, "unsupported_grant_type", NULL);
    } else if (strcmp(client_id, sim->options->client_id) != 0 ||
               strcmp(client_secret, sim->options->client_secret) != 0) {
        answer_set_error(answer, 401, "invalid_client", NULL);
    } else {
        oauth_issue(sim, answer);
    }
    evhttp_clear_headers(&form);
}

void oauth_handle(struct sim *sim, struct evhttp_request *req, struct answer *answer)
{
    struct fault *fault = faults_take(sim->faults, FAULT_ON_TOKEN, NULL);

    answer_add_header(answer, "Cache-Control", "no-store");
    if (!fault || fault_executes(fault)) {
        oauth_execute(sim, req, answer);
    }
    if (fault) {
        fault_apply(fault, answer, NULL, sim->options->client_secret);
        fault_free(fault);
    }
}
