/* GET /v1/actions?state=&limit=&cursor=: a page of the team's actions, newest first; of all teams'
 * for auditors and operators. Worker threads. */
#include "gateway/action_view.h"
#include "gateway/routes.h"
#include "gateway/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_LIMIT 100

static void on_page(enum err result, const struct store_action *actions, size_t count, int64_t next,
                    void *arg)
{
    struct request *request = arg;
    json_t *list = json_array();
    char cursor[24];

    if (result != OK) {
        json_decref(list);
        request_reply_problem(request, PROBLEM_UNAVAILABLE, "The store cannot be read now.");
        return;
    }
    for (size_t i = 0; i < count; i++) {
        (void)json_array_append_new(list, action_view(&actions[i], -1, -1));
    }
    (void)snprintf(cursor, sizeof(cursor), "%llx", (unsigned long long)next);
    request_reply_json(request, 200,
                       json_pack("{s:o, s:s?}", "actions", list, "next", next > 0 ? cursor : NULL));
}

/* A whole number of a query parameter in a base, within bounds. */
static bool read_number(const char *text, int base, int64_t min, int64_t max, int64_t *ret)
{
    char *end;
    long long value;

    errno = 0;
    value = strtoll(text, &end, base);
    if (text[0] == '\0' || text[0] == '-' || text[0] == '+' || text[0] == ' ' || *end != '\0' ||
        errno != 0 || value < min || value > max) {
        return false;
    }
    *ret = value;
    return true;
}

void handle_list_actions(struct request *request)
{
    bool twice[3];
    CLEANUP(cleanup_free) char *state = request_query(request, "state", &twice[0]);
    CLEANUP(cleanup_free) char *limit = request_query(request, "limit", &twice[1]);
    CLEANUP(cleanup_free) char *cursor = request_query(request, "cursor", &twice[2]);
    const struct client_config *client = request->principal.client;
    struct store_action_query query = {.team = client->roles.count > 0 ? NULL : client->team};
    enum action_state known;
    int64_t count = DEFAULT_LIMIT;

    if (twice[0] || twice[1] || twice[2] ||
        (state != NULL && action_state_find(state, &known) != OK) ||
        (limit != NULL && !read_number(limit, 10, 1, STORE_LIST_MAX, &count)) ||
        (cursor != NULL && !read_number(cursor, 16, 1, INT64_MAX, &query.before))) {
        request_reply_problem(request, PROBLEM_MALFORMED_REQUEST,
                              "state must be a state of an action, limit 1 to 1000, cursor the "
                              "\"next\" of the page before; each at most once.");
        return;
    }
    query.state = state;
    query.limit = (int)count;
    if (store_list_actions(worker_gateway(request->worker)->store, &query,
                           worker_mailbox(request->worker), on_page, request) != OK) {
        request_reply_problem(request, PROBLEM_UNAVAILABLE, "Too many reads are waiting.");
    }
}
