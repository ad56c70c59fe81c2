/*
 * What an action does to a device by its state, after the "applies to" column of the
 * documentation of Device Action v3.1.
 */
#include <stdlib.h>
#include <string.h>

#include "devices_priv.h"

#define ANY_ID_PREFIX  "any-"
#define ANY_MAC_PREFIX "00:0c:29:ff:"

static bool device_supports(const struct device *device, enum action action)
{
    switch (action) {
    case ACTION_EXEMPT:
    case ACTION_UNEXEMPT:
    case ACTION_RE_IDENTIFY:
        return device->state != DEVICE_UNKNOWN && device->state != DEVICE_IGNORED &&
               device->state != DEVICE_UNLICENSED;
    case ACTION_IGNORE:
        return device->state == DEVICE_UNKNOWN;
    case ACTION_UNIGNORE:
        return device->state == DEVICE_IGNORED;
    case ACTION_DELETE:
        return true;
    case ACTION_DHCPRENEW:
        return device->agent == AGENT_PERSISTENT || device->agent == AGENT_OLD;
    case ACTION_ASSIGN_TO_GROUP:
        return device->agent != AGENT_DOMAIN_CONTROLLER;
    case ACTION_FETCH_AGENT_LOG:
        return device->agent == AGENT_PERSISTENT;
    }
    return false;
}

static void device_change(struct device *device, const struct action_request *request)
{
    switch (request->action) {
    case ACTION_EXEMPT:
        device->state = DEVICE_EXEMPT;
        device->exempt_time = request->exempt_time;
        break;
    case ACTION_UNEXEMPT:
        device->state = DEVICE_NORMAL;
        break;
    case ACTION_IGNORE:
        device->state = DEVICE_IGNORED;
        break;
    case ACTION_UNIGNORE:
        device->state = DEVICE_UNKNOWN;
        break;
    case ACTION_DELETE:
        device->state = DEVICE_DELETED;
        break;
    case ACTION_ASSIGN_TO_GROUP:
        free(device->group);
        device->group = NULL;
        if (request->group_id) {
            device->group = sim_copy(request->group_id, strlen(request->group_id));
        }
        break;
    case ACTION_DHCPRENEW:
    case ACTION_RE_IDENTIFY:
    case ACTION_FETCH_AGENT_LOG:
        break;
    }
}

enum device_status devices_apply(struct devices *devices, const struct action_request *request,
                                 const char *name)
{
    const char *any_prefix = request->by_mac ? ANY_MAC_PREFIX : ANY_ID_PREFIX;
    const struct device any = {.state = DEVICE_NORMAL, .agent = AGENT_PERSISTENT};
    struct device *device = NULL;
    char mac[MAC_TEXT_SIZE] = "";

    if (request->by_mac && mac_normalize(name, mac)) {
        name = mac;
    }
    if (strncmp(name, any_prefix, strlen(any_prefix)) == 0) {
        return device_supports(&any, request->action) ? DEVICE_APPLIED : DEVICE_NOT_SUPPORTED;
    }
    device = request->by_mac ? device_find_mac(devices, name) : device_find_id(devices, name);
    if (!device || device->state == DEVICE_DELETED || device->state == DEVICE_FAILING) {
        return DEVICE_FAILED;
    }
    if (!device_supports(device, request->action)) {
        return DEVICE_NOT_SUPPORTED;
    }
    device_change(device, request);
    return DEVICE_APPLIED;
}

static json_t *device_show(const struct device *device)
{
    json_t *exempt_time = NULL;

    if (device->state == DEVICE_EXEMPT) {
        exempt_time = json_integer(device->exempt_time);
    }
    return json_pack(
        "{ss ss? ss ss ss so?}", "id", device->id, "mac", device->mac[0] ? device->mac : NULL,
        "state", device_state_names[device->state], "agent", device_agent_names[device->agent],
        "group", device->group ? device->group : "default", "exempt_time", exempt_time);
}

json_t *devices_list(const struct devices *devices)
{
    json_t *list = json_array();

    for (size_t i = 0; i < devices->count; i++) {
        if (devices->table[i].state != DEVICE_DELETED) {
            json_array_append_new(list, device_show(&devices->table[i]));
        }
    }
    return list;
}
