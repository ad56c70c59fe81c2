/* Dispatcher, one upstream call: shared by call.c, which carries it through, verdict.c, which
 * decides what its outcome means for each request in it, and learn.c, which takes from it what the
 * upstream says of its rate limit. Dispatcher thread. */
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
    struct connector *connector;
    struct batch *batch;
    struct call_part *parts; /* one for each of the batch's */
    char id[CALL_ID_SIZE];
    int64_t sent_boot_ms;
    int64_t counted_boot_ms; /* by then the upstream had counted it; -1: never */
    enum upstream_result result;
    bool nothing_sent;
    int upstream_status;
    char *detail;
    size_t foreign;      /* slots taken out for calls that are not ours */
    int64_t paused_ms;   /* boot clock: nothing is sent until then; 0: the answer said nothing so */
    struct event *retry; /* while the store refuses the outcome */
};

/* verdict.c: fills in call->parts[index] and what the entry knows of its devices. */
void call_judge_part(struct call *call, size_t index, const struct upstream_outcome *outcome,
                     int64_t now_ms);

/* learn.c: heeds what the answer says of the rate limit, before the slot is accounted for; adds it
 * to the outcome's write, so that a restart heeds it too; and once that is durable. */
void call_learn(struct call *call, const struct upstream_outcome *outcome, int64_t now_ms);
void call_write_learned(const struct call *call, struct store_write *write);
void call_keep_learned(const struct call *call);

#endif
