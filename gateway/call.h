/* Dispatcher, one upstream call: shared by call.c, which carries it through, and verdict.c, which
 * decides what its outcome means for each request in it. Dispatcher thread. */
#ifndef GATEWAY_CALL_H
#define GATEWAY_CALL_H

#include "gateway/dispatcher_priv.h"

/* What becomes of a batch_part: it goes back to the queue, or it ends its action, or (neither) it
 * is one of several parts of one. */
struct call_part {
    bool back;
    bool queued_stored;    /* back, and the outcome's write says that its action is queued again */
    bool alone;            /* back, and without company next time */
    int64_t not_before_ms; /* back, and not before that */
    bool ends;
    enum action_state state; /* ends */
    char *results;           /* ends: JSON, or NULL */
};

struct call {
    struct call *next;
    struct account *account;
    struct batch *batch;
    struct call_part *parts; /* one for each of the batch's */
    char id[CALL_ID_SIZE];
    int64_t sent_boot_ms;
    int64_t counted_boot_ms; /* by then the upstream had counted it; -1: never */
    enum upstream_result result;
    bool nothing_sent;
    int upstream_status;
    char *detail;
    struct event *retry; /* while the store refuses the outcome */
};

/* verdict.c: fills in call->parts[index] and what the entry knows of its devices. */
void call_judge_part(struct call *call, size_t index, const struct upstream_outcome *outcome,
                     int64_t now_ms);

/* verdict.c: all parts of an action that took several calls are settled: ends it. */
void call_finish_split(struct entry *entry);

#endif
