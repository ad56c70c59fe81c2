/* Overload: lets action calls in, or refuses them at once while more come than can be recorded in
 * time (policy/gate.h, docs/decisions/0010-overload.md). One for the process, used by all workers;
 * behind a lock that is held for less than a microsecond. Counts what it refuses, and logs when
 * that begins and ends. */
#ifndef GATEWAY_OVERLOAD_H
#define GATEWAY_OVERLOAD_H

#include "policy/gate.h"

#include <stdbool.h>
#include <stdint.h>

struct overload;

struct overload *overload_new(void);

/* When nothing is under way any more. NULL is fine. */
void overload_free(struct overload *overload);

/* Whether a call of that team may go on; it then ends with overload_leave(). Else when it should
 * come back: not all at once. */
bool overload_enter(struct overload *overload, const char *team, struct gate_pass *ret_pass,
                    int64_t *ret_retry_after_s);

/* It is recorded, or refused; a pass that is not in is fine. */
void overload_leave(struct overload *overload, struct gate_pass *pass);

#endif
