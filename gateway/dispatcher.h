/* Dispatcher: takes submissions, asks the scheduler of the account for a place, makes them durable,
 * sends them upstream when the scheduler says so and with whom, makes the outcome durable and tells
 * whoever waits. It runs on one thread of its own, which owns queues, budgets, tokens and
 * transfers: no locks.
 *
 * policy/ decides (which requests, when, in which call); this carries out. */
#ifndef GATEWAY_DISPATCHER_H
#define GATEWAY_DISPATCHER_H

#include "common/error.h"
#include "common/mailbox.h"
#include "common/memory.h"
#include "common/problems.h"
#include "gateway/audit.h"
#include "gateway/config.h"
#include "gateway/problem.h"
#include "gateway/settings.h"
#include "policy/action.h"
#include "policy/action_state.h"

#include <stdbool.h>
#include <stdint.h>

struct dispatcher;
struct store;

#define ACTION_ID_SIZE 32

/* A validated, allowed request on its way to the dispatcher. */
struct submission {
    struct mail mail;
    struct subject subject;
    struct action *action;
    const struct settings *settings; /* that decided */
    size_t team;                     /* in their configuration */
    char *reason;                    /* or NULL */
    char *rule;
    json_t *report; /* what shadow rules would have refused, or NULL */
    int64_t priority;
    int64_t wait_ms;       /* refused if the results are expected later; < 0: whenever they come */
    bool waits;            /* wants REPLY_FINISHED */
    char *idempotency_key; /* or NULL */
    char body_sha256[65];  /* with a key */
    struct mailbox *reply_to;
    void (*on_reply)(struct mail *mail, void *receiver); /* delivers a struct dispatcher_reply */
    uint64_t token;                                      /* comes back in every reply */
};

enum reply_kind {
    REPLY_QUEUE_FULL,  /* nothing was queued; eta_ms: when there may be room */
    REPLY_TOO_LONG,    /* nothing was queued; eta_ms: how long it would have taken */
    REPLY_DUPLICATE,   /* nothing was queued: the idempotency key is taken */
    REPLY_NO_UPSTREAM, /* nothing was queued: the upstream cannot be reached; detail */
    REPLY_UNAVAILABLE, /* nothing was queued: the store cannot write, the gateway is draining, or a
                          reload took the team away */
    REPLY_ACCEPTED,    /* durable; action_id, position, eta_ms. A waiting caller gets one more: */
    REPLY_FINISHED,    /* durable: state, results, and the problem unless completed */
};

/* Posted to reply_to. Free with dispatcher_reply_free(). */
struct dispatcher_reply {
    struct mail mail;
    uint64_t token;
    enum reply_kind kind;
    char action_id[ACTION_ID_SIZE];
    int64_t submitted_ms;
    int64_t eta_ms;
    size_t position;
    enum action_state state;
    char *results; /* JSON array in the upstream's shape, or NULL */
    enum problem_type problem;
    int upstream_status; /* 0: none */
    char *detail;
};

enum question_kind {
    QUESTION_SHOW,      /* id: position and eta_ms of a queued action; ERR_NOT_FOUND */
    QUESTION_CANCEL,    /* id, subject: OK, it is cancelled; ERR_EXISTS: it was sent already;
                           ERR_NOT_FOUND: it ended before; ERR_IO: not written */
    QUESTION_PREFLIGHT, /* team, action: eta_ms, would_share; ERR_FULL; ERR_NOT_FOUND: a reload took
                           the team away, as it may the next one's account */
    QUESTION_BUDGET,    /* account: json */
};

/* Asked and answered with the same object. Free with question_free(). */
struct question {
    struct mail mail;
    enum question_kind kind;
    char id[ACTION_ID_SIZE];
    struct subject subject;
    const struct settings *settings; /* that of the next two */
    size_t team;
    size_t account;
    struct action *action;
    struct mailbox *reply_to;
    void (*on_answer)(struct mail *mail, void *receiver);
    uint64_t token;
    /* The answer. */
    enum err result;
    int64_t eta_ms;
    size_t position;
    bool would_share;
    json_t *json;
};

/* Reads back what an earlier process left, ends what it left in the air as unknown, and starts
 * getting tokens. Blocks. store is borrowed and must live longer. */
enum err dispatcher_new(const struct settings *settings, struct store *store,
                        struct dispatcher **ret_dispatcher, struct error *error) MUST_CHECK;

/* Starts the thread. */
void dispatcher_start(struct dispatcher *dispatcher);

/* Gives a submission away. ERR_FULL: too many wait, the caller still owns it. Any thread. */
enum err dispatcher_submit(struct dispatcher *dispatcher, struct submission *submission) MUST_CHECK;

/* Gives a question away; it comes back answered. ERR_FULL as above. Any thread. */
enum err dispatcher_ask(struct dispatcher *dispatcher, struct question *question) MUST_CHECK;

/* Another configuration on its way to the dispatcher. The sender keeps it, and may not touch it
 * until on_done is delivered to reply_to. */
struct reconfiguration {
    struct mail mail;
    const struct settings *settings;
    char *record; /* for dispatcher_resume(): the audit record of it, which is given away */
    struct mailbox *reply_to;
    void (*on_done)(struct mail *mail, void *receiver);
    enum err result;
    struct problems problems; /* the sender ends them */
};

/* Takes other settings. ERR_INVALID: nothing changed, and the problems say why. OK: they are in
 * force here, but no call is sent until dispatcher_resume(), so that the log says first by which
 * budget. Any thread, one at a time. */
void dispatcher_configure(struct dispatcher *dispatcher, struct reconfiguration *change);

/* Stores the record, again and again until it can, and then sends calls again: OK. */
void dispatcher_resume(struct dispatcher *dispatcher, struct reconfiguration *change);

/* No more submissions are accepted and no more calls sent; calls under way go on. Any thread. */
void dispatcher_drain(struct dispatcher *dispatcher);

/* Where its mail goes; each is delivered. Any thread. */
struct mailbox *dispatcher_mailbox(const struct dispatcher *dispatcher);

/* Whether calls are under way. Any thread. */
bool dispatcher_busy(const struct dispatcher *dispatcher);

/* Whether some account has a token. Any thread. */
bool dispatcher_has_token(const struct dispatcher *dispatcher);

/* Ends the thread. What the store still answers afterwards is taken at dispatcher_free(). */
void dispatcher_stop(struct dispatcher *dispatcher);

/* Takes what waits in the mailbox of a stopped dispatcher; whether there was any. */
bool dispatcher_flush(struct dispatcher *dispatcher);

/* After the store was stopped. Calls still under way are forgotten: the next start finds them, as
 * unknown. */
void dispatcher_free(struct dispatcher *dispatcher);

void submission_free(struct submission *submission);
void dispatcher_reply_free(struct dispatcher_reply *reply);
void question_free(struct question *question);

#endif
