/*
 * The device table: the built-in one, and finding devices by id or MAC.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices_priv.h"

const char *const device_state_names[] = {
    [DEVICE_NORMAL] = "normal",   [DEVICE_UNKNOWN] = "unknown",       [DEVICE_IGNORED] = "ignored",
    [DEVICE_EXEMPT] = "exempt",   [DEVICE_UNLICENSED] = "unlicensed", [DEVICE_FAILING] = "failing",
    [DEVICE_DELETED] = "deleted",
};

const char *const device_agent_names[] = {
    [AGENT_PERSISTENT] = "persistent",
    [AGENT_NONE] = "none",
    [AGENT_OLD] = "old",
    [AGENT_DOMAIN_CONTROLLER] = "domain-controller",
};

/* Device 7 of the third row is ignored-007 with MAC 00:0c:29:03:00:07. */
static const struct builtin_row {
    const char *prefix;
    int count;
    enum device_state state;
    enum device_agent agent;
} builtin_rows[] = {
    {"normal", 100, DEVICE_NORMAL, AGENT_PERSISTENT},
    {"unknown", 25, DEVICE_UNKNOWN, AGENT_NONE},
    {"ignored", 25, DEVICE_IGNORED, AGENT_NONE},
    {"exempt", 25, DEVICE_EXEMPT, AGENT_PERSISTENT},
    {"noagent", 25, DEVICE_NORMAL, AGENT_NONE},
    {"oldagent", 25, DEVICE_NORMAL, AGENT_OLD},
    {"dc", 25, DEVICE_NORMAL, AGENT_DOMAIN_CONTROLLER},
    {"unlicensed", 25, DEVICE_UNLICENSED, AGENT_PERSISTENT},
    {"failing", 25, DEVICE_FAILING, AGENT_PERSISTENT},
};

#define BUILTIN_ROWS (sizeof(builtin_rows) / sizeof(builtin_rows[0]))

static int compare_ids(const void *left, const void *right)
{
    const struct device_entry *a = left;
    const struct device_entry *b = right;

    return strcmp(a->device->id, b->device->id);
}

static int compare_macs(const void *left, const void *right)
{
    const struct device_entry *a = left;
    const struct device_entry *b = right;

    return strcmp(a->device->mac, b->device->mac);
}

struct device *device_find_id(const struct devices *devices, const char *id)
{
    struct device wanted = {.id = (char *)(uintptr_t)id};
    const struct device_entry key = {&wanted};
    const struct device_entry *found =
        bsearch(&key, devices->by_id, devices->count, sizeof(key), compare_ids);

    return found ? found->device : NULL;
}

struct device *device_find_mac(const struct devices *devices, const char *mac)
{
    struct device wanted = {.mac = ""};
    const struct device_entry key = {&wanted};
    const struct device_entry *found = NULL;

    if (!mac_normalize(mac, wanted.mac)) {
        return NULL;
    }
    found = bsearch(&key, devices->by_mac, devices->count, sizeof(key), compare_macs);
    return found ? found->device : NULL;
}

struct devices *devices_new_empty(size_t count)
{
    struct devices *devices = sim_calloc(1, sizeof(*devices));

    devices->count = count;
    devices->table = sim_calloc(count, sizeof(*devices->table));
    devices->by_id = sim_calloc(count, sizeof(*devices->by_id));
    devices->by_mac = sim_calloc(count, sizeof(*devices->by_mac));
    return devices;
}

void devices_free(struct devices *devices)
{
    if (!devices) {
        return;
    }
    for (size_t i = 0; i < devices->count; i++) {
        free(devices->table[i].id);
        free(devices->table[i].group);
    }
    free(devices->table);
    free(devices->by_id);
    free(devices->by_mac);
    free(devices);
}

bool devices_index(struct devices *devices, struct problem *problem)
{
    for (size_t i = 0; i < devices->count; i++) {
        devices->by_id[i].device = devices->by_mac[i].device = &devices->table[i];
    }
    qsort(devices->by_id, devices->count, sizeof(*devices->by_id), compare_ids);
    qsort(devices->by_mac, devices->count, sizeof(*devices->by_mac), compare_macs);
    for (size_t i = 1; i < devices->count; i++) {
        const char *mac = devices->by_mac[i].device->mac;

        if (compare_ids(&devices->by_id[i - 1], &devices->by_id[i]) == 0) {
            problem_set(problem, "two devices have the id %.128s", devices->by_id[i].device->id);
            return false;
        }
        if (mac[0] != '\0' && compare_macs(&devices->by_mac[i - 1], &devices->by_mac[i]) == 0) {
            problem_set(problem, "two devices have the MAC %s", mac);
            return false;
        }
    }
    return true;
}

struct devices *devices_new_builtin(void)
{
    struct problem problem = {""};
    struct devices *devices = NULL;
    size_t count = 0;
    size_t filled = 0;
    bool distinct = false;

    for (size_t row = 0; row < BUILTIN_ROWS; row++) {
        count += (size_t)builtin_rows[row].count;
    }
    devices = devices_new_empty(count);
    for (size_t row = 0; row < BUILTIN_ROWS; row++) {
        for (int number = 1; number <= builtin_rows[row].count; number++) {
            struct device *device = &devices->table[filled++];
            char id[32];
            int len = snprintf(id, sizeof(id), "%s-%03d", builtin_rows[row].prefix, number);

            device->id = sim_copy(id, (size_t)len);
            snprintf(device->mac, sizeof(device->mac), "00:0c:29:%02u:%02u:%02u",
                     (unsigned)(row + 1) % 100, (unsigned)number / 100 % 100,
                     (unsigned)number % 100);
            device->state = builtin_rows[row].state;
            device->agent = builtin_rows[row].agent;
        }
    }
    distinct = devices_index(devices, &problem);
    assert(distinct);
    return devices;
}
