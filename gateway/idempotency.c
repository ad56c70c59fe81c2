/* Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): the same key and body of a team get
 * the first answer again, for a day. Only accepted actions are remembered: a refusal changed
 * nothing, and the same request may be allowed next time. Worker threads. */
#include "gateway/action_view.h"
#include "gateway/headers.h"
#include "gateway/routes.h"
#include "gateway/worker.h"

#include "common/clock.h"
#include "common/crypto.h"
#include "common/json.h"

#include <stdio.h>
#include <string.h>

bool idempotency_read(struct request *request, const char *body, size_t len)
{
    const char *given = request_header(request, "Idempotency-Key");
    const char *key;
    size_t key_len;
    uint8_t digest[SHA256_BYTES];

    if (given == NULL) {
        return true;
    }
    if (!header_read_idempotency_key(given, &key, &key_len)) {
        request_refuse(request, PROBLEM_MALFORMED_REQUEST,
                       "Idempotency-Key must be 1 to 255 visible ASCII characters, quoted or "
                       "bare, without quotes or backslashes inside.",
                       NULL, 0);
        return false;
    }
    request->idempotency_key = xstrndup(key, key_len);
    crypto_sha256(body, len, digest);
    crypto_hex(digest, sizeof(digest), request->body_sha256);
    return true;
}

static void replay(struct request *request, const struct store_action *action)
{
    enum action_state state = ACTION_QUEUED;
    char location[64];

    (void)snprintf(request->action_id, sizeof(request->action_id), "%s", action->id);
    if (action_state_find(action->state, &state) != OK || !action_state_final(state)) {
        (void)snprintf(location, sizeof(location), "/v1/actions/%s", action->id);
        request_set_header(request, "Location", location);
        request_set_header(request, "Retry-After", "1");
        request_reply_problem(request, PROBLEM_IN_PROGRESS,
                              "The first request with this Idempotency-Key is still being worked "
                              "on; Location says how it stands.");
        return;
    }
    request_set_header(request, "Idempotent-Replayed", "true");
    if (request->wait_ms < 0) {
        (void)snprintf(location, sizeof(location), "/v1/actions/%s", action->id);
        request_set_header(request, "Location", location);
        request_reply_json(request, 202, action_view(action, -1, -1));
        return;
    }
    action_call_reply_ended(request, state, action->results,
                            action->problem != NULL ? json_loads(action->problem, 0, NULL) : NULL);
}

static void on_found(enum err result, const struct store_idempotency *idempotency,
                     const struct store_action *action, void *arg)
{
    struct request *request = arg;

    if (result == ERR_NOT_FOUND) {
        action_call_decide(request);
    } else if (result != OK) {
        request_reply_problem(request, PROBLEM_UNAVAILABLE,
                              "The store cannot be read now. Nothing was sent.");
    } else if (strcmp(idempotency->body_sha256, request->body_sha256) != 0) {
        request_refuse(request, PROBLEM_IDEMPOTENCY_MISMATCH,
                       "This Idempotency-Key was used with another body within the last 24 hours: "
                       "use a new key for a new request.",
                       NULL, 0);
    } else {
        replay(request, action);
    }
}

void idempotency_look_up(struct request *request)
{
    if (store_read_idempotency(worker_gateway(request->worker)->store, request->subject.team,
                               request->idempotency_key, clock_wall_ms(),
                               worker_mailbox(request->worker), on_found, request) != OK) {
        request_reply_problem(request, PROBLEM_UNAVAILABLE,
                              "Too many reads are waiting. Nothing was sent.");
    }
}
