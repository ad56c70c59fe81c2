/* Dispatcher, what an earlier process left: shared by restore.c (account by account),
 * restore_calls.c (its grants, and calls without an outcome) and restore_actions.c (its actions).
 * Before the dispatcher's thread runs. */
#ifndef GATEWAY_RESTORE_H
#define GATEWAY_RESTORE_H

#include "gateway/dispatcher_priv.h"

#define CRASH_DETAIL                                                                               \
    "The gateway was stopped while the upstream had the request: whether it was applied is not "   \
    "known. It is not sent again."

/* One account's. */
struct restoring {
    struct dispatcher *dispatcher;
    struct account *account; /* NULL: it is no longer configured */
    const char *name;
    /* What is to be stored, in this order. In the first are the ends of all lost calls, and what
     * they make of the actions in them: half of that must never be seen. */
    struct store_write **writes;
    size_t write_count;
    size_t rows;  /* in the last write */
    json_t *lost; /* by action: true, or the ranges (progress.h) of its devices in lost calls */
    size_t queued;
    size_t unknown;
    size_t ended; /* in another way */
};

/* The write for what does not depend on lost calls. */
struct store_write *restoring_write(struct restoring *restoring);

/* Until when the upstream can have counted a grant's call, on this boot's clock, by what can be
 * trusted now: never earlier than it is. One without an answer could be counted for unanswered_ms
 * after it was taken. */
int64_t restore_counted_ms(const struct store_grant *grant, int64_t unanswered_ms,
                           int64_t now_boot_ms, int64_t now_wall_ms, int64_t *ret_taken_ms);

/* Callbacks for store_load_grants() and then store_load_open_actions(); arg is a restoring. */
bool restore_grant(const struct store_grant *grant, void *arg);
bool restore_action(const struct store_action *row, void *arg);

#endif
