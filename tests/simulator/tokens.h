/*
 * The access tokens the simulator has issued, until they expire or are revoked.
 */
#ifndef SIM_TOKENS_H
#define SIM_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "random.h"

#define TOKEN_LENGTH 48

struct tokens;

/* ttl_us 0: tokens never expire. always_valid (may be NULL, must outlive this) is a token that
 * neither expires nor can be revoked. */
struct tokens *tokens_new(int64_t ttl_us, const char *always_valid);
void tokens_free(struct tokens *tokens);

/* Issues a token of 48 upper-case letters and digits; beyond 1024 live ones the oldest dies.
 * The text is owned by tokens and stands until 1024 more were issued. */
const char *tokens_issue(struct tokens *tokens, struct random *random, int64_t now_us);

bool tokens_accept(const struct tokens *tokens, const char *token, int64_t now_us);

/* Makes every issued token invalid; tells how many were valid until now. */
size_t tokens_revoke(struct tokens *tokens, int64_t now_us);

#endif
