/* Action state: the life of one accepted action. Pure; any thread.
 *
 *                          +-> rejected
 *      awaiting_approval --+-> expired, cancelled
 *              |
 *              v
 *   +------ queued ------> cancelled, expired, failed
 *   |          ^
 *   |          |  (nothing was applied: it may go again)
 *   +---> dispatched ----> completed   results known, whatever each device's status
 *                    +---> failed      the upstream refused; nothing applied
 *                    +---> unknown     it may have been applied; never sent again
 */
#ifndef POLICY_ACTION_STATE_H
#define POLICY_ACTION_STATE_H

#include "common/error.h"
#include "common/memory.h"

#include <stdbool.h>

enum action_state {
    ACTION_AWAITING_APPROVAL,
    ACTION_QUEUED,
    ACTION_DISPATCHED,
    ACTION_COMPLETED,
    ACTION_FAILED,
    ACTION_UNKNOWN,
    ACTION_CANCELLED,
    ACTION_EXPIRED,
    ACTION_REJECTED,
};
#define ACTION_STATES (ACTION_REJECTED + 1)

/* The name outsiders see; static. */
const char *action_state_name(enum action_state state);

/* The state of that name. ERR_NOT_FOUND. */
enum err action_state_find(const char *name, enum action_state *ret_state) MUST_CHECK;

/* Whether the life ends there. */
bool action_state_final(enum action_state state);

bool action_state_can_move(enum action_state from, enum action_state to);

/* The only way a state changes; a move that the table does not allow is a bug and aborts. */
void action_state_move(enum action_state *state, enum action_state to);

#endif
