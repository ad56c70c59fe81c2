/* Dispatcher, how actions end: what their devices came to, the durable record of it, the word to
 * whoever waits. See dispatcher_priv.h. */
#include "gateway/dispatcher_priv.h"

#include "common/clock.h"
#include "common/json.h"
#include "gateway/metrics.h"

#include <stdlib.h>
#include <string.h>

void entry_write_end(struct store_write *write, const struct entry *entry, const char *event,
                     enum action_state state, const char *call_id, const char *results,
                     const struct ending *ending)
{
    json_t *record = audit_begin(event, &entry->subject);
    CLEANUP(cleanup_json) json_t *why = NULL;
    CLEANUP(cleanup_free) char *why_text = NULL;

    audit_add_text(record, "action_id", entry->id);
    audit_add_text(record, "call_id", call_id);
    audit_add_text(record, "account", entry->account->config->name);
    audit_add_text(record, "action", entry->action->type->name);
    if (state != ACTION_COMPLETED && state != ACTION_CANCELLED) {
        why = problem_json(ending->problem, ending->detail, NULL);
        if (ending->upstream_status > 0) {
            (void)json_object_set_new(why, "upstream_status",
                                      json_integer(ending->upstream_status));
        }
        why_text = json_write(why);
        audit_add_text(record, "problem", problem_name(ending->problem));
    }
    if (ending->upstream_status > 0) {
        audit_add(record, "upstream_status", json_integer(ending->upstream_status));
    }
    audit_add(record, "results", results != NULL ? json_loads(results, 0, NULL) : NULL);
    audit_add(record, "detail", json_pack("{s:s}", "state", action_state_name(state)));
    store_write_finish_action(write, entry->id, action_state_name(state), clock_wall_ms(), results,
                              why_text);
    store_write_add_record(write, audit_end(record));
    metrics_add(METRIC_AUDIT_RECORDS, event, NULL, 1);
}

static char *results_text(const struct entry *entry)
{
    CLEANUP(cleanup_json) json_t *list = json_array();

    for (size_t i = 0; i < entry->action->device_count; i++) {
        const struct answer_item *item = &entry->items[i];
        if (entry->known[i]) {
            (void)json_array_append_new(
                list, json_pack("{s:s, s:i, s:s}", "id", entry->action->devices[i].asked, "status",
                                item->status, "command_id", item->command_id));
        }
    }
    return json_write(list);
}

/* Nothing applied at all is failed; anything that may have been applied is unknown; else the
 * results are known, those of a refused part being failures of its devices. */
enum action_state entry_outcome(const struct entry *entry, char **ret_results)
{
    bool some = false;

    *ret_results = NULL;
    for (size_t i = 0; entry->known != NULL && i < entry->action->device_count; i++) {
        some = some || entry->known[i];
    }
    if (!some) {
        return entry->ending.unknown ? ACTION_UNKNOWN : ACTION_FAILED;
    }
    if (!entry->ending.unknown) {
        for (size_t i = 0; i < entry->action->device_count; i++) {
            entry->known[i] = true; /* items start as status 0 */
        }
    }
    *ret_results = results_text(entry);
    return entry->ending.unknown ? ACTION_UNKNOWN : ACTION_COMPLETED;
}

void entry_finish(struct entry *entry, enum action_state state, const char *results)
{
    struct account *account = entry->account;

    action_state_move(&entry->state, state);
    entry_reply_finished(entry, state, results, entry->ending.problem,
                         entry->ending.upstream_status, entry->ending.detail);
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
    scheduler_restore_job(entry->account->scheduler, &entry->job, clock_boot_ms());
    account_pump_later(entry->account, RETRY_MS);
}

static void on_end_stored(enum err result, void *arg)
{
    struct end *end = arg;
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

    entry_write_end(write, end->entry, end->event, end->state, NULL, end->results,
                    &end->entry->ending);
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

bool entry_can_withdraw(const struct entry *entry)
{
    return entry->state == ACTION_QUEUED && entry->open_parts == 0 && entry->job.claims != NULL &&
           scheduler_untouched(&entry->job);
}

void entry_withdraw(struct entry *entry, const char *event, enum action_state state,
                    enum problem_type problem, const char *detail,
                    void (*on_done)(enum err result, void *arg), void *arg)
{
    free(entry->ending.detail);
    entry->ending.problem = problem;
    entry->ending.detail = xstrdup(detail);
    scheduler_end(entry->account->scheduler, &entry->job, clock_boot_ms());
    entry_end(entry, event, state, NULL, on_done, arg);
}

void entries_fail_waiting(struct account *account, const char *detail)
{
    struct entry *next;

    for (struct entry *entry = TAILQ_FIRST(&account->entries); entry != NULL; entry = next) {
        next = TAILQ_NEXT(entry, link);
        if (entry->impatient && entry_can_withdraw(entry)) {
            entry_withdraw(entry, "action.finished", ACTION_FAILED, PROBLEM_UPSTREAM_ERROR, detail,
                           NULL, NULL);
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
            entry_withdraw(entry, "action.expired", ACTION_EXPIRED, PROBLEM_EXPIRED,
                           "It could not be sent before its deadline. Nothing was applied.", NULL,
                           NULL);
        }
    }
}
