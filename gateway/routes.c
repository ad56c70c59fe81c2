/* Routes: see routes.h. */
#include "gateway/routes.h"

#include <event2/http.h>
#include <stdio.h>
#include <string.h>

static const struct route routes[] = {
    {EVHTTP_REQ_POST, "/o/api/v3.1/devices/action", false, "/o/api/v3.1/devices/action", true,
     handle_drop_in},
    {EVHTTP_REQ_POST, "/v1/actions", false, "/v1/actions", true, handle_submit},
    {EVHTTP_REQ_GET, "/v1/actions", false, "/v1/actions", false, handle_list_actions},
    {EVHTTP_REQ_GET, "/v1/actions", true, "/v1/actions/{id}", false, handle_show_action},
    {EVHTTP_REQ_DELETE, "/v1/actions", true, "/v1/actions/{id}", false, handle_cancel_action},
    {EVHTTP_REQ_POST, "/v1/preflight", false, "/v1/preflight", true, handle_preflight},
    {EVHTTP_REQ_GET, "/v1/audit", false, "/v1/audit", false, handle_list_audit},
    {EVHTTP_REQ_GET, "/v1/audit/checkpoint", false, "/v1/audit/checkpoint", false,
     handle_audit_checkpoint},
    {EVHTTP_REQ_GET, "/v1/audit/consistency", false, "/v1/audit/consistency", false,
     handle_audit_consistency},
    {EVHTTP_REQ_GET, "/v1/audit/entries", true, "/v1/audit/entries/{seq}", false,
     handle_audit_entry},
    {EVHTTP_REQ_GET, "/v1/budget", false, "/v1/budget", false, handle_show_budget},
};

static const char *method_name(int method)
{
    return method == EVHTTP_REQ_POST ? "POST" : method == EVHTTP_REQ_GET ? "GET" : "DELETE";
}

/* Whether the path is the route's; its variable part goes to argument. */
static bool matches(const struct route *route, const char *path, char *argument, size_t size)
{
    size_t len = strlen(route->path);

    if (strncmp(path, route->path, len) != 0) {
        return false;
    }
    if (!route->argument) {
        return path[len] == '\0';
    }
    if (path[len] != '/' || path[len + 1] == '\0' || strchr(path + len + 1, '/') != NULL ||
        strlen(path + len + 1) >= size) {
        return false;
    }
    (void)snprintf(argument, size, "%s", path + len + 1);
    return true;
}

bool route_find(struct request *request)
{
    const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request->http));
    int method = (int)evhttp_request_get_command(request->http);
    char allowed[64] = "";
    size_t used = 0;

    for (size_t i = 0; i < ARRAY_LEN(routes) && path != NULL; i++) {
        if (!matches(&routes[i], path, request->argument, sizeof(request->argument))) {
            continue;
        }
        if (routes[i].method == method) {
            request->route = &routes[i];
            return true;
        }
        used += (size_t)snprintf(allowed + used, sizeof(allowed) - used, "%s%s",
                                 used > 0 ? ", " : "", method_name(routes[i].method));
    }
    if (used == 0) {
        request_reply_problem(request, PROBLEM_NOT_FOUND,
                              "There is no such path. Actions are sent to POST "
                              "/o/api/v3.1/devices/action or POST /v1/actions.");
        return false;
    }
    request_set_header(request, "Allow", allowed);
    request_reply_problem(request, PROBLEM_METHOD_NOT_ALLOWED, "The Allow header says what is.");
    return false;
}
