/* Dispatcher, the life of one upstream call:
 *
 *   slot taken -> intent durable -> sent -> answered or not -> outcome durable -> entries told
 *
 * Nothing leaves before the intent is durable; nobody is told before the outcome is. A store that
 * refuses the outcome is asked again until it takes it: what happened upstream cannot be undone,
 * and until it is written the entries count as dispatched. Dispatcher thread. */
#include "gateway/call.h"

#include "common/clock.h"
#include "common/crypto.h"
#include "common/json.h"
#include "common/log.h"
#include "gateway/metrics.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void write_outcome(struct call *call);

static void free_call(struct call *call)
{
    struct call **link = &call->account->calls;

    while (*link != call) {
        link = &(*link)->next;
    }
    *link = call->next;
    call->account->dispatcher->calls--;
    connector_release(call->account, call->connector);
    if (call->retry != NULL) {
        event_free(call->retry);
    }
    for (size_t i = 0; i < call->batch->part_count; i++) {
        free(call->parts[i].results);
    }
    free(call->parts);
    free(call->detail);
    batch_free(call->batch);
    free(call);
}

void call_free_all(struct account *account)
{
    while (account->calls != NULL) {
        free_call(account->calls);
    }
}

static struct entry *entry_of(const struct call *call, size_t part)
{
    return (struct entry *)call->batch->parts[part].job;
}

static const char *result_name(enum upstream_result result)
{
    static const char *const names[] = {
        [UPSTREAM_OK] = "ok", [UPSTREAM_FAILED] = "failed", [UPSTREAM_UNKNOWN] = "unknown"};

    return names[result];
}

/* Ids of the actions in the call, and action_id where there is only one. */
static json_t *add_actions(json_t *record, const struct call *call)
{
    json_t *ids = json_array();

    for (size_t i = 0; i < call->batch->part_count; i++) {
        (void)json_array_append_new(ids, json_string(entry_of(call, i)->id));
    }
    if (call->batch->part_count == 1) {
        audit_add_text(record, "action_id", entry_of(call, 0)->id);
    }
    return ids;
}

/* ---- The outcome ---- */

/* The last of several parts is back: the action is wholly queued again. Should this not be written,
 * its state is wrong until it goes again; a restart sees for itself that nothing is under way. */
static void store_queued(const struct entry *entry)
{
    struct store_write *write = store_write_new();

    store_write_set_state(write, entry->id, action_state_name(ACTION_QUEUED), NULL);
    if (store_submit(entry->account->dispatcher->store, write, NULL, NULL, NULL) != OK) {
        store_write_free(write);
    }
}

/* A part of which nothing was applied waits again, unless its action was withdrawn meanwhile. */
static void put_back(struct call *call, size_t index)
{
    const struct call_part *part = &call->parts[index];
    struct entry *entry = entry_of(call, index);

    if (entry->open_parts == 0 && entry->state == ACTION_DISPATCHED &&
        !progress_started(&entry->progress)) {
        action_state_move(&entry->state, ACTION_QUEUED);
        if (!part->queued_stored) {
            store_queued(entry);
        }
    }
    if (entry->withdrawn == NULL) {
        scheduler_back(call->account->scheduler, &call->batch->parts[index], part->not_before_ms,
                       part->alone, clock_boot_ms());
    } else if (entry->open_parts == 0) {
        entry_settle(entry, NULL, NULL);
    }
}

static void settle_part(struct call *call, size_t index)
{
    const struct call_part *part = &call->parts[index];
    struct entry *entry = entry_of(call, index);

    entry->open_parts--;
    if (part->back) {
        put_back(call, index);
    } else if (part->ends) {
        entry_finish(entry, part->state, part->results);
    } else if (entry->open_parts == 0 && entry->job.left == 0) {
        entry_settle(entry, NULL, NULL);
    }
}

static void on_outcome_stored(enum err result, void *arg)
{
    struct call *call = arg;
    struct account *account = call->account;
    const struct timeval delay = {.tv_usec = RETRY_MS * 1000L};

    if (result != OK) {
        metrics_add(METRIC_AUDIT_FAILURES, NULL, NULL, 1);
        (void)evtimer_add(call->retry, &delay);
        return;
    }
    if (!call->nothing_sent) {
        grants_remember(account, call->id, call->counted_boot_ms);
    }
    call_keep_learned(call);
    for (size_t i = 0; i < call->batch->part_count; i++) {
        settle_part(call, i);
    }
    free_call(call);
    account_pump(account);
}

static char *outcome_record(const struct call *call)
{
    json_t *record = audit_begin("call.outcome", NULL);
    json_t *ids = add_actions(record, call);

    audit_add_text(record, "call_id", call->id);
    audit_add_text(record, "account", call->account->config->name);
    audit_add_text(record, "outcome", result_name(call->result));
    if (call->upstream_status > 0) {
        audit_add(record, "upstream_status", json_integer(call->upstream_status));
    }
    audit_add(record, "detail",
              json_pack("{s:o, s:b, s:s*, s:o*}", "actions", ids, "nothing_sent",
                        (int)call->nothing_sent, "text", call->detail, "clock",
                        call->nothing_sent ? NULL : audit_clock(call->counted_boot_ms)));
    metrics_add(METRIC_AUDIT_RECORDS, "call.outcome", NULL, 1);
    return audit_end(record);
}

/* What the outcome makes of one part's action. */
static void write_part(struct call *call, size_t index, struct store_write *write)
{
    struct call_part *part = &call->parts[index];
    const struct entry *entry = entry_of(call, index);
    CLEANUP(cleanup_free) char *progress = NULL;

    part->queued_stored =
        part->back && entry->open_parts == 1 && !progress_started(&entry->progress);
    if (part->queued_stored) {
        store_write_set_state(write, entry->id, action_state_name(ACTION_QUEUED), NULL);
    } else if (part->ends) {
        entry_write_end(write, entry, "action.finished", part->state, call->id, part->results);
    } else if (!part->back) {
        progress = progress_write(&entry->progress);
        store_write_set_progress(write, entry->id, action_state_name(ACTION_DISPATCHED), progress);
    }
}

static void write_outcome(struct call *call)
{
    struct dispatcher *dispatcher = call->account->dispatcher;
    struct store_write *write = store_write_new();

    if (call->nothing_sent) {
        store_write_drop_grant(write, call->id);
    } else {
        store_write_answer_grant(write, call->id, call->counted_boot_ms,
                                 clock_wall_ms() + call->counted_boot_ms - clock_boot_ms());
    }
    call_write_learned(call, write);
    store_write_add_record(write, outcome_record(call));
    for (size_t i = 0; i < call->batch->part_count; i++) {
        write_part(call, i, write);
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

/* Tells the budget what it must know about the slot. */
static void settle_slot(struct call *call, const struct upstream_outcome *outcome, int64_t now)
{
    struct account *account = call->account;

    if (outcome->nothing_sent) {
        call->counted_boot_ms = -1;
        scheduler_give_back(account->scheduler, call->batch, now);
    } else if (outcome->answered) {
        call->counted_boot_ms = now;
        scheduler_answered(account->scheduler, call->batch, now);
    } else {
        /* Its time has passed when this machine was held up: then it may have left just now. */
        int64_t latest = call->sent_boot_ms + call->connector->timeout_ms;
        call->counted_boot_ms = latest > now ? latest : now;
        scheduler_unanswered(account->scheduler, call->batch, call->counted_boot_ms, now);
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

static void count_call(struct call *call)
{
    const struct batch *batch = call->batch;

    metrics_observe(METRIC_CALL_REQUESTS, NULL, (double)batch->part_count);
    metrics_observe(METRIC_CALL_DEVICES, NULL, (double)batch->device_count);
    call->account->calls_saved += batch->part_count - 1;
    for (size_t i = 0; i < batch->part_count; i++) {
        const struct entry *entry = entry_of(call, i);
        metrics_observe(METRIC_QUEUE_WAIT, entry->subject.team,
                        (double)(call->sent_boot_ms - entry->accepted_ms) / 1000);
        if (batch->part_count > 1) {
            metrics_add(METRIC_CALLS_SAVED, entry->subject.team, NULL,
                        1 - (double)batch->parts[i].share / (double)SCHEDULER_SHARE);
        }
    }
}

static void on_answer(const struct upstream_outcome *outcome, void *arg)
{
    struct call *call = arg;
    const char *account = call->account->config->name;
    int64_t now = clock_boot_ms();

    call->result = outcome->result;
    call->nothing_sent = outcome->nothing_sent;
    call->upstream_status = outcome->status;
    call->detail = xstrdup(outcome->detail);
    call_learn(call, outcome, now);
    settle_slot(call, outcome, now);
    for (size_t i = 0; i < call->batch->part_count; i++) {
        call_judge_part(call, i, outcome, now);
    }
    if (!outcome->nothing_sent) {
        count_call(call);
    }
    metrics_add(METRIC_UPSTREAM_CALLS, account, result_name(outcome->result), 1);
    metrics_observe(METRIC_UPSTREAM_SECONDS, account, (double)(now - call->sent_boot_ms) / 1000);
    log_outcome(call, outcome);
    write_outcome(call);
    if (outcome->nothing_sent) {
        breaker_failed(call->account);
    } else {
        breaker_succeeded(call->account);
    }
}

/* ---- The intent ---- */

/* The slot is too old, or the token was lost meanwhile: nothing is sent, the entries wait again. */
static void withdraw(struct call *call)
{
    call->result = UPSTREAM_FAILED;
    call->nothing_sent = true;
    call->counted_boot_ms = -1;
    call->detail = xstrdup("withdrawn before anything was sent");
    for (size_t i = 0; i < call->batch->part_count; i++) {
        call->parts[i].back = true;
        call->parts[i].not_before_ms = INT64_MIN;
    }
    scheduler_give_back(call->account->scheduler, call->batch, clock_boot_ms());
    write_outcome(call);
}

static void send_call(struct call *call)
{
    const struct action *action = entry_of(call, 0)->action;
    CLEANUP(cleanup_free)
    char *body = action_body(action, call->batch->devices, call->batch->device_count);

    upstream_call(call->connector->upstream, body, call->batch->devices, call->batch->device_count,
                  action->kind == DEVICE_MAC, on_answer, call);
}

static void on_intent_stored(enum err result, void *arg)
{
    struct call *call = arg;
    struct account *account = call->account;
    int64_t now = clock_boot_ms();

    if (result != OK) {
        metrics_add(METRIC_AUDIT_FAILURES, NULL, NULL, 1);
        scheduler_give_back(account->scheduler, call->batch, now);
        for (size_t i = 0; i < call->batch->part_count; i++) {
            entry_of(call, i)->open_parts--;
            call->parts[i].not_before_ms = INT64_MIN;
            put_back(call, i);
        }
        free_call(call);
        account_pump_later(account, RETRY_MS);
        return;
    }
    for (size_t i = 0; i < call->batch->part_count; i++) {
        struct entry *entry = entry_of(call, i);
        if (entry->state == ACTION_QUEUED) {
            action_state_move(&entry->state, ACTION_DISPATCHED);
        }
    }
    call->sent_boot_ms = now;
    if (now - call->batch->taken_ms > SEND_WITHIN_MS ||
        !upstream_ready(call->connector->upstream)) {
        withdraw(call);
        return;
    }
    send_call(call);
}

static char *intent_record(const struct call *call)
{
    const struct action *action = entry_of(call, 0)->action;
    json_t *record = audit_begin("call.intent", NULL);
    json_t *ids = add_actions(record, call);
    json_t *devices = json_array();

    for (size_t i = 0; i < call->batch->device_count; i++) {
        (void)json_array_append_new(devices, json_string(call->batch->devices[i]));
    }
    audit_add_text(record, "call_id", call->id);
    audit_add_text(record, "account", call->account->config->name);
    audit_add_text(record, "action", action->type->name);
    audit_add(record, "devices", devices);
    audit_add(record, "params", action_params(action));
    audit_add(record, "detail",
              json_pack("{s:o, s:o}", "actions", ids, "clock", audit_clock(call->batch->taken_ms)));
    metrics_add(METRIC_AUDIT_RECORDS, "call.intent", NULL, 1);
    return audit_end(record);
}

/* What a restart wants to know of the call: its actions, which devices of those that are not in it
 * as a whole, what it costs each team, and how long an answer may take. */
static char *grant_detail(const struct call *call)
{
    CLEANUP(cleanup_json) json_t *detail = NULL;
    json_t *ids = json_array();
    json_t *parts = json_object();
    json_t *shares = json_object();

    for (size_t i = 0; i < call->batch->part_count; i++) {
        const struct batch_part *part = &call->batch->parts[i];
        const struct entry *entry = entry_of(call, i);
        const char *team = entry->subject.team;
        json_int_t before = json_integer_value(json_object_get(shares, team));
        (void)json_array_append_new(ids, json_string(entry->id));
        (void)json_object_set_new(shares, team, json_integer(before + part->share));
        if (part->count < entry->action->device_count) {
            (void)json_object_set_new(parts, entry->id,
                                      progress_ranges(part->devices, part->count));
        }
    }
    detail = json_pack("{s:o, s:o, s:o, s:I}", "actions", ids, "parts", parts, "shares", shares,
                       "timeout_ms", (json_int_t)call->connector->timeout_ms);
    return json_write(detail);
}

bool call_begin(struct account *account, struct batch *batch)
{
    struct dispatcher *dispatcher = account->dispatcher;
    struct call *call = xcalloc(1, sizeof(*call));
    struct store_write *write = store_write_new();
    CLEANUP(cleanup_free) char *detail = NULL;
    struct store_grant grant = {
        .call_id = call->id,
        .account = account->config->name,
        .boot_id = clock_boot_id(),
        .taken_boot_ms = batch->taken_ms,
        .taken_wall_ms = clock_wall_ms(),
        .answered_boot_ms = -1,
        .answered_wall_ms = -1,
    };

    call->next = account->calls;
    account->calls = call;
    call->account = account;
    call->connector = account->connector;
    call->connector->calls++;
    call->batch = batch;
    call->parts = xcalloc(batch->part_count, sizeof(*call->parts));
    call->retry = evtimer_new(dispatcher->base, on_retry, call);
    memcpy(call->id, "call_", CALL_ID_PREFIX);
    crypto_random_text(call->id + CALL_ID_PREFIX, 20);
    dispatcher->calls++;
    grants_drop_spent(account, write, batch->taken_ms);
    detail = grant_detail(call);
    grant.detail = detail;
    store_write_add_grant(write, &grant);
    for (size_t i = 0; i < batch->part_count; i++) {
        entry_of(call, i)->open_parts++;
        store_write_set_state(write, entry_of(call, i)->id, action_state_name(ACTION_DISPATCHED),
                              call->id);
    }
    store_write_add_record(write, intent_record(call));
    if (store_submit(dispatcher->store, write, dispatcher->mailbox, on_intent_stored, call) != OK) {
        store_write_free(write);
        on_intent_stored(ERR_FULL, call);
        return false;
    }
    return true;
}
