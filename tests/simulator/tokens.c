/*
 * A ring of the last tokens. Searched newest first, which nearly always finds it at once.
 */
#include "tokens.h"

#include <stdlib.h>
#include <string.h>

#include "base.h"

#define TOKENS_KEPT 1024

struct token {
    char text[TOKEN_LENGTH + 1];
    bool revoked;
    int64_t expires_us;
};

struct tokens {
    int64_t ttl_us;
    const char *always_valid;
    size_t issued;
    struct token ring[TOKENS_KEPT];
};

struct tokens *tokens_new(int64_t ttl_us, const char *always_valid)
{
    struct tokens *tokens = sim_calloc(1, sizeof(*tokens));

    tokens->ttl_us = ttl_us;
    tokens->always_valid = always_valid;
    return tokens;
}

void tokens_free(struct tokens *tokens)
{
    free(tokens);
}

const char *tokens_issue(struct tokens *tokens, struct random *random, int64_t now_us)
{
    struct token *token = &tokens->ring[tokens->issued++ % TOKENS_KEPT];

    random_text(random, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", token->text, TOKEN_LENGTH);
    token->revoked = false;
    token->expires_us = tokens->ttl_us > 0 ? now_us + tokens->ttl_us : INT64_MAX;
    return token->text;
}

static bool token_is_valid(const struct token *token, int64_t now_us)
{
    return !token->revoked && now_us < token->expires_us;
}

static size_t tokens_kept(const struct tokens *tokens)
{
    return tokens->issued < TOKENS_KEPT ? tokens->issued : TOKENS_KEPT;
}

bool tokens_accept(const struct tokens *tokens, const char *token, int64_t now_us)
{
    if (tokens->always_valid && strcmp(token, tokens->always_valid) == 0) {
        return true;
    }
    for (size_t age = 1; age <= tokens_kept(tokens); age++) {
        const struct token *known = &tokens->ring[(tokens->issued - age) % TOKENS_KEPT];

        if (strcmp(token, known->text) == 0) {
            return token_is_valid(known, now_us);
        }
    }
    return false;
}

size_t tokens_revoke(struct tokens *tokens, int64_t now_us)
{
    size_t revoked = 0;

    for (size_t i = 0; i < tokens_kept(tokens); i++) {
        if (token_is_valid(&tokens->ring[i], now_us)) {
            revoked++;
        }
        tokens->ring[i].revoked = true;
    }
    return revoked;
}
