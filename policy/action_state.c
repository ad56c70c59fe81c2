/* Action state: see action_state.h for the diagram that this table is. */
#include "policy/action_state.h"

#include <assert.h>
#include <string.h>

#define TO(state) (1U << (state))

static const struct {
    const char *name;
    unsigned moves;
} states[ACTION_STATES] = {
    [ACTION_AWAITING_APPROVAL] = {"awaiting_approval", TO(ACTION_QUEUED) | TO(ACTION_REJECTED) |
                                                           TO(ACTION_EXPIRED) |
                                                           TO(ACTION_CANCELLED)},
    [ACTION_QUEUED] = {"queued", TO(ACTION_DISPATCHED) | TO(ACTION_CANCELLED) | TO(ACTION_EXPIRED) |
                                     TO(ACTION_FAILED)},
    [ACTION_DISPATCHED] = {"dispatched", TO(ACTION_QUEUED) | TO(ACTION_COMPLETED) |
                                             TO(ACTION_FAILED) | TO(ACTION_UNKNOWN)},
    [ACTION_COMPLETED] = {"completed", 0},
    [ACTION_FAILED] = {"failed", 0},
    [ACTION_UNKNOWN] = {"unknown", 0},
    [ACTION_CANCELLED] = {"cancelled", 0},
    [ACTION_EXPIRED] = {"expired", 0},
    [ACTION_REJECTED] = {"rejected", 0},
};

const char *action_state_name(enum action_state state)
{
    return states[state].name;
}

enum err action_state_find(const char *name, enum action_state *ret_state)
{
    for (unsigned i = 0; i < ACTION_STATES; i++) {
        if (strcmp(states[i].name, name) == 0) {
            *ret_state = (enum action_state)i;
            return OK;
        }
    }
    return ERR_NOT_FOUND;
}

bool action_state_final(enum action_state state)
{
    return states[state].moves == 0;
}

bool action_state_can_move(enum action_state from, enum action_state to)
{
    return (states[from].moves & TO(to)) != 0;
}

void action_state_move(enum action_state *state, enum action_state to)
{
    assert(action_state_can_move(*state, to));
    *state = to;
}
