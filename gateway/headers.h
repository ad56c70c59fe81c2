/* Headers: what the headers of a request say, read from their values. NULL stands for a header that
 * is not there. Pure; any thread. */
#ifndef GATEWAY_HEADERS_H
#define GATEWAY_HEADERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Content-Type: application/json, with no parameter but charset=utf-8. */
bool header_is_json(const char *type);

#define HEADER_MAX_WAIT_S 300

struct header_prefer {
    bool respond_async;
    int64_t wait_s; /* 0 to HEADER_MAX_WAIT_S; -1: not said */
};

/* Prefer (RFC 7240): the preferences that we know. */
struct header_prefer header_read_prefer(const char *prefer);

#define HEADER_DEFAULT_PRIORITY 3

/* Priority (RFC 9218): the urgency, 0 to 7. */
int header_read_priority(const char *priority);

#define HEADER_MAX_REASON_BYTES 512

/* Action-Reason: text for people: bounded, UTF-8, without control characters. */
bool header_is_reason(const char *text);

#define HEADER_MAX_KEY_LEN 255

/* Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): 1 to HEADER_MAX_KEY_LEN visible
 * ASCII characters without quotes and backslashes; bare, or quoted, and then *ret_key, which points
 * into text, is what stands between the quotes. */
bool header_read_idempotency_key(const char *text, const char **ret_key, size_t *ret_len);

/* X-Request-ID: 1 to max of A-Z a-z 0-9 . _ : - */
bool header_is_request_id(const char *text, size_t max);

/* traceparent: W3C Trace Context, version 00, with a trace and a parent that are not zero. */
bool header_is_traceparent(const char *text);

#endif
