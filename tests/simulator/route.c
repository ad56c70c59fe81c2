/*
 * From path and method to the handler. One table, which also makes the 404 and 405 answers.
 */
#include <stdio.h>
#include <string.h>

#include "exchange.h"
#include "handlers.h"

#define ANY_METHOD (-1)

/* action_handle() checks its method itself, for a wrong one counts against the rate limit. */
static const struct route {
    const char *path;
    int method;
    const char *method_name;
    sim_handler handler;
} routes[] = {
    {"/o/oauth/token", EVHTTP_REQ_POST, "POST", oauth_handle},
    {"/o/api/v3.1/devices/action", ANY_METHOD, "POST", action_handle},
    {"/_sim/calls", EVHTTP_REQ_GET, "GET", control_list_calls},
    {"/_sim/calls", EVHTTP_REQ_DELETE, "DELETE", control_clear_calls},
    {"/_sim/stats", EVHTTP_REQ_GET, "GET", control_show_stats},
    {"/_sim/devices", EVHTTP_REQ_GET, "GET", control_list_devices},
    {"/_sim/faults", EVHTTP_REQ_POST, "POST", control_add_faults},
    {"/_sim/faults", EVHTTP_REQ_GET, "GET", control_list_faults},
    {"/_sim/faults", EVHTTP_REQ_DELETE, "DELETE", control_clear_faults},
    {"/_sim/revoke", EVHTTP_REQ_POST, "POST", control_revoke},
};

static void route_handle(struct sim *sim, struct evhttp_request *req, struct answer *answer)
{
    const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(req));
    int method = (int)evhttp_request_get_command(req);
    char allow[64] = "";
    int allow_len = 0;

    for (size_t i = 0; path && i < sizeof(routes) / sizeof(routes[0]); i++) {
        const struct route *route = &routes[i];

        if (strcmp(path, route->path) != 0) {
            continue;
        }
        if (route->method == ANY_METHOD || route->method == method) {
            route->handler(sim, req, answer);
            return;
        }
        allow_len += snprintf(allow + allow_len, sizeof(allow) - (size_t)allow_len, "%s%s",
                              allow_len > 0 ? ", " : "", route->method_name);
    }
    if (allow_len == 0) {
        answer_set_error(answer, 404, "not_found", NULL);
        return;
    }
    answer_set_error(answer, 405, "method_not_allowed", NULL);
    answer_add_header(answer, "Allow", allow);
}

void route_request(struct evhttp_request *req, void *sim_arg)
{
    struct sim *sim = sim_arg;
    struct answer answer = {0};

    route_handle(sim, req, &answer);
    exchange_start(sim, req, &answer);
}
