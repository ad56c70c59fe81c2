/*
 * Parsing and validation of an action call's body, by one table of actions.
 */
#include "action_request.h"

#include <string.h>

#include "mac.h"

#define EXEMPT_TIME_MAX 64999
#define DEVICE_NAME_MAX 256

/* The one parameter an action may take, or NULL. */
static const struct action_row {
    const char *name;
    const char *param;
} action_rows[] = {
    [ACTION_EXEMPT] = {"exempt", "exempt_time"},
    [ACTION_UNEXEMPT] = {"unexempt", NULL},
    [ACTION_IGNORE] = {"ignore", NULL},
    [ACTION_UNIGNORE] = {"unignore", NULL},
    [ACTION_DELETE] = {"delete", NULL},
    [ACTION_DHCPRENEW] = {"dhcprenew", NULL},
    [ACTION_RE_IDENTIFY] = {"re-identify", NULL},
    [ACTION_ASSIGN_TO_GROUP] = {"assign_to_group", "group_id"},
    [ACTION_FETCH_AGENT_LOG] = {"fetch_agent_log", NULL},
};

#define ACTION_ROWS (sizeof(action_rows) / sizeof(action_rows[0]))

static bool check_keys(json_t *root, struct problem *problem)
{
    static const char *const known[] = {"types", "ids", "macs", "params"};
    const char *key = NULL;
    json_t *value = NULL;

    json_object_foreach (root, key, value) {
        bool found = false;

        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
            found = found || strcmp(key, known[i]) == 0;
        }
        if (!found) {
            problem_set(problem, "unknown key \"%.64s\"", key);
            return false;
        }
    }
    return true;
}

static bool parse_action(struct action_request *request, struct problem *problem)
{
    const char *name = json_string_value(json_object_get(request->root, "types"));

    if (!name) {
        problem_set(problem, "\"types\" must be a string");
        return false;
    }
    for (size_t i = 0; i < ACTION_ROWS; i++) {
        if (strcmp(name, action_rows[i].name) == 0) {
            request->action = (enum action)i;
            return true;
        }
    }
    problem_set(problem, "unknown \"types\": \"%.64s\"", name);
    return false;
}

static bool check_device(const json_t *device, bool by_mac)
{
    const char *name = json_string_value(device);
    char mac[MAC_TEXT_SIZE];

    if (!name || name[0] == '\0' || strlen(name) > DEVICE_NAME_MAX) {
        return false;
    }
    return !by_mac || mac_normalize(name, mac);
}

static bool parse_devices(struct action_request *request, size_t max_devices,
                          struct problem *problem)
{
    const json_t *ids = json_object_get(request->root, "ids");
    const json_t *macs = json_object_get(request->root, "macs");

    if (!ids == !macs) {
        problem_set(problem, "ids or macs, but not both");
        return false;
    }
    request->by_mac = macs != NULL;
    request->devices = ids ? ids : macs;
    if (json_array_size(request->devices) == 0) {
        problem_set(problem, "the devices must be a non-empty array");
        return false;
    }
    if (json_array_size(request->devices) > max_devices) {
        problem_set(problem, "more than %zu devices", max_devices);
        return false;
    }
    for (size_t i = 0; i < json_array_size(request->devices); i++) {
        if (!check_device(json_array_get(request->devices, i), request->by_mac)) {
            problem_set(problem, "device %zu is not a valid %s", i, request->by_mac ? "MAC" : "id");
            return false;
        }
    }
    return true;
}

static bool parse_params(struct action_request *request, struct problem *problem)
{
    const char *allowed = action_rows[request->action].param;
    json_t *params = json_object_get(request->root, "params");
    const json_t *value = allowed ? json_object_get(params, allowed) : NULL;

    if (params && !json_is_object(params)) {
        problem_set(problem, "\"params\" must be an object");
        return false;
    }
    if (json_object_size(params) != (value ? 1 : 0)) {
        problem_set(problem, "unknown parameter for \"%s\"", action_rows[request->action].name);
        return false;
    }
    if (!value) {
        return true;
    }
    if (request->action == ACTION_EXEMPT) {
        request->exempt_time = json_integer_value(value);
        if (!json_is_integer(value) || request->exempt_time < 0 ||
            request->exempt_time > EXEMPT_TIME_MAX) {
            problem_set(problem, "\"exempt_time\" must be an integer from 0 to 64999");
            return false;
        }
    } else {
        request->group_id = json_string_value(value);
        if (!request->group_id || request->group_id[0] == '\0') {
            problem_set(problem, "\"group_id\" must be a string");
            return false;
        }
    }
    return true;
}

bool action_request_parse(struct action_request *request, const char *body, size_t len,
                          size_t max_devices, struct problem *problem)
{
    json_error_t error;

    memset(request, 0, sizeof(*request));
    request->root = json_loadb(body, len, JSON_REJECT_DUPLICATES, &error);
    if (!request->root) {
        problem_set(problem, "malformed JSON: %s", error.text);
    } else if (!json_is_object(request->root)) {
        problem_set(problem, "the body must be an object");
    } else if (check_keys(request->root, problem) && parse_action(request, problem) &&
               parse_devices(request, max_devices, problem) && parse_params(request, problem)) {
        return true;
    }
    action_request_done(request);
    return false;
}

void action_request_done(struct action_request *request)
{
    json_decref(request->root);
    memset(request, 0, sizeof(*request));
}

bool action_request_holds(const struct action_request *request, const char *device)
{
    char wanted[MAC_TEXT_SIZE] = "";
    char mac[MAC_TEXT_SIZE] = "";

    if (request->by_mac && !mac_normalize(device, wanted)) {
        return false;
    }
    for (size_t i = 0; i < json_array_size(request->devices); i++) {
        const char *name = json_string_value(json_array_get(request->devices, i));

        if (!request->by_mac && strcmp(name, device) == 0) {
            return true;
        }
        if (request->by_mac && mac_normalize(name, mac) && strcmp(mac, wanted) == 0) {
            return true;
        }
    }
    return false;
}
