/* Actions: see actions.h. The table of Device Action v3.1; nothing else knows an action's
 * parameters. Any thread. */
#include "policy/actions.h"

#include "common/memory.h"

#include <string.h>

static const struct action_type types[] = {
    {"exempt", {{"exempt_time", PARAM_INTEGER, false, 0, 64999}}},
    {"unexempt", {{0}}},
    {"ignore", {{0}}},
    {"unignore", {{0}}},
    {"delete", {{0}}},
    {"dhcprenew", {{0}}},
    {"re-identify", {{0}}},
    {"assign_to_group", {{"group_id", PARAM_STRING, true, 1, 128}}},
    {"fetch_agent_log", {{0}}},
};

const struct action_type *action_type_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (strcmp(types[i].name, name) == 0) {
            return &types[i];
        }
    }
    return NULL;
}

const struct action_type *action_type_at(size_t index)
{
    return index < ARRAY_LEN(types) ? &types[index] : NULL;
}
