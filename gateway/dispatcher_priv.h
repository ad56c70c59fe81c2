/* Dispatcher, shared by its own files: dispatcher.c (thread and accounts), submit.c (taking in
 * actions and telling callers), call.c (the life of one upstream call), verdict.c (what a call's
 * outcome means for the requests in it), learn.c (what it says of the upstream's own count),
 * finish.c (ends of actions), questions.c, restore.c (what an earlier process left), grants.c. All
 * on the dispatcher's thread. */
#ifndef GATEWAY_DISPATCHER_PRIV_H
#define GATEWAY_DISPATCHER_PRIV_H

#include "gateway/dispatcher.h"
#include "gateway/entries.h"
#include "policy/scheduler.h"
#include "store/store.h"
#include "upstream/upstream.h"

#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>

#define CALL_ID_SIZE   32
#define CALL_ID_PREFIX 5 /* characters of "call_" */

/* A call that could not leave this soon after its slot was taken does not leave: so that after a
 * crash the slot's last possible use is known. */
#define SEND_WITHIN_MS 5000

#define RETRY_MS 200 /* after the store refused a write */

#define ACTION_TTL_MS ((int64_t)24 * 3600 * 1000) /* an action not sent by then expires */

struct call;

/* A grant in the store whose call is over, or what is stored like one (learn.c): it is dropped
 * there once its slot is free. */
struct spent_grant {
    struct spent_grant *next;
    int64_t free_ms; /* boot clock */
    char call_id[CALL_ID_SIZE];
};

struct account {
    struct dispatcher *dispatcher;
    const struct account_config *config;
    struct scheduler *scheduler;
    struct upstream *upstream;
    struct event *timer; /* runs account_pump() */
    struct entry_list entries;
    struct call *calls;             /* under way: list through next */
    struct spent_grant *spent;      /* the first to come free first */
    struct spent_grant *last_spent; /* while there are any */
    uint64_t calls_saved;
    bool token_failed; /* the last attempt to get one */

    /* The breaker: after some calls in a row of which nothing could be sent, none is tried until
     * the token endpoint answers. */
    int failures; /* in a row */
    bool open;
    int64_t probe_ms; /* boot clock: the next probe, while open */

    /* For other threads. */
    atomic_llong free_slots;
    atomic_llong next_free_ms; /* boot clock */
};

struct dispatcher {
    const struct config *config;
    struct store *store;
    struct event_base *base;
    struct mailbox *mailbox;
    struct event *tick; /* refreshes the gauges, ends what has waited too long */
    struct mail stop;   /* ends the loop */
    pthread_t thread;
    bool started;
    atomic_bool draining;
    atomic_bool has_token;
    bool store_failed; /* as last logged */
    atomic_int calls;  /* under way, from taking the slot to the durable outcome */
    struct entries *entries;
    struct account *accounts;
    size_t account_count;
    size_t *team_slots; /* for each team: its index in its account's scheduler */
};

/* dispatcher.c */
void account_pump(struct account *account);
void account_pump_later(struct account *account, int64_t delay_ms);
void account_publish(struct account *account);
void breaker_failed(struct account *account);
void breaker_succeeded(struct account *account);

/* submit.c */
void on_submission(struct mail *mail, void *receiver);
void entry_reply_finished(struct entry *entry, enum action_state state, const char *results,
                          enum problem_type problem, int upstream_status, const char *detail);

/* questions.c */
void on_question(struct mail *mail, void *receiver);

/* call.c: makes a batch durable and sends it. False: the store takes nothing now, and the batch is
 * back in the queue. */
bool call_begin(struct account *account, struct batch *batch) MUST_CHECK;

/* Forgets the account's calls when the process ends: the next one finds them as unknown. */
void call_free_all(struct account *account);

/* finish.c: how an action ends, as its row and the audit log say it. */
struct action_end {
    const char *event; /* the record's, such as action.finished */
    const struct subject *subject;
    const char *id;
    const char *call_id; /* or NULL */
    const char *account;
    const struct action *action; /* NULL: it cannot be read */
    enum action_state state;
    const char *results; /* or NULL */
    const struct progress *progress;
};

/* Adds it to a write: state, results or problem, audit record. */
void action_write_end(struct store_write *write, const struct action_end *end);

/* The same for an entry, from what is known of it. */
void entry_write_end(struct store_write *write, const struct entry *entry, const char *event,
                     enum action_state state, const char *call_id, const char *results);

/* Ends an entry apart from a call's outcome: writes until it is durable, then entry_finish() and
 * on_done (may be NULL). The entry is in nobody's hands meanwhile. */
void entry_end(struct entry *entry, const char *event, enum action_state state, char *results_take,
               void (*on_done)(enum err result, void *arg), void *arg);

/* Whether nothing of an entry was sent or is about to be. */
bool entry_untouched(const struct entry *entry);

/* What was not sent of an entry is never sent. An entry of which nothing is in a call ends with
 * what is known of it, or as how (static) says when that is nothing; one with parts in calls does
 * when the last of them has its outcome, and on_done is for the others only. */
void entry_withdraw(struct entry *entry, const struct withdrawal *how,
                    void (*on_done)(enum err result, void *arg), void *arg);

/* The same for an entry of which nothing is in a call nor waits to be. */
void entry_settle(struct entry *entry, void (*on_done)(enum err result, void *arg), void *arg);

/* After its end is durable: state, reply, memory. */
void entry_finish(struct entry *entry, enum action_state state, const char *results);

/* Withdraws every entry whose caller waits and that is not wholly in calls: they should hear it
 * now. */
void entries_fail_waiting(struct account *account, const struct withdrawal *how);

/* Withdraws what was not sent by its deadline. */
void entries_expire(struct account *account, int64_t wall_ms);

/* grants.c: remembers a call's grant until its slot is free, counted from counted_ms on; and adds
 * to a write the dropping of some that are. */
void grants_remember(struct account *account, const char *call_id, int64_t counted_ms);
void grants_drop_spent(struct account *account, struct store_write *write, int64_t now_ms);
void grants_free(struct account *account);

/* restore.c */
enum err dispatcher_restore(struct dispatcher *dispatcher, struct error *error) MUST_CHECK;

#endif
