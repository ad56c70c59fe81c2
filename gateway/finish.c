/* Dispatcher, how actions end: what their devices came to, the durable record of it, the word to
 * whoever waits. See dispatcher_priv.h. */
#include "gateway/dispatcher_priv.h"

#include "common/clock.h"
#include "common/json.h"
#include "gateway/metrics.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define PARTLY_SENT "Not all of it was sent."

static const struct withdrawal expired = {
    "action.expired", ACTION_EXPIRED, PROBLEM_EXPIRED,
    "It could not be sent before its deadline. Nothing was applied."};

/* The problem of an action that did not complete; NULL for the others. */
static char *problem_text(const struct action_end *end)
{
    const struct ending *ending = &end->progress->ending;
    CLEANUP(cleanup_json) json_t *why = NULL;

    if (end->state == ACTION_COMPLETED || end->state == ACTION_CANCELLED) {
        return NULL;
    }
    why = problem_json(ending->problem, ending->detail, NULL);
    if (ending->upstream_status > 0) {
        (void)json_object_set_new(why, "upstream_status", json_integer(ending->upstream_status));
    }
    return json_write(why);
}

void action_write_end(struct store_write *write, const struct action_end *end)
{
    const struct ending *ending = &end->progress->ending;
    json_t *record = audit_begin(end->event, end->subject);
    CLEANUP(cleanup_free) char *problem = problem_text(end);
    bool partly = end->action != NULL && progress_started(end->progress) &&
                  progress_open(end->progress, end->action) > 0;

    audit_add_text(record, "action_id", end->id);
    audit_add_text(record, "call_id", end->call_id);
    audit_add_text(record, "account", end->account);
    audit_add_text(record, "action", end->action != NULL ? end->action->type->name : NULL);
    audit_add_text(record, "problem", problem != NULL ? problem_name(ending->problem) : NULL);
    if (ending->upstream_status > 0) {
        audit_add(record, "upstream_status", json_integer(ending->upstream_status));
    }
    audit_add(record, "results", end->results != NULL ? json_loads(end->results, 0, NULL) : NULL);
    audit_add(record, "detail",
              json_pack("{s:s, s:s*}", "state", action_state_name(end->state), "text",
                        partly ? PARTLY_SENT : NULL));
    store_write_finish_action(write, end->id, action_state_name(end->state), clock_wall_ms(),
                              end->results, problem);
    store_write_add_record(write, audit_end(record));
    metrics_add(METRIC_AUDIT_RECORDS, end->event, NULL, 1);
}

void entry_write_end(struct store_write *write, const struct entry *entry, const char *event,
                     enum action_state state, const char *call_id, const char *results)
{
    action_write_end(write, &(struct action_end){.event = event,
                                                 .subject = &entry->subject,
                                                 .id = entry->id,
                                                 .call_id = call_id,
                                                 .account = entry->account->config->name,
                                                 .action = entry->action,
                                                 .state = state,
                                                 .results = results,
                                                 .progress = &entry->progress});
}

void entry_finish(struct entry *entry, enum action_state state, const char *results)
{
    const struct ending *ending = &entry->progress.ending;
    struct account *account = entry->account;

    action_state_move(&entry->state, state);
    entry_reply_finished(entry, state, results, ending->problem, ending->upstream_status,
                         ending->detail);
    if (entry->job.claims != NULL) {
        scheduler_end(account->scheduler, &entry->job, clock_boot_ms());
    }
    entries_remove(account->dispatcher->entries, entry);
    entry_free(entry);
}

/* ---- Ends of their own, apart from a call's outcome ---- */

struct end {
    struct entry *entry;
    const char *event; /* static */
    enum action_state state;
    char *results;
    void (*on_done)(enum err result, void *arg);
    void *arg;
    struct event *retry; /* while the store refuses */
};

static void write_end(struct end *end);

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    write_end(arg);
}

/* An end that could not be written: the action waits on, at the end of the queue. */
static void queue_again(struct entry *entry)
{
    struct job job = {.action = entry->job.action,
                      .team = entry->job.team,
                      .priority = entry->job.priority,
                      .alone = entry->job.alone};

    entry->job = job;
    entry->withdrawn = NULL;
    scheduler_restore_job(entry->account->scheduler, &entry->job, clock_boot_ms());
    if (entry_is_orphan(entry)) {
        entry_end_orphan(entry);
        return;
    }
    account_pump_later(entry->account, RETRY_MS);
}

static void on_end_stored(enum err result, void *arg)
{
    struct end *end = arg;
    struct account *account = end->entry->account;
    const struct timeval delay = {.tv_usec = RETRY_MS * 1000L};

    if (result != OK) {
        metrics_add(METRIC_AUDIT_FAILURES, NULL, NULL, 1);
        if (end->on_done == NULL) {
            (void)evtimer_add(end->retry, &delay);
            return;
        }
        queue_again(end->entry); /* somebody waits to hear: it did not happen */
    } else {
        entry_finish(end->entry, end->state, end->results);
        account_pump(account); /* others may have waited for its devices */
    }
    if (end->on_done != NULL) {
        end->on_done(result, end->arg);
    }
    event_free(end->retry);
    free(end->results);
    free(end);
}

static void write_end(struct end *end)
{
    struct dispatcher *dispatcher = end->entry->account->dispatcher;
    struct store_write *write = store_write_new();

    entry_write_end(write, end->entry, end->event, end->state, NULL, end->results);
    if (store_submit(dispatcher->store, write, dispatcher->mailbox, on_end_stored, end) != OK) {
        store_write_free(write);
        on_end_stored(ERR_FULL, end);
    }
}

void entry_end(struct entry *entry, const char *event, enum action_state state, char *results_take,
               void (*on_done)(enum err result, void *arg), void *arg)
{
    struct end *end = xcalloc(1, sizeof(*end));

    *end = (struct end){.entry = entry,
                        .event = event,
                        .state = state,
                        .results = results_take,
                        .on_done = on_done,
                        .arg = arg};
    end->retry = evtimer_new(entry->account->dispatcher->base, on_retry, end);
    write_end(end);
}

void entry_settle(struct entry *entry, void (*on_done)(enum err result, void *arg), void *arg)
{
    struct ending *ending = &entry->progress.ending;
    const struct withdrawal *how = entry->withdrawn;
    enum action_state state;
    char *results = NULL;

    if (progress_started(&entry->progress)) {
        state = progress_outcome(&entry->progress, entry->action, &results);
        entry_end(entry, "action.finished", state, results, on_done, arg);
        return;
    }
    assert(how != NULL);
    free(ending->detail);
    ending->problem = how->problem;
    ending->detail = xstrdup(how->detail);
    entry_end(entry, how->event, how->state, NULL, on_done, arg);
}

bool entry_untouched(const struct entry *entry)
{
    return entry->state == ACTION_QUEUED && entry->open_parts == 0 && entry->job.claims != NULL &&
           scheduler_untouched(&entry->job);
}

bool entry_can_withdraw(const struct entry *entry)
{
    return entry->withdrawn == NULL && (entry->job.left > 0 || entry->open_parts > 0);
}

void entry_withdraw(struct entry *entry, const struct withdrawal *how,
                    void (*on_done)(enum err result, void *arg), void *arg)
{
    struct scheduler *scheduler = entry->account->scheduler;

    entry->withdrawn = how;
    if (entry->open_parts > 0) {
        assert(on_done == NULL);
        scheduler_stop(scheduler, &entry->job, clock_boot_ms());
    } else {
        scheduler_end(scheduler, &entry->job, clock_boot_ms());
        entry_settle(entry, on_done, arg);
    }
}

void entries_fail_waiting(struct account *account, const struct withdrawal *how)
{
    struct entry *next;

    for (struct entry *entry = TAILQ_FIRST(&account->entries); entry != NULL; entry = next) {
        next = TAILQ_NEXT(entry, link);
        if (entry->impatient && entry->job.left > 0 && entry_can_withdraw(entry)) {
            entry_withdraw(entry, how, NULL, NULL);
        }
    }
}

void entries_expire(struct account *account, int64_t wall_ms)
{
    struct entry *next;

    for (struct entry *entry = TAILQ_FIRST(&account->entries);
         entry != NULL && entry->deadline_ms <= wall_ms; entry = next) {
        next = TAILQ_NEXT(entry, link);
        if (entry_can_withdraw(entry)) {
            entry_withdraw(entry, &expired, NULL, NULL);
        }
    }
}
