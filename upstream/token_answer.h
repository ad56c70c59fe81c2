/* Token answer: what a token endpoint's 200 says, checked. Pure; any thread.
 * Source: RFC 6749 5.1. */
#ifndef UPSTREAM_TOKEN_ANSWER_H
#define UPSTREAM_TOKEN_ANSWER_H

#include "common/error.h"
#include "common/memory.h"
#include "common/secret.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKEN_MAX_BYTES  4096
#define TOKEN_MAX_LIFE_S (10LL * 365 * 86400)

/* 1 to TOKEN_MAX_BYTES visible ASCII characters. */
bool token_is_sane(const char *text, size_t len);

/* Reads the body. OK gives *ret_secret, which the caller frees, and *ret_life_s: 0 to
 * TOKEN_MAX_LIFE_S, 0 = not said. ERR_MALFORMED: not JSON, or no usable access_token in it; the
 * error quotes nothing of the body. */
enum err token_answer_read(const char *body, size_t len, struct secret **ret_secret,
                           int64_t *ret_life_s, struct error *error) MUST_CHECK;

#endif
