/* Actions: the one table of what the upstream can do to a device, and with which parameters.
 * An action of a newer upstream version is one more row in actions.c.
 * Source: OPSWAT Device Action v3.1. Pure; any thread. */
#ifndef POLICY_ACTIONS_H
#define POLICY_ACTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum param_type {
    PARAM_INTEGER,      /* a JSON integer from min to max (24.0 and "24" are not) */
    PARAM_STRING,       /* min to max printable characters (no control characters) */
    PARAM_INTEGER_LIST, /* a non-empty array of distinct integers from min to max */
};

struct action_param {
    const char *name; /* NULL ends the list */
    enum param_type type;
    bool required;
    int64_t min;
    int64_t max;
};

#define ACTION_MAX_PARAMS 4

struct action_type {
    const char *name;
    struct action_param params[ACTION_MAX_PARAMS + 1];
};

/* The type of that name, or NULL. */
const struct action_type *action_type_find(const char *name);

/* The index-th type of the table, or NULL past the end: for listings. */
const struct action_type *action_type_at(size_t index);

#endif
