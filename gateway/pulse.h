/* Pulse: whether the threads of the process still answer. Each is asked a few times in an interval,
 * by the way it gets its work: what answers is not only alive, but gets round to its mail. What
 * does not answer for an interval hangs. Main thread. */
#ifndef GATEWAY_PULSE_H
#define GATEWAY_PULSE_H

#include "common/memory.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct mailbox;
struct pulse;
struct store;

/* on_beat is called after each time of asking, with the name of a thread that hangs, or NULL. */
typedef void (*pulse_cb)(const char *hangs, void *arg);

/* base is borrowed. Nobody is asked before pulse_start(). */
struct pulse *pulse_new(struct event_base *base, int64_t interval_ms, pulse_cb on_beat, void *arg);

/* Asks the owner of a mailbox that calls each mail's deliver. name is static; mailbox is borrowed.
 */
void pulse_watch_mailbox(struct pulse *pulse, const char *name, struct mailbox *mailbox);

/* Asks both threads of the store, the writer with a commit of nothing. An error is an answer. */
void pulse_watch_store(struct pulse *pulse, struct store *store);

void pulse_start(struct pulse *pulse);

/* A thread that hangs, or NULL. */
const char *pulse_hangs(const struct pulse *pulse);

/* After everybody who is watched has ended and delivered its mail, and after store_stop(). Takes
 * NULL. */
void pulse_free(struct pulse *pulse);

#endif
