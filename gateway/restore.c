/* Dispatcher, what an earlier process left: its grants go back in the book of the budget, its
 * queued actions back in the queue, and what it had in the air ends as unknown: it may have been
 * applied, and is never sent again. Before the dispatcher's thread runs. */
#include "gateway/dispatcher_priv.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "gateway/metrics.h"

#include <stdlib.h>
#include <string.h>

#define CRASH_DETAIL                                                                               \
    "The gateway was stopped while the upstream had the request: whether it was applied is not "   \
    "known. It is not sent again."

struct restoring {
    struct account *account;
    struct store_write *calls; /* how lost calls end: recorded before the actions in them */
    struct store_write *actions;
    size_t queued;
    size_t unknown;
};

int64_t restore_age_ms(const char *boot_id, int64_t boot_ms, int64_t wall_ms, int64_t now_boot_ms,
                       int64_t now_wall_ms)
{
    int64_t age;

    if (strcmp(boot_id, clock_boot_id()) == 0) {
        return now_boot_ms > boot_ms ? now_boot_ms - boot_ms : 0;
    }
    /* Another boot: it is older than this one, and if the wall clock says younger, that too. */
    age = now_wall_ms > wall_ms ? now_wall_ms - wall_ms : 0;
    return age < now_boot_ms ? age : now_boot_ms;
}

/* A call whose outcome is not known, and never will be. */
static void end_call(struct restoring *restoring, const struct store_grant *grant,
                     const json_t *detail, int64_t counted_boot_ms, int64_t counted_wall_ms)
{
    json_t *record = audit_begin("call.outcome", NULL);
    json_t *actions = json_object_get(detail, "actions");

    if (json_array_size(actions) == 1) {
        audit_add(record, "action_id", json_incref(json_array_get(actions, 0)));
    }
    audit_add_text(record, "call_id", grant->call_id);
    audit_add_text(record, "account", grant->account);
    audit_add_text(record, "outcome", "unknown");
    audit_add(
        record, "detail",
        json_pack("{s:O*, s:b, s:s}", "actions", actions, "nothing_sent", 0, "text", CRASH_DETAIL));
    store_write_answer_grant(restoring->calls, grant->call_id, counted_boot_ms, counted_wall_ms);
    store_write_add_record(restoring->calls, audit_end(record));
    metrics_add(METRIC_AUDIT_RECORDS, "call.outcome", NULL, 1);
}

/* The teams go on paying for the slot until it comes free. */
static void restore_shares(struct account *account, const json_t *detail, int64_t counted_ms,
                           int64_t now_ms)
{
    const struct dispatcher *dispatcher = account->dispatcher;
    const int64_t free_ms = counted_ms + account->config->budget.window_s * 1000 + 1;
    const char *name;
    json_t *share;

    json_object_foreach (json_object_get(detail, "shares"), name, share) {
        ssize_t team = config_find_team(dispatcher->config, name);
        if (team >= 0 && free_ms > now_ms &&
            &dispatcher->accounts[config_team(dispatcher->config, (size_t)team)->account_index] ==
                account) {
            scheduler_restore_share(account->scheduler, dispatcher->team_slots[team],
                                    json_integer_value(share), free_ms, now_ms);
        }
    }
}

static bool restore_grant(const struct store_grant *grant, void *arg)
{
    struct restoring *restoring = arg;
    struct account *account = restoring->account;
    const int64_t unanswered_ms = account->config->timeout_s * 1000 + SEND_WITHIN_MS;
    int64_t boot = clock_boot_ms();
    int64_t wall = clock_wall_ms();
    int64_t taken = boot - restore_age_ms(grant->boot_id, grant->taken_boot_ms,
                                          grant->taken_wall_ms, boot, wall);
    int64_t counted = taken + unanswered_ms;
    CLEANUP(cleanup_json)
    json_t *detail = grant->detail != NULL ? json_loads(grant->detail, 0, NULL) : NULL;

    if (grant->answered_boot_ms >= 0) {
        /* A call without an answer is stored with the time until which it may be counted: that
         * can lie ahead, as far from its taking as it did then. */
        int64_t after = grant->answered_boot_ms - grant->taken_boot_ms;
        counted = boot - restore_age_ms(grant->boot_id, grant->answered_boot_ms,
                                        grant->answered_wall_ms, boot, wall);
        counted = counted < taken + after ? taken + after : counted;
    }
    if (grant->answered_boot_ms < 0) {
        end_call(restoring, grant, detail, counted, wall + counted - boot);
    }
    if (counted > boot) {
        /* To the book, a call that was taken so long ago that its time without an answer ends
         * right then. */
        scheduler_restore_call(account->scheduler, counted - unanswered_ms, -1, boot);
    } else {
        scheduler_restore_call(account->scheduler, taken, counted, boot);
    }
    restore_shares(account, detail, counted, boot);
    grants_remember(account, grant->call_id, counted);
    return true;
}

/* An entry made again from its row; NULL, with the reason, when it cannot go on. */
static struct entry *read_entry(struct account *account, const struct store_action *row,
                                const char **ret_why)
{
    struct dispatcher *dispatcher = account->dispatcher;
    ssize_t team = config_find_team(dispatcher->config, row->team);
    struct problems problems = {0};
    struct entry *entry;
    struct action *action = NULL;

    if (action_parse(row->request, strlen(row->request), SIZE_MAX, &action, &problems, NULL) !=
        OK) {
        problems_done(&problems);
        *ret_why = "It was accepted by another version of the gateway and cannot be read.";
        return NULL;
    }
    if (team < 0 ||
        &dispatcher->accounts[config_team(dispatcher->config, (size_t)team)->account_index] !=
            account) {
        action_unref(action);
        *ret_why = "Its team is no longer configured for the account.";
        return NULL;
    }
    entry = xcalloc(1, sizeof(*entry));
    *entry = (struct entry){
        .account = account,
        .subject = {.request_id = xstrdup(row->request_id),
                    .client = xstrdup(row->client),
                    .key_id = xstrdup(row->key_id),
                    .team = xstrdup(row->team)},
        .action = action,
        .team = (size_t)team,
        .reason = xstrdup(row->reason),
        .rule = xstrdup(row->rule),
        .submitted_ms = row->submitted_ms,
        .deadline_ms = row->deadline_ms > 0 ? row->deadline_ms : row->submitted_ms + ACTION_TTL_MS,
        .accepted_ms = clock_boot_ms(),
        .retry_until_ms = INT64_MAX,
    };
    entry->job.action = action;
    entry->job.team = dispatcher->team_slots[entry->team];
    entry->job.priority = row->priority;
    (void)snprintf(entry->id, sizeof(entry->id), "%s", row->id);
    return entry;
}

/* Ends an action that does not go on. */
static void end_row(struct restoring *restoring, const struct store_action *row,
                    enum action_state state, enum problem_type problem, const char *detail)
{
    struct subject subject = {.request_id = (char *)row->request_id,
                              .client = (char *)row->client,
                              .key_id = (char *)row->key_id,
                              .team = (char *)row->team};
    json_t *record = audit_begin("action.finished", &subject);
    CLEANUP(cleanup_json) json_t *why = problem_json(problem, detail, NULL);
    CLEANUP(cleanup_free) char *why_text = json_write(why);

    audit_add_text(record, "action_id", row->id);
    audit_add_text(record, "call_id", row->call_id);
    audit_add_text(record, "account", row->account);
    audit_add_text(record, "problem", problem_name(problem));
    audit_add(record, "detail", json_pack("{s:s}", "state", action_state_name(state)));
    store_write_finish_action(restoring->actions, row->id, action_state_name(state),
                              clock_wall_ms(), NULL, why_text);
    store_write_add_record(restoring->actions, audit_end(record));
    metrics_add(METRIC_AUDIT_RECORDS, "action.finished", NULL, 1);
}

static bool restore_action(const struct store_action *row, void *arg)
{
    struct restoring *restoring = arg;
    struct account *account = restoring->account;
    enum action_state state = ACTION_QUEUED;
    const char *why = NULL;
    struct entry *entry;

    if (action_state_find(row->state, &state) == OK && state == ACTION_DISPATCHED) {
        end_row(restoring, row, ACTION_UNKNOWN, PROBLEM_OUTCOME_UNKNOWN, CRASH_DETAIL);
        restoring->unknown++;
        return true;
    }
    entry = read_entry(account, row, &why);
    if (entry == NULL) {
        end_row(restoring, row, ACTION_FAILED, PROBLEM_UNAVAILABLE, why);
        return true;
    }
    entry->state = ACTION_QUEUED;
    entries_add(account->dispatcher->entries, entry);
    scheduler_restore_job(account->scheduler, &entry->job, clock_boot_ms());
    restoring->queued++;
    return true;
}

struct waiting_write {
    struct event_base *base;
    enum err result;
};

static void on_stored(enum err result, void *arg)
{
    struct waiting_write *waiting = arg;

    waiting->result = result;
    (void)event_base_loopbreak(waiting->base);
}

/* Stores a write and waits for it: the dispatcher's loop does not run yet. */
static enum err store_now(struct dispatcher *dispatcher, struct store_write *write,
                          struct error *error)
{
    struct waiting_write waiting = {.base = dispatcher->base};

    if (store_submit(dispatcher->store, write, dispatcher->mailbox, on_stored, &waiting) != OK) {
        store_write_free(write);
        return error_set(error, ERR_FULL, "the store takes no writes");
    }
    (void)event_base_dispatch(dispatcher->base);
    if (waiting.result != OK) {
        return error_set(error, waiting.result, "the store refused what an earlier run left");
    }
    return OK;
}

static enum err restore_account(struct account *account, struct error *error)
{
    struct store *store = account->dispatcher->store;
    const char *name = account->config->name;
    struct restoring restoring = {
        .account = account, .calls = store_write_new(), .actions = store_write_new()};
    enum err err = store_load_grants(store, name, restore_grant, &restoring, error);

    if (err == OK) {
        err = store_load_open_actions(store, name, restore_action, &restoring, error);
    }
    if (err != OK) {
        store_write_free(restoring.calls);
        store_write_free(restoring.actions);
        return err;
    }
    if (restoring.queued > 0 || restoring.unknown > 0) {
        log_info("restored", "s:s, s:I, s:I", "account", name, "queued",
                 (json_int_t)restoring.queued, "unknown", (json_int_t)restoring.unknown);
    }
    err = store_now(account->dispatcher, restoring.calls, error);
    if (err != OK) {
        store_write_free(restoring.actions);
        return err;
    }
    return store_now(account->dispatcher, restoring.actions, error);
}

enum err dispatcher_restore(struct dispatcher *dispatcher, struct error *error)
{
    enum err err = OK;

    for (size_t i = 0; err == OK && i < dispatcher->account_count; i++) {
        err = restore_account(&dispatcher->accounts[i], error);
    }
    return err;
}
