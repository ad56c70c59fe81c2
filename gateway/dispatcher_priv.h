/* Dispatcher, shared by its own files: dispatcher.c (thread and accounts), submit.c (taking in
 * actions and telling callers), call.c (the life of one upstream call), verdict.c (what a call's
 * outcome means for the requests in it), learn.c (what it says of the upstream's own count),
 * finish.c (ends of actions), questions.c, restore.c (what an earlier process left), grants.c,
 * accounts.c (accounts and their teams by a configuration), connector.c (their upstreams),
 * reconfigure.c (another configuration). All on the dispatcher's thread. */
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

/* Why an action ends that nobody can go on for. */
#define NO_ACCOUNT "Its account is no longer configured."
#define NO_TEAM    "Its team is no longer configured for the account."

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

/* The upstream of an account by one configuration. Calls go on by the one they began with, so after
 * a reload an account may have several for a while. */
struct connector {
    struct connector *next;
    struct account *account; /* NULL while it is not used yet */
    struct upstream *upstream;
    int64_t timeout_ms;
    size_t calls; /* under way */
};

struct account {
    struct dispatcher *dispatcher;
    const struct settings *settings; /* the last that it was in */
    const struct account_config *config;
    struct gauge *gauge;
    struct scheduler *scheduler;
    char *
        *teams; /* by their number in the scheduler; NULL: it is no more, or has another account */
    size_t team_count;
    struct connector *connector;      /* that new calls take */
    struct connector *old_connectors; /* list */
    struct account *next_retired;     /* in the dispatcher's list */
    bool retired;                     /* no longer configured; what is under way ends */
    int64_t pause_ms; /* boot clock: by the configuration that is being taken, or INT64_MIN */
    char pause_id[CALL_ID_SIZE]; /* of its grant; empty: it has none */
    struct event *timer;         /* runs account_pump() */
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
};

struct dispatcher {
    const struct settings *settings;
    const struct config *config; /* theirs */
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
    struct account **accounts; /* those of the configuration, in its order */
    size_t account_count;
    size_t *team_slots; /* for each team of it: its number in its account's scheduler */
    struct account *retired;
    json_t *past; /* accounts that are not configured: until when their calls can have been counted,
                     boot clock */
    struct reconfiguration *change; /* taken, and its record not yet stored: no call is sent */
    struct event *change_retry;
};

/* dispatcher.c */
void account_pump(struct account *account);
void account_pump_later(struct account *account, int64_t delay_ms);
void account_publish(struct account *account);
void breaker_failed(struct account *account);
void breaker_succeeded(struct account *account);

/* accounts.c */
struct account *account_new(struct dispatcher *dispatcher);
void account_free(struct account *account);

/* Makes the account what the settings say of their account of that index: budget, limits, teams,
 * whose numbers go into slots, by their index in the configuration. */
void account_configure(struct account *account, const struct settings *settings, size_t index,
                       size_t *slots);

/* The account is not in these settings: its teams are no more. */
void account_retire(struct account *account);

/* Frees the retired accounts of which nothing is left. */
void accounts_forget_retired(struct dispatcher *dispatcher);

/* What an account that now is configured must heed of its past. */
void account_recall(struct account *account);

/* Ends what waits for teams that are no more. */
void entries_end_orphans(struct account *account);
bool entry_is_orphan(const struct entry *entry);
void entry_end_orphan(struct entry *entry);

/* The team, or account, of other settings in those that are in force; -1: it is there no more. */
ssize_t dispatcher_find_team(const struct dispatcher *dispatcher, const struct settings *settings,
                             size_t team);
ssize_t dispatcher_find_account(const struct dispatcher *dispatcher,
                                const struct settings *settings, size_t account);

/* connector.c: opens one by a configuration; lets it be the account's; forgets it once nobody uses
 * it. */
enum err connector_open(struct dispatcher *dispatcher, const struct account_config *config,
                        struct connector **ret_connector, struct error *error) MUST_CHECK;
void connector_free(struct connector *connector);
void connector_use(struct account *account, struct connector *connector);
void connector_release(struct account *account, struct connector *connector);

/* Whether a configuration of an account wants another one. */
bool connector_differs(const struct account_config *before, const struct account_config *after);

/* dispatcher.c: an account got a token, or could not. */
void account_on_token(struct account *account, enum token_event event, int64_t expires_wall_ms,
                      const char *detail);

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

/* Not one that is ending already. */
bool entry_can_withdraw(const struct entry *entry);

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
void grants_shift(struct account *account, int64_t by_ms); /* slots come free so much later */
void grants_drop_spent(struct account *account, struct store_write *write, int64_t now_ms);
void grants_free(struct account *account);

/* restore.c */
enum err dispatcher_restore(struct dispatcher *dispatcher, struct error *error) MUST_CHECK;

#endif
