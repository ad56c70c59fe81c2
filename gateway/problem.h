/* Problem: every error a client can get, as problem details (RFC 9457). Any thread. */
#ifndef GATEWAY_PROBLEM_H
#define GATEWAY_PROBLEM_H

#include "common/error.h"
#include "common/memory.h"

#include <jansson.h>

enum problem_type {
    PROBLEM_MALFORMED_REQUEST,
    PROBLEM_UNAUTHENTICATED,
    PROBLEM_POLICY_DENIED,
    PROBLEM_FORBIDDEN,
    PROBLEM_NOT_FOUND,
    PROBLEM_METHOD_NOT_ALLOWED,
    PROBLEM_BODY_TOO_LARGE,
    PROBLEM_UNSUPPORTED_MEDIA_TYPE,
    PROBLEM_HEADER_TOO_LARGE,
    PROBLEM_INVALID_ACTION,
    PROBLEM_QUOTA_EXCEEDED,
    PROBLEM_UPSTREAM_REJECTED,
    PROBLEM_UPSTREAM_ERROR,
    PROBLEM_UNAVAILABLE,
    PROBLEM_OUTCOME_UNKNOWN,
    PROBLEM_STILL_RUNNING,
    PROBLEM_IDEMPOTENCY_MISMATCH,
    PROBLEM_IN_PROGRESS,
    PROBLEM_NOT_CANCELLABLE,
    PROBLEM_CANCELLED,
    PROBLEM_EXPIRED,
};

int problem_status(enum problem_type type);

/* NAME of urn:tollgate:problem:NAME; static. And back: ERR_NOT_FOUND. */
const char *problem_name(enum problem_type type);
enum err problem_find(const char *name, enum problem_type *ret_type) MUST_CHECK;

/* {"type","title","status","detail"} and, when given, "request_id". New reference. */
json_t *problem_json(enum problem_type type, const char *detail, const char *request_id);

#endif
