/* Dispatcher, taking in actions: a place in the queue, the durable acceptance, and the replies to
 * whoever submitted. See dispatcher_priv.h. */
#include "gateway/dispatcher_priv.h"

#include "common/clock.h"
#include "common/crypto.h"
#include "common/json.h"
#include "gateway/metrics.h"

#include <stdlib.h>
#include <string.h>

#define IDEMPOTENCY_TTL_MS ((int64_t)24 * 3600 * 1000)

void dispatcher_reply_free(struct dispatcher_reply *reply)
{
    if (reply != NULL) {
        free(reply->results);
        free(reply->detail);
        free(reply);
    }
}

void submission_free(struct submission *submission)
{
    if (submission != NULL) {
        subject_done(&submission->subject);
        action_unref(submission->action);
        free(submission->reason);
        free(submission->rule);
        free(submission->idempotency_key);
        json_decref(submission->report);
        settings_unref(submission->settings);
        free(submission);
    }
}

/* ---- Replies ---- */

static struct dispatcher_reply *new_reply(const struct entry *entry, enum reply_kind kind)
{
    struct dispatcher_reply *reply = xcalloc(1, sizeof(*reply));

    *reply = (struct dispatcher_reply){
        .mail = {.deliver = entry->on_reply},
        .token = entry->token,
        .kind = kind,
        .submitted_ms = entry->submitted_ms,
        .state = entry->state,
    };
    memcpy(reply->action_id, entry->id, sizeof(reply->action_id));
    return reply;
}

/* Says that the entry was not taken, and ends it. */
static void refuse(struct entry *entry, enum reply_kind kind, int64_t eta_ms, const char *detail)
{
    struct dispatcher_reply *reply = new_reply(entry, kind);

    reply->eta_ms = eta_ms;
    reply->detail = xstrdup(detail);
    mailbox_answer(entry->reply_to, &reply->mail);
    entry_free(entry);
}

void entry_reply_finished(struct entry *entry, enum action_state state, const char *results,
                          enum problem_type problem, int upstream_status, const char *detail)
{
    struct dispatcher_reply *reply;

    if (!entry->waits) {
        return;
    }
    reply = new_reply(entry, REPLY_FINISHED);
    reply->state = state;
    reply->results = xstrdup(results);
    reply->problem = problem;
    reply->upstream_status = upstream_status;
    reply->detail = xstrdup(detail);
    mailbox_answer(entry->reply_to, &reply->mail);
}

/* What was found at admission still holds: that was a commit ago. */
static int64_t eta_of(const struct entry *entry, int64_t now_ms)
{
    int64_t least = scheduler_latency_ms(entry->account->scheduler);

    return entry->expected_ms - now_ms > least ? entry->expected_ms - now_ms : least;
}

/* ---- Acceptance ---- */

static json_t *devices_json(const struct action *action)
{
    json_t *devices = json_array();

    for (size_t i = 0; i < action->device_count; i++) {
        (void)json_array_append_new(devices, json_string(action->devices[i].asked));
    }
    return devices;
}

static char *accepted_record(const struct entry *entry)
{
    json_t *record = audit_begin("action.accepted", &entry->subject);

    audit_add_text(record, "action_id", entry->id);
    audit_add_text(record, "account", entry->account->config->name);
    audit_add_text(record, "action", entry->action->type->name);
    audit_add(record, "devices", devices_json(entry->action));
    audit_add(record, "params", action_params(entry->action));
    audit_add_text(record, "reason", entry->reason);
    audit_add_text(record, "decision", "allow");
    audit_add_text(record, "rule", entry->rule);
    if (entry->report != NULL) {
        audit_add(record, "detail", json_pack("{s:O}", "shadow", entry->report));
    }
    metrics_add(METRIC_AUDIT_RECORDS, "action.accepted", NULL, 1);
    return audit_end(record);
}

static void on_accepted_stored(enum err result, void *arg)
{
    struct entry *entry = arg;
    struct account *account = entry->account;
    struct dispatcher_reply *reply;
    int64_t now = clock_boot_ms();

    if (result != OK) {
        scheduler_leave(account->scheduler, entry->job.team, entry->action);
        if (result != ERR_EXISTS) {
            metrics_add(METRIC_AUDIT_FAILURES, NULL, NULL, 1);
        }
        refuse(entry, result == ERR_EXISTS ? REPLY_DUPLICATE : REPLY_UNAVAILABLE, RETRY_MS, NULL);
        return;
    }
    entry->accepted_ms = now;
    entries_add(account->dispatcher->entries, entry);
    scheduler_add(account->scheduler, &entry->job, now);
    reply = new_reply(entry, REPLY_ACCEPTED);
    reply->position = scheduler_position(account->scheduler, &entry->job);
    reply->eta_ms = eta_of(entry, now);
    mailbox_answer(entry->reply_to, &reply->mail);
    if (entry_is_orphan(entry)) { /* a reload took its team away meanwhile */
        entry_end_orphan(entry);
    }
    account_pump(account);
}

static void store_accepted(struct entry *entry, const struct submission *submission)
{
    struct dispatcher *dispatcher = entry->account->dispatcher;
    CLEANUP(cleanup_json) json_t *asked = action_as_asked(entry->action);
    CLEANUP(cleanup_free) char *request = json_write(asked);
    struct store_write *write = store_write_new();
    struct store_action row = {
        .id = entry->id,
        .account = entry->account->config->name,
        .team = entry->subject.team,
        .client = entry->subject.client,
        .key_id = entry->subject.key_id,
        .request_id = entry->subject.request_id,
        .state = action_state_name(entry->state),
        .submitted_ms = entry->submitted_ms,
        .deadline_ms = entry->deadline_ms,
        .priority = entry->job.priority,
        .reason = entry->reason,
        .rule = entry->rule,
        .request = request,
    };
    struct store_idempotency idempotency = {
        .team = entry->subject.team,
        .key = submission->idempotency_key,
        .body_sha256 = submission->body_sha256,
        .action_id = entry->id,
        .expires_ms = entry->submitted_ms + IDEMPOTENCY_TTL_MS,
        .now_ms = entry->submitted_ms,
    };

    store_write_add_action(write, &row);
    if (submission->idempotency_key != NULL) {
        store_write_add_idempotency(write, &idempotency);
    }
    store_write_add_record(write, accepted_record(entry));
    if (store_submit(dispatcher->store, write, dispatcher->mailbox, on_accepted_stored, entry) !=
        OK) {
        store_write_free(write);
        on_accepted_stored(ERR_FULL, entry);
    }
}

static struct entry *new_entry(struct dispatcher *dispatcher, struct submission *submission,
                               size_t index)
{
    struct entry *entry = xcalloc(1, sizeof(*entry));
    const struct team_config *team = config_team(dispatcher->config, index);
    int64_t wall = clock_wall_ms();
    bool impatient = submission->waits && submission->wait_ms >= 0;

    *entry = (struct entry){
        .account = dispatcher->accounts[team->account_index],
        .state = ACTION_QUEUED,
        .subject = submission->subject,
        .action = TAKE(submission->action),
        .reason = TAKE(submission->reason),
        .rule = TAKE(submission->rule),
        .report = TAKE(submission->report),
        .submitted_ms = wall,
        .deadline_ms = wall + ACTION_TTL_MS,
        .retry_until_ms = clock_boot_ms() + (impatient ? submission->wait_ms : ACTION_TTL_MS),
        .reply_to = submission->reply_to,
        .on_reply = submission->on_reply,
        .token = submission->token,
        .waits = submission->waits,
        .impatient = impatient,
    };
    entry->job.action = entry->action;
    entry->job.team = dispatcher->team_slots[index];
    entry->job.priority = submission->priority;
    submission->subject = (struct subject){0};
    memcpy(entry->id, "act_", 4);
    crypto_random_text(entry->id + 4, 24);
    return entry;
}

/* A reload took the team away while the request was on its way. */
static void refuse_orphan(struct submission *submission)
{
    struct dispatcher_reply *reply = xcalloc(1, sizeof(*reply));

    *reply = (struct dispatcher_reply){.mail = {.deliver = submission->on_reply},
                                       .token = submission->token,
                                       .kind = REPLY_UNAVAILABLE};
    mailbox_answer(submission->reply_to, &reply->mail);
    submission_free(submission);
}

static void take_submission(struct dispatcher *dispatcher, struct submission *submission)
{
    ssize_t team = dispatcher_find_team(dispatcher, submission->settings, submission->team);
    struct entry *entry;
    int64_t now = clock_boot_ms();
    int64_t eta_ms = 0;
    enum err err;

    if (team < 0) {
        refuse_orphan(submission);
        return;
    }
    entry = new_entry(dispatcher, submission, (size_t)team);
    if (dispatcher->draining || !store_healthy(dispatcher->store)) {
        refuse(entry, REPLY_UNAVAILABLE, RETRY_MS, NULL);
    } else if (entry->account->open && entry->impatient) {
        refuse(entry, REPLY_NO_UPSTREAM, 0, NULL);
    } else {
        err = scheduler_admit(entry->account->scheduler, entry->job.team, entry->action,
                              submission->wait_ms, now, &eta_ms);
        if (err == OK) {
            entry->expected_ms = now + eta_ms;
            store_accepted(entry, submission);
        } else {
            refuse(entry, err == ERR_FULL ? REPLY_QUEUE_FULL : REPLY_TOO_LONG, eta_ms, NULL);
        }
    }
    submission_free(submission);
}

void on_submission(struct mail *mail, void *receiver)
{
    take_submission(receiver, (struct submission *)mail);
}

enum err dispatcher_submit(struct dispatcher *dispatcher, struct submission *submission)
{
    submission->mail.deliver = on_submission;
    return mailbox_post(dispatcher->mailbox, &submission->mail);
}
