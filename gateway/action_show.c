/* GET /v1/actions/{id}: one action, to the team that submitted it and to auditors and operators.
 * To everybody else it does not exist. Worker threads. */
#include "gateway/action_view.h"
#include "gateway/routes.h"
#include "gateway/worker.h"

#include <string.h>

static bool may_see(const struct request *request, const struct store_action *action)
{
    const struct client_config *client = request->principal.client;

    return client->roles.count > 0 ||
           (client->team != NULL && strcmp(client->team, action->team) == 0);
}

static void on_action(enum err result, const struct store_action *action, void *arg)
{
    struct request *request = arg;

    if (result == OK && may_see(request, action)) {
        request_reply_json(request, 200, action_view(action, -1, -1));
    } else if (result == OK || result == ERR_NOT_FOUND) {
        request_refuse(request, PROBLEM_NOT_FOUND, "There is no such action of your team.", NULL,
                       0);
    } else {
        request_reply_problem(request, PROBLEM_UNAVAILABLE, "The store cannot be read now.");
    }
}

void handle_show_action(struct request *request)
{
    if (store_read_action(worker_gateway(request->worker)->store, request->argument,
                          worker_mailbox(request->worker), on_action, request) != OK) {
        request_reply_problem(request, PROBLEM_UNAVAILABLE, "Too many reads are waiting.");
    }
}
