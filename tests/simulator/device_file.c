/*
 * Reads a device table from a file.
 */
#include <string.h>

#include "devices_priv.h"

#define STATES_IN_FILE DEVICE_DELETED /* all before it */
#define AGENTS_IN_FILE (AGENT_DOMAIN_CONTROLLER + 1)

/* The number of the name in value, 0 if there is no value, -1 if it is wrong. */
static int read_choice(const json_t *value, const char *const *names, int count)
{
    if (!value) {
        return 0;
    }
    for (int i = 0; json_is_string(value) && i < count; i++) {
        if (strcmp(json_string_value(value), names[i]) == 0) {
            return i;
        }
    }
    return -1;
}

static bool device_read(struct device *device, json_t *object, struct problem *problem)
{
    const char *id = NULL;
    const char *mac = NULL;
    json_error_t error;
    const json_t *state_name = NULL;
    const json_t *agent_name = NULL;
    int state = 0;
    int agent = 0;

    if (json_unpack_ex(object, &error, JSON_STRICT, "{s:s, s?s, s?o, s?o}", "id", &id, "mac", &mac,
                       "state", &state_name, "agent", &agent_name) != 0) {
        problem_set(problem, "%s", error.text);
        return false;
    }
    if (id[0] == '\0' || (mac && !mac_normalize(mac, device->mac))) {
        problem_set(problem, "wrong \"%s\"", id[0] ? "mac" : "id");
        return false;
    }
    state = read_choice(state_name, device_state_names, STATES_IN_FILE);
    agent = read_choice(agent_name, device_agent_names, AGENTS_IN_FILE);
    if (state < 0 || agent < 0) {
        problem_set(problem, "unknown \"%s\"", state < 0 ? "state" : "agent");
        return false;
    }
    device->id = sim_copy(id, strlen(id));
    device->state = (enum device_state)state;
    device->agent = (enum device_agent)agent;
    return true;
}

struct devices *devices_new_from_file(const char *path, struct problem *problem)
{
    struct devices *devices = NULL;
    struct problem reason = {""};
    json_error_t error;
    json_t *list = json_load_file(path, JSON_REJECT_DUPLICATES, &error);

    if (!json_is_array(list)) {
        problem_set(problem, "%s: %s", path, list ? "not a JSON array" : error.text);
        json_decref(list);
        return NULL;
    }
    devices = devices_new_empty(json_array_size(list));
    for (size_t i = 0; i < devices->count; i++) {
        if (!device_read(&devices->table[i], json_array_get(list, i), &reason)) {
            problem_set(problem, "%s: device %zu: %s", path, i, reason.text);
            goto failed;
        }
    }
    if (!devices_index(devices, &reason)) {
        problem_set(problem, "%s: %s", path, reason.text);
        goto failed;
    }
    json_decref(list);
    return devices;

failed:
    json_decref(list);
    devices_free(devices);
    return NULL;
}
