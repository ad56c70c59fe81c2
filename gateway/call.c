/* Dispatcher, the life of one upstream call:
 *
 *   slot taken -> intent durable -> sent -> answered or not -> outcome durable -> entries told
 *
 * Nothing leaves before the intent is durable; nobody is told before the outcome is. A store that
 * refuses the outcome is asked again until it takes it: what happened upstream cannot be undone,
 * and until it is written the entries count as dispatched. Dispatcher thread. */
#include "gateway/dispatcher_priv.h"

#include "common/clock.h"
#include "common/crypto.h"
#include "common/json.h"
#include "common/log.h"
#include "gateway/metrics.h"

#include <stdlib.h>
#include <string.h>

/* What became of the call: kept until the store has it. */
struct verdict {
    enum upstream_result result;
    bool nothing_sent;
    bool requeue; /* the entry goes back to the queue: nothing was applied */
    int upstream_status;
    char *results; /* JSON array for the caller, or NULL */
    enum problem_type problem;
    char *detail;
    int64_t counted_boot_ms; /* by then the upstream had counted it; -1: never */
};

struct call {
    struct call *next;
    struct account *account;
    struct entry *entry;
    char id[CALL_ID_SIZE];
    int64_t slot;
    int64_t taken_boot_ms;
    int64_t sent_boot_ms;
    struct verdict verdict;
    struct event *retry; /* while the store refuses the outcome */
};

static void write_outcome(struct call *call);

static void free_call(struct call *call)
{
    struct call **link = &call->account->calls;

    while (*link != call) {
        link = &(*link)->next;
    }
    *link = call->next;
    call->account->dispatcher->calls--;
    if (call->retry != NULL) {
        event_free(call->retry);
    }
    free(call->verdict.results);
    free(call->verdict.detail);
    free(call);
}

void call_free_all(struct account *account)
{
    while (account->calls != NULL) {
        entry_free(account->calls->entry);
        free_call(account->calls);
    }
}

static const char *result_name(enum upstream_result result)
{
    static const char *const names[] = {
        [UPSTREAM_OK] = "ok", [UPSTREAM_FAILED] = "failed", [UPSTREAM_UNKNOWN] = "unknown"};

    return names[result];
}

/* ---- The outcome ---- */

void entry_write_end(struct store_write *write, const struct entry *entry, enum action_state state,
                     const char *call_id, const char *results, enum problem_type problem,
                     int upstream_status, const char *detail)
{
    json_t *record = audit_begin("action.finished", &entry->subject);
    CLEANUP(cleanup_json) json_t *why = NULL;
    CLEANUP(cleanup_free) char *why_text = NULL;

    audit_add_text(record, "action_id", entry->id);
    audit_add_text(record, "call_id", call_id);
    audit_add_text(record, "account", entry->account->config->name);
    audit_add_text(record, "action", entry->action->type->name);
    if (state != ACTION_COMPLETED) {
        why = problem_json(problem, detail, NULL);
        if (upstream_status > 0) {
            (void)json_object_set_new(why, "upstream_status", json_integer(upstream_status));
        }
        why_text = json_write(why);
        audit_add_text(record, "problem", problem_name(problem));
    }
    if (upstream_status > 0) {
        audit_add(record, "upstream_status", json_integer(upstream_status));
    }
    audit_add(record, "results", results != NULL ? json_loads(results, 0, NULL) : NULL);
    audit_add(record, "detail", json_pack("{s:s}", "state", action_state_name(state)));
    store_write_finish_action(write, entry->id, action_state_name(state), clock_wall_ms(), results,
                              why_text);
    store_write_add_record(write, audit_end(record));
    metrics_add(METRIC_AUDIT_RECORDS, "action.finished", NULL, 1);
}

static enum action_state final_state(const struct verdict *verdict)
{
    switch (verdict->result) {
    case UPSTREAM_OK:
        return ACTION_COMPLETED;
    case UPSTREAM_FAILED:
        return ACTION_FAILED;
    case UPSTREAM_UNKNOWN:
        break;
    }
    return ACTION_UNKNOWN;
}

static void on_outcome_stored(enum err result, void *arg)
{
    struct call *call = arg;
    struct account *account = call->account;
    struct entry *entry = call->entry;
    struct verdict *verdict = &call->verdict;
    const struct timeval delay = {.tv_usec = RETRY_MS * 1000};

    if (result != OK) {
        metrics_add(METRIC_AUDIT_FAILURES, NULL, NULL, 1);
        (void)evtimer_add(call->retry, &delay);
        return;
    }
    if (!verdict->nothing_sent) {
        grants_remember(account, call->id, verdict->counted_boot_ms);
    }
    if (verdict->requeue) {
        action_state_move(&entry->state, ACTION_QUEUED);
        scheduler_return(account->scheduler, &entry->job);
    } else {
        action_state_move(&entry->state, final_state(verdict));
        entry_reply_finished(entry, entry->state, verdict->results, verdict->problem,
                             verdict->upstream_status, verdict->detail);
        entry_free(entry);
    }
    free_call(call);
    account_pump(account);
}

static char *outcome_record(const struct call *call)
{
    const struct verdict *verdict = &call->verdict;
    json_t *record = audit_begin("call.outcome", NULL);
    json_t *detail = json_pack("{s:[s], s:b, s:s*}", "actions", call->entry->id, "nothing_sent",
                               (int)verdict->nothing_sent, "text", verdict->detail);

    audit_add_text(record, "action_id", call->entry->id);
    audit_add_text(record, "call_id", call->id);
    audit_add_text(record, "account", call->account->config->name);
    audit_add_text(record, "outcome", result_name(verdict->result));
    if (verdict->upstream_status > 0) {
        audit_add(record, "upstream_status", json_integer(verdict->upstream_status));
    }
    audit_add(record, "detail", detail);
    metrics_add(METRIC_AUDIT_RECORDS, "call.outcome", NULL, 1);
    return audit_end(record);
}

static void write_outcome(struct call *call)
{
    struct dispatcher *dispatcher = call->account->dispatcher;
    const struct verdict *verdict = &call->verdict;
    struct store_write *write = store_write_new();

    if (verdict->nothing_sent) {
        store_write_drop_grant(write, call->id);
    } else {
        store_write_answer_grant(write, call->id, verdict->counted_boot_ms,
                                 clock_wall_ms() + verdict->counted_boot_ms - clock_boot_ms());
    }
    store_write_add_record(write, outcome_record(call));
    if (verdict->requeue) {
        store_write_set_state(write, call->entry->id, action_state_name(ACTION_QUEUED), NULL);
    } else {
        entry_write_end(write, call->entry, final_state(verdict), call->id, verdict->results,
                        verdict->problem, verdict->upstream_status, verdict->detail);
    }
    if (store_submit(dispatcher->store, write, dispatcher->mailbox, on_outcome_stored, call) !=
        OK) {
        store_write_free(write);
        on_outcome_stored(ERR_FULL, call);
    }
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    write_outcome(arg);
}

/* The caller's own answer: its devices in its order and spelling. */
static char *results_json(const struct action *action, const struct upstream_outcome *outcome)
{
    CLEANUP(cleanup_json) json_t *list = json_array();

    for (size_t i = 0; i < action->device_count; i++) {
        const struct answer_item *item = &outcome->items[i];
        (void)json_array_append_new(list, json_pack("{s:s, s:i, s:s}", "id",
                                                    action->devices[i].asked, "status",
                                                    item->status, "command_id", item->command_id));
    }
    return json_write(list);
}

static enum problem_type problem_of(const struct upstream_outcome *outcome)
{
    if (outcome->result == UPSTREAM_UNKNOWN && !outcome->answered) {
        return PROBLEM_OUTCOME_UNKNOWN;
    }
    return outcome->result == UPSTREAM_FAILED && outcome->status >= 400 && outcome->status < 500
               ? PROBLEM_UPSTREAM_REJECTED
               : PROBLEM_UPSTREAM_ERROR;
}

/* Tells the budget what it must know about the slot. */
static void settle_slot(struct call *call, const struct upstream_outcome *outcome, int64_t now)
{
    struct scheduler *scheduler = call->account->scheduler;
    struct verdict *verdict = &call->verdict;

    if (outcome->nothing_sent) {
        verdict->counted_boot_ms = -1;
        scheduler_give_back(scheduler, call->slot);
    } else if (outcome->answered) {
        verdict->counted_boot_ms = now;
        scheduler_answered(scheduler, call->slot, call->taken_boot_ms, now);
    } else {
        verdict->counted_boot_ms = call->sent_boot_ms + call->account->config->timeout_s * 1000;
        scheduler_unanswered(scheduler, call->slot, verdict->counted_boot_ms);
    }
}

static void log_outcome(const struct call *call, const struct upstream_outcome *outcome)
{
    if (outcome->result != UPSTREAM_OK || outcome->missing > 0 || outcome->foreign > 0) {
        log_warning("upstream call", "s:s, s:s, s:s, s:i, s:I, s:I, s:s*", "account",
                    call->account->config->name, "call_id", call->id, "outcome",
                    result_name(outcome->result), "upstream_status", outcome->status,
                    "missing_devices", (json_int_t)outcome->missing, "foreign_devices",
                    (json_int_t)outcome->foreign, "detail", outcome->detail);
    }
}

static void on_answer(const struct upstream_outcome *outcome, void *arg)
{
    struct call *call = arg;
    struct entry *entry = call->entry;
    struct verdict *verdict = &call->verdict;
    const char *account = call->account->config->name;
    int64_t now = clock_boot_ms();

    settle_slot(call, outcome, now);
    verdict->result = outcome->result;
    verdict->nothing_sent = outcome->nothing_sent;
    verdict->upstream_status = outcome->status;
    verdict->problem = problem_of(outcome);
    verdict->detail = xstrdup(outcome->detail);
    if (outcome->result == UPSTREAM_OK) {
        verdict->results = results_json(entry->action, outcome);
    } else if (outcome->token_rejected && !entry->token_retried) {
        verdict->requeue = entry->token_retried = true;
    }
    metrics_add(METRIC_UPSTREAM_CALLS, account, result_name(outcome->result), 1);
    metrics_observe(METRIC_UPSTREAM_SECONDS, account, (double)(now - call->sent_boot_ms) / 1000);
    log_outcome(call, outcome);
    write_outcome(call);
}

/* ---- The intent ---- */

/* The slot is too old, or the token was lost meanwhile: nothing is sent, the entry waits again. */
static void withdraw(struct call *call)
{
    call->verdict = (struct verdict){
        .result = UPSTREAM_FAILED,
        .nothing_sent = true,
        .requeue = true,
        .counted_boot_ms = -1,
        .detail = xstrdup("withdrawn before anything was sent"),
    };
    scheduler_give_back(call->account->scheduler, call->slot);
    write_outcome(call);
}

static void send_call(struct call *call)
{
    const struct action *action = call->entry->action;
    CLEANUP(cleanup_free) char *body = action_body(action);
    CLEANUP(cleanup_free) const char **asked = xcalloc(action->device_count, sizeof(*asked));

    for (size_t i = 0; i < action->device_count; i++) {
        asked[i] = action->devices[i].canonical;
    }
    metrics_observe(METRIC_QUEUE_WAIT, call->entry->subject.team,
                    (double)(call->sent_boot_ms - call->entry->accepted_ms) / 1000);
    metrics_observe(METRIC_CALL_REQUESTS, NULL, 1);
    metrics_observe(METRIC_CALL_DEVICES, NULL, (double)action->device_count);
    upstream_call(call->account->upstream, body, asked, action->device_count,
                  action->kind == DEVICE_MAC, on_answer, call);
}

static void on_intent_stored(enum err result, void *arg)
{
    struct call *call = arg;
    struct account *account = call->account;

    if (result != OK) {
        metrics_add(METRIC_AUDIT_FAILURES, NULL, NULL, 1);
        scheduler_give_back(account->scheduler, call->slot);
        scheduler_return(account->scheduler, &call->entry->job);
        free_call(call);
        account_pump_later(account, RETRY_MS);
        return;
    }
    action_state_move(&call->entry->state, ACTION_DISPATCHED);
    call->sent_boot_ms = clock_boot_ms();
    if (call->sent_boot_ms - call->taken_boot_ms > SEND_WITHIN_MS ||
        !upstream_ready(account->upstream)) {
        withdraw(call);
        return;
    }
    send_call(call);
}

static char *intent_record(const struct call *call)
{
    const struct action *action = call->entry->action;
    json_t *record = audit_begin("call.intent", NULL);
    json_t *devices = json_array();

    for (size_t i = 0; i < action->device_count; i++) {
        (void)json_array_append_new(devices, json_string(action->devices[i].canonical));
    }
    audit_add_text(record, "action_id", call->entry->id);
    audit_add_text(record, "call_id", call->id);
    audit_add_text(record, "account", call->account->config->name);
    audit_add_text(record, "action", action->type->name);
    audit_add(record, "devices", devices);
    audit_add(record, "params", json_incref(action->params));
    audit_add(record, "detail", json_pack("{s:[s]}", "actions", call->entry->id));
    metrics_add(METRIC_AUDIT_RECORDS, "call.intent", NULL, 1);
    return audit_end(record);
}

void call_begin(struct account *account, struct entry *entry, int64_t slot, int64_t now_ms)
{
    struct dispatcher *dispatcher = account->dispatcher;
    struct call *call = xcalloc(1, sizeof(*call));
    struct store_write *write = store_write_new();
    struct store_grant grant = {
        .call_id = call->id,
        .account = account->config->name,
        .boot_id = clock_boot_id(),
        .taken_boot_ms = now_ms,
        .taken_wall_ms = clock_wall_ms(),
        .answered_boot_ms = -1,
        .answered_wall_ms = -1,
    };

    call->next = account->calls;
    account->calls = call;
    call->account = account;
    call->entry = entry;
    call->slot = slot;
    call->taken_boot_ms = now_ms;
    call->retry = evtimer_new(dispatcher->base, on_retry, call);
    memcpy(call->id, "call_", 5);
    crypto_random_text(call->id + 5, 20);
    dispatcher->calls++;
    grants_drop_spent(account, write, now_ms);
    store_write_add_grant(write, &grant);
    store_write_set_state(write, entry->id, action_state_name(ACTION_DISPATCHED), call->id);
    store_write_add_record(write, intent_record(call));
    if (store_submit(dispatcher->store, write, dispatcher->mailbox, on_intent_stored, call) != OK) {
        store_write_free(write);
        on_intent_stored(ERR_FULL, call);
    }
}
