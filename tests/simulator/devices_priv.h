/*
 * The device table's inside, shared by devices.c (what actions do), device_table.c (the
 * built-in table and searching) and device_file.c (a table from a file).
 */
#ifndef SIM_DEVICES_PRIV_H
#define SIM_DEVICES_PRIV_H

#include <stddef.h>
#include <stdint.h>

#include "devices.h"
#include "mac.h"

enum device_state {
    DEVICE_NORMAL,
    DEVICE_UNKNOWN,
    DEVICE_IGNORED,
    DEVICE_EXEMPT,
    DEVICE_UNLICENSED,
    DEVICE_FAILING,
    DEVICE_DELETED,
};

enum device_agent { AGENT_PERSISTENT, AGENT_NONE, AGENT_OLD, AGENT_DOMAIN_CONTROLLER };

/* Names of the states and agents, by their number. */
extern const char *const device_state_names[];
extern const char *const device_agent_names[];

struct device {
    char *id;
    char mac[MAC_TEXT_SIZE]; /* "" if it has none */
    enum device_state state;
    enum device_agent agent;
    int64_t exempt_time; /* hours, of the last exempt */
    char *group;         /* NULL: the default group */
};

struct device_entry {
    struct device *device;
};

struct devices {
    size_t count;
    struct device *table; /* in the order given */
    struct device_entry *by_id;
    struct device_entry *by_mac;
};

/* A table of count blank devices; the maker fills them and then calls devices_index(). */
struct devices *devices_new_empty(size_t count);

/* Sorts the indexes; false, with the reason, if two devices share an id or a MAC. */
bool devices_index(struct devices *devices, struct problem *problem);

/* The device of that id, or of that MAC in any spelling; NULL if there is none. */
struct device *device_find_id(const struct devices *devices, const char *id);
struct device *device_find_mac(const struct devices *devices, const char *mac);

#endif
