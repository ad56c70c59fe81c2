/*
 * Carrying out an order: what it does to the answer of the call that met it.
 */
#ifndef SIM_FAULT_APPLY_H
#define SIM_FAULT_APPLY_H

#include <stdbool.h>

#include "answer.h"
#include "faults.h"

/* Whether the call is executed all the same. If not, the order alone makes the answer. */
bool fault_executes(const struct fault *fault);

/* Changes the answer as ordered. secret is what echo-token gives away: the access token of an
 * action call, the client secret of a token call. */
void fault_apply(const struct fault *fault, struct answer *answer,
                 const struct action_request *request, const char *secret);

#endif
