/* Entries: the actions that the dispatcher has accepted and that have not ended, found by id, and
 * listed by account in the order they were accepted. Dispatcher thread. */
#ifndef GATEWAY_ENTRIES_H
#define GATEWAY_ENTRIES_H

#include "gateway/dispatcher.h"
#include "gateway/progress.h"
#include "policy/scheduler.h"

#include <sys/queue.h>

struct account;

/* How an action ends of which nothing was applied, once what was not sent is never to be. */
struct withdrawal {
    const char *event; /* the audit record's, such as action.expired */
    enum action_state state;
    enum problem_type problem;
    const char *detail;
};

/* An accepted action. */
struct entry {
    struct job job;          /* first: the scheduler hands out jobs */
    struct entry *next;      /* in its bucket */
    TAILQ_ENTRY(entry) link; /* in its account's list */
    bool listed;
    struct account *account;
    enum action_state state;
    char id[ACTION_ID_SIZE];
    struct subject subject;
    struct action *action;
    char *reason;
    char *rule;
    json_t *report;
    int64_t submitted_ms;   /* wall clock */
    int64_t deadline_ms;    /* wall clock: not sent by then, it expires */
    int64_t accepted_ms;    /* boot clock */
    int64_t expected_ms;    /* the answer, as was said at admission; boot clock */
    int64_t retry_until_ms; /* boot clock: not tried again after that */
    struct mailbox *reply_to;
    void (*on_reply)(struct mail *mail, void *receiver);
    uint64_t token;
    bool waits;             /* wants the results */
    bool impatient;         /* would rather fail soon than have them late */
    int64_t token_retry_ms; /* boot clock: went back to the queue for a refused token; 0: never */
    int attempts;           /* that failed before anything was sent */
    size_t open_parts;      /* in calls, from their slot to their durable outcome */
    struct progress progress;
    const struct withdrawal *withdrawn; /* static; NULL: what was not sent still waits to be */
};

TAILQ_HEAD(entry_list, entry);

struct entries;

struct entries *entries_new(void);
void entries_free(struct entries *entries);

/* Adds to the table and to the account's list. */
void entries_add(struct entries *entries, struct entry *entry);
void entries_remove(struct entries *entries, struct entry *entry);

/* The entry of that id, or NULL. */
struct entry *entries_find(const struct entries *entries, const char *id);

void entry_free(struct entry *entry);

#endif
