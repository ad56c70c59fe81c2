/* Token: the one access token of an account; had, kept fresh, and replaced once it is refused.
 * Runs on the thread of its event_base. Never logs, never shows what it holds.
 * Source: RFC 6749 4.4 (client credentials), OPSWAT OAuth API. */
#ifndef UPSTREAM_TOKEN_H
#define UPSTREAM_TOKEN_H

#include "common/error.h"
#include "common/memory.h"
#include "common/secret.h"
#include "upstream/transfer.h"
#include "upstream/upstream.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct token;

/* transfers is borrowed and outlives the token's work: free it first. options->base_url has no
 * trailing slash. Checks the secret files; the first token is had by the event loop. */
enum err token_new(struct event_base *base, struct transfers *transfers,
                   const struct upstream_options *options,
                   const struct upstream_callbacks *callbacks, struct token **ret_token,
                   struct error *error) MUST_CHECK;
void token_free(struct token *token);

/* Whether there is a token that is neither expired nor refused. */
bool token_ready(const struct token *token);

/* The token, or NULL while not ready; valid until the next turn of the event loop. generation
 * names it in token_reject(). */
const struct secret *token_get(const struct token *token, uint64_t *ret_generation);

/* The upstream refused that token: it is not used again, and another is fetched; but only once,
 * however many calls were refused. */
void token_reject(struct token *token, uint64_t generation);

/* Asks the token endpoint now, whatever token there is: on_token says what came of it. False: the
 * token comes from a file, there is nobody to ask. */
bool token_probe(struct token *token);

/* Overwrites token and client secret wherever a peer echoes them. */
void token_scrub(const struct token *token, char *data, size_t len);

#endif
