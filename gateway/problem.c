/* Problem: the table. See problem.h. */
#include "gateway/problem.h"

#include "common/memory.h"

#include <stdio.h>
#include <string.h>

static const struct {
    int status;
    const char *name;
    const char *title;
} types[] = {
    [PROBLEM_MALFORMED_REQUEST] = {400, "malformed-request", "The request is malformed"},
    [PROBLEM_UNAUTHENTICATED] = {401, "unauthenticated", "No valid key"},
    [PROBLEM_POLICY_DENIED] = {403, "policy-denied", "The team's policy does not allow this"},
    [PROBLEM_FORBIDDEN] = {403, "forbidden", "The client may not do this"},
    [PROBLEM_NOT_FOUND] = {404, "not-found", "There is no such resource"},
    [PROBLEM_METHOD_NOT_ALLOWED] = {405, "method-not-allowed", "The method is not allowed here"},
    [PROBLEM_BODY_TOO_LARGE] = {413, "body-too-large", "The request body is too large"},
    [PROBLEM_UNSUPPORTED_MEDIA_TYPE] = {415, "unsupported-media-type",
                                        "The request body is not JSON"},
    [PROBLEM_HEADER_TOO_LARGE] = {431, "header-too-large", "The request header is too large"},
    [PROBLEM_INVALID_ACTION] = {422, "invalid-action", "The action is not valid"},
    [PROBLEM_QUOTA_EXCEEDED] = {429, "quota-exceeded", "Too much is waiting already"},
    [PROBLEM_UPSTREAM_REJECTED] = {502, "upstream-rejected", "The upstream refused the action"},
    [PROBLEM_UPSTREAM_ERROR] = {502, "upstream-error", "The upstream failed"},
    [PROBLEM_UNAVAILABLE] = {503, "unavailable", "The gateway cannot take actions now"},
    [PROBLEM_OUTCOME_UNKNOWN] = {504, "outcome-unknown", "Whether it was applied is not known"},
    [PROBLEM_STILL_RUNNING] = {504, "still-running", "The action is not finished yet"},
    [PROBLEM_IDEMPOTENCY_MISMATCH] = {422, "idempotency-mismatch",
                                      "The Idempotency-Key was used for another request"},
    [PROBLEM_IN_PROGRESS] = {409, "in-progress", "The same request is being worked on"},
    [PROBLEM_NOT_CANCELLABLE] = {409, "not-cancellable", "The action cannot be cancelled any more"},
    [PROBLEM_CANCELLED] = {409, "cancelled", "The action was cancelled"},
    [PROBLEM_EXPIRED] = {504, "expired", "The action was not sent in time"},
};

int problem_status(enum problem_type type)
{
    return types[type].status;
}

const char *problem_name(enum problem_type type)
{
    return types[type].name;
}

enum err problem_find(const char *name, enum problem_type *ret_type)
{
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (strcmp(types[i].name, name) == 0) {
            *ret_type = (enum problem_type)i;
            return OK;
        }
    }
    return ERR_NOT_FOUND;
}

json_t *problem_json(enum problem_type type, const char *detail, const char *request_id)
{
    char urn[64];

    (void)snprintf(urn, sizeof(urn), "urn:tollgate:problem:%s", types[type].name);
    return json_pack("{s:s, s:s, s:i, s:s, s:s*}", "type", urn, "title", types[type].title,
                     "status", types[type].status, "detail", detail, "request_id", request_id);
}
