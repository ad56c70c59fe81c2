/* Dispatcher, shared by its own files: dispatcher.c (accounts, submissions, replies), call.c (the
 * life of one upstream call), restore.c (what an earlier process left). All on its thread. */
#ifndef GATEWAY_DISPATCHER_PRIV_H
#define GATEWAY_DISPATCHER_PRIV_H

#include "gateway/dispatcher.h"
#include "policy/scheduler.h"
#include "store/store.h"
#include "upstream/upstream.h"

#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>

#define CALL_ID_SIZE 32

/* A call that could not leave this soon after its slot was taken does not leave: so that after a
 * crash the slot's last possible use is known. */
#define SEND_WITHIN_MS 5000

#define RETRY_MS 200 /* after the store refused a write */

struct call;

/* A grant in the store whose call is over: it is dropped there once its slot is free. */
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
    struct event *timer;       /* runs account_pump() */
    struct call *calls;        /* under way: list through next */
    struct spent_grant *spent; /* about oldest first */
    struct spent_grant **spent_last;
};

/* An accepted action. */
struct entry {
    struct job job; /* first: the scheduler hands out jobs */
    struct account *account;
    enum action_state state;
    char id[ACTION_ID_SIZE];
    struct subject subject;
    struct action *action;
    size_t team;
    char *reason;
    char *rule;
    json_t *report;
    int64_t priority;
    int64_t submitted_ms;     /* wall clock */
    int64_t accepted_ms;      /* boot clock */
    struct mailbox *reply_to; /* NULL: nobody waits for the results */
    void (*on_reply)(struct mail *mail, void *receiver);
    uint64_t token;
    bool waits;
    bool token_retried; /* went back to the queue once because the token was refused */
};

struct dispatcher {
    const struct config *config;
    struct store *store;
    struct event_base *base;
    struct mailbox *mailbox;
    struct event *tick; /* refreshes the gauges */
    struct mail stop;   /* ends the loop */
    pthread_t thread;
    bool started;
    atomic_bool draining;
    atomic_bool has_token;
    bool store_failed; /* as last logged */
    atomic_int calls;  /* under way, from taking the slot to the durable outcome */
    struct account *accounts;
    size_t account_count;
    size_t *team_slots; /* for each team: its index in its account's scheduler */
};

/* dispatcher.c */
void account_pump(struct account *account);
void account_pump_later(struct account *account, int64_t delay_ms);
void entry_free(struct entry *entry);
void entry_reply_finished(struct entry *entry, enum action_state state, const char *results,
                          enum problem_type problem, int upstream_status, const char *detail);

/* grants.c: remembers a call's grant until its slot is free, counted from counted_ms on; and adds
 * to a write the dropping of some that are. */
void grants_remember(struct account *account, const char *call_id, int64_t counted_ms);
void grants_drop_spent(struct account *account, struct store_write *write, int64_t now_ms);
void grants_free(struct account *account);

/* call.c: sends one entry in the slot taken for it. */
void call_begin(struct account *account, struct entry *entry, int64_t slot, int64_t now_ms);

/* Forgets the account's calls when the process ends: the next one finds them as unknown. */
void call_free_all(struct account *account);

/* Adds to a write the end of an entry that no call will answer: state, problem, audit record. */
void entry_write_end(struct store_write *write, const struct entry *entry, enum action_state state,
                     const char *call_id, const char *results, enum problem_type problem,
                     int upstream_status, const char *detail);

/* restore.c */
enum err dispatcher_restore(struct dispatcher *dispatcher, struct error *error) MUST_CHECK;

/* The age of a moment that a process stored, by what can be trusted now: never more than it is. */
int64_t restore_age_ms(const char *boot_id, int64_t boot_ms, int64_t wall_ms, int64_t now_boot_ms,
                       int64_t now_wall_ms);

#endif
