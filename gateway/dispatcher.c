/* Dispatcher: accounts, submissions and replies. See dispatcher.h. */
#include "gateway/dispatcher_priv.h"

#include "common/clock.h"
#include "common/crypto.h"
#include "common/json.h"
#include "common/log.h"
#include "gateway/metrics.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SUBMISSIONS  65536 /* in the mailbox, not yet looked at */
#define MAX_ANSWER_BYTES (16 * 1024 * 1024)
#define TICK_MS          1000

#define NO_TOKEN_DETAIL "Nothing was sent: the gateway could not get a token from the upstream."

/* ---- Replies ---- */

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
        json_decref(submission->report);
        free(submission);
    }
}

void entry_free(struct entry *entry)
{
    if (entry != NULL) {
        subject_done(&entry->subject);
        action_unref(entry->action);
        free(entry->reason);
        free(entry->rule);
        json_decref(entry->report);
        free(entry);
    }
}

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

static void post_reply(struct entry *entry, struct dispatcher_reply *reply)
{
    mailbox_answer(entry->reply_to, &reply->mail);
}

/* Says that the entry was not taken, and ends it. */
static void refuse(struct entry *entry, enum reply_kind kind, int64_t eta_ms)
{
    struct dispatcher_reply *reply = new_reply(entry, kind);

    reply->eta_ms = eta_ms;
    post_reply(entry, reply);
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
    post_reply(entry, reply);
}

/* ---- Queue and calls ---- */

void account_pump_later(struct account *account, int64_t delay_ms)
{
    struct timeval delay = {.tv_sec = delay_ms / 1000, .tv_usec = (delay_ms % 1000) * 1000};

    (void)evtimer_add(account->timer, &delay);
}

void account_pump(struct account *account)
{
    int64_t now = clock_boot_ms();
    int64_t wake;
    int64_t slot;
    struct job *job;

    if (account->dispatcher->draining || !upstream_ready(account->upstream)) {
        return; /* on_token comes back here */
    }
    if (!store_healthy(account->dispatcher->store)) {
        account_pump_later(account, RETRY_MS);
        return;
    }
    while ((job = scheduler_next(account->scheduler, now, &slot)) != NULL) {
        call_begin(account, (struct entry *)job, slot, now);
    }
    wake = scheduler_wake_ms(account->scheduler, now);
    if (wake >= 0) {
        account_pump_later(account, wake > now ? wake - now : 1);
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    account_pump(arg);
}

/* ---- Submissions ---- */

static const char *account_name(const struct entry *entry)
{
    return entry->account->config->name;
}

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
    audit_add_text(record, "account", account_name(entry));
    audit_add_text(record, "action", entry->action->type->name);
    audit_add(record, "devices", devices_json(entry->action));
    audit_add(record, "params", json_incref(entry->action->params));
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
    size_t team = account->dispatcher->team_slots[entry->team];
    struct dispatcher_reply *reply;
    int64_t now = clock_boot_ms();

    if (result != OK) {
        scheduler_leave(account->scheduler, team);
        metrics_add(METRIC_AUDIT_FAILURES, NULL, NULL, 1);
        refuse(entry, REPLY_UNAVAILABLE, RETRY_MS);
        return;
    }
    entry->accepted_ms = now;
    scheduler_add(account->scheduler, &entry->job, team, now);
    reply = new_reply(entry, REPLY_ACCEPTED);
    reply->position = scheduler_depth(account->scheduler) - 1;
    reply->eta_ms = scheduler_eta_ms(account->scheduler, reply->position, now);
    post_reply(entry, reply);
    account_pump(account);
}

static void store_accepted(struct entry *entry)
{
    CLEANUP(cleanup_json) json_t *asked = action_as_asked(entry->action);
    CLEANUP(cleanup_free) char *request = json_write(asked);
    struct store_write *write = store_write_new();
    struct store_action row = {
        .id = entry->id,
        .account = account_name(entry),
        .team = entry->subject.team,
        .client = entry->subject.client,
        .key_id = entry->subject.key_id,
        .request_id = entry->subject.request_id,
        .state = action_state_name(entry->state),
        .submitted_ms = entry->submitted_ms,
        .priority = entry->priority,
        .reason = entry->reason,
        .rule = entry->rule,
        .request = request,
    };

    store_write_add_action(write, &row);
    store_write_add_record(write, accepted_record(entry));
    if (store_submit(entry->account->dispatcher->store, write, entry->account->dispatcher->mailbox,
                     on_accepted_stored, entry) != OK) {
        store_write_free(write);
        on_accepted_stored(ERR_FULL, entry);
    }
}

static struct entry *new_entry(struct dispatcher *dispatcher, struct submission *submission)
{
    struct entry *entry = xcalloc(1, sizeof(*entry));
    const struct team_config *team = config_team(dispatcher->config, submission->team);

    *entry = (struct entry){
        .account = &dispatcher->accounts[team->account_index],
        .state = ACTION_QUEUED,
        .subject = submission->subject,
        .action = TAKE(submission->action),
        .team = submission->team,
        .reason = TAKE(submission->reason),
        .rule = TAKE(submission->rule),
        .report = TAKE(submission->report),
        .priority = submission->priority,
        .submitted_ms = clock_wall_ms(),
        .reply_to = submission->reply_to,
        .on_reply = submission->on_reply,
        .token = submission->token,
        .waits = submission->waits,
    };
    submission->subject = (struct subject){0};
    memcpy(entry->id, "act_", 4);
    crypto_random_text(entry->id + 4, 24);
    return entry;
}

static void take_submission(struct dispatcher *dispatcher, struct submission *submission)
{
    struct entry *entry = new_entry(dispatcher, submission);
    int64_t wait_ms = submission->wait_ms;
    int64_t eta_ms;
    enum err err;

    submission_free(submission);
    if (dispatcher->draining || !store_healthy(dispatcher->store)) {
        refuse(entry, REPLY_UNAVAILABLE, RETRY_MS);
        return;
    }
    err = scheduler_admit(entry->account->scheduler, dispatcher->team_slots[entry->team], wait_ms,
                          clock_boot_ms(), &eta_ms);
    if (err != OK) {
        refuse(entry, err == ERR_FULL ? REPLY_QUEUE_FULL : REPLY_TOO_LONG, eta_ms);
        return;
    }
    store_accepted(entry);
}

static void on_submission(struct mail *mail, void *receiver)
{
    take_submission(receiver, (struct submission *)mail);
}

enum err dispatcher_submit(struct dispatcher *dispatcher, struct submission *submission)
{
    submission->mail.deliver = on_submission;
    return mailbox_post(dispatcher->mailbox, &submission->mail);
}

/* ---- Entries that end without a call ---- */

static void on_end_stored(enum err result, void *arg)
{
    struct entry *entry = arg;

    if (result != OK) {
        scheduler_return(entry->account->scheduler, &entry->job);
        account_pump_later(entry->account, RETRY_MS);
        return;
    }
    action_state_move(&entry->state, ACTION_FAILED);
    entry_reply_finished(entry, entry->state, NULL, PROBLEM_UPSTREAM_ERROR, 0, NO_TOKEN_DETAIL);
    entry_free(entry);
}

/* Ends a queued entry whose caller waits, because there is no token to send it with. */
static void fail_waiting(struct job *job, void *arg)
{
    struct entry *entry = (struct entry *)job;
    struct dispatcher *dispatcher = entry->account->dispatcher;
    struct store_write *write;

    (void)arg;
    if (!entry->waits) {
        return;
    }
    scheduler_remove(entry->account->scheduler, job);
    write = store_write_new();
    entry_write_end(write, entry, ACTION_FAILED, NULL, NULL, PROBLEM_UPSTREAM_ERROR, 0,
                    NO_TOKEN_DETAIL);
    if (store_submit(dispatcher->store, write, dispatcher->mailbox, on_end_stored, entry) != OK) {
        store_write_free(write);
        on_end_stored(ERR_FULL, entry);
    }
}

/* ---- Tokens ---- */

static void update_has_token(struct dispatcher *dispatcher)
{
    for (size_t i = 0; i < dispatcher->account_count; i++) {
        if (dispatcher->accounts[i].upstream != NULL &&
            upstream_ready(dispatcher->accounts[i].upstream)) {
            dispatcher->has_token = true;
        }
    }
}

static void on_token(enum token_event event, int64_t expires_wall_ms, const char *detail, void *arg)
{
    struct account *account = arg;
    const char *name = event == TOKEN_REFRESHED ? "token.refreshed" : "token.failed";
    struct store_write *write = store_write_new();
    json_t *record = audit_begin(name, NULL);

    audit_add_text(record, "account", account->config->name);
    audit_add_text(record, "detail", detail);
    store_write_add_record(write, audit_end(record));
    metrics_add(METRIC_AUDIT_RECORDS, name, NULL, 1);
    if (store_submit(account->dispatcher->store, write, NULL, NULL, NULL) != OK) {
        store_write_free(write);
        metrics_add(METRIC_AUDIT_FAILURES, NULL, NULL, 1);
    }
    if (event == TOKEN_REFRESHED) {
        log_info("token refreshed", "s:s", "account", account->config->name);
        metrics_set(METRIC_TOKEN_EXPIRY, account->config->name, NULL,
                    (double)expires_wall_ms / 1000);
        update_has_token(account->dispatcher);
        account_pump(account);
        return;
    }
    log_error("no token", "s:s, s:s", "account", account->config->name, "detail",
              detail != NULL ? detail : "");
    if (!upstream_ready(account->upstream)) {
        scheduler_each(account->scheduler, fail_waiting, NULL);
    }
}

/* ---- The thread ---- */

static void update_gauges(struct account *account, int64_t now)
{
    const struct budget *budget = scheduler_budget(account->scheduler);
    const struct dispatcher *dispatcher = account->dispatcher;
    const char *name = account->config->name;
    size_t free_slots = budget_free_slots(budget, now);
    size_t in_flight = budget_in_flight(budget);
    size_t all = (size_t)account->config->budget.requests;

    metrics_set(METRIC_BUDGET_SLOTS, name, "free", (double)free_slots);
    metrics_set(METRIC_BUDGET_SLOTS, name, "in_flight", (double)in_flight);
    metrics_set(METRIC_BUDGET_SLOTS, name, "used",
                all > free_slots + in_flight ? (double)(all - free_slots - in_flight) : 0);
    for (size_t i = 0; i < dispatcher->config->teams.count; i++) {
        const struct team_config *team = config_team(dispatcher->config, i);
        if (&dispatcher->accounts[team->account_index] == account) {
            metrics_set(
                METRIC_QUEUE_DEPTH, team->name, NULL,
                (double)scheduler_team_depth(account->scheduler, dispatcher->team_slots[i]));
        }
    }
}

/* Says once that the store fails, and once that it is well again. */
static void watch_store(struct dispatcher *dispatcher)
{
    bool failed = !store_healthy(dispatcher->store);
    struct error problem;

    if (failed && !dispatcher->store_failed) {
        store_problem(dispatcher->store, &problem);
        log_error("the store cannot be written: nothing is sent until it can", "s:s", "error",
                  problem.text);
    } else if (!failed && dispatcher->store_failed) {
        log_info("the store can be written again", "");
    }
    dispatcher->store_failed = failed;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct dispatcher *dispatcher = arg;
    int64_t now = clock_boot_ms();

    (void)fd;
    (void)what;
    for (size_t i = 0; i < dispatcher->account_count; i++) {
        update_gauges(&dispatcher->accounts[i], now);
    }
    watch_store(dispatcher);
}

static enum err open_account(struct account *account, struct error *error)
{
    const struct account_config *config = account->config;
    struct upstream_options options = {
        .base_url = config->base_url,
        .client_id = config->credentials.client_id,
        .client_secret_file = config->credentials.client_secret_file,
        .token_url = config->credentials.token_url,
        .access_token_file = config->credentials.access_token_file,
        .ca_file = config->ca_file,
        .connect_timeout_ms = config->connect_timeout_s * 1000,
        .timeout_ms = config->timeout_s * 1000,
        .max_answer_bytes = MAX_ANSWER_BYTES,
    };
    struct upstream_callbacks callbacks = {.on_token = on_token, .arg = account};
    enum err err =
        upstream_new(account->dispatcher->base, &options, &callbacks, &account->upstream, error);

    if (err != OK) {
        (void)error_prefix(error, "account %s", config->name);
    }
    metrics_set(METRIC_LEADER, config->name, NULL, 1);
    return err;
}

/* Makes an account's scheduler, and numbers its teams in it. */
static void init_account(struct dispatcher *dispatcher, size_t index)
{
    struct account *account = &dispatcher->accounts[index];
    const struct account_config *config = config_account(dispatcher->config, index);
    CLEANUP(cleanup_free)
    size_t *limits = xcalloc(dispatcher->config->teams.count, sizeof(*limits));
    struct scheduler_options options = {
        .budget = {.requests = (size_t)config->budget.requests,
                   /* Clocks are cut to milliseconds: one more makes up for it. */
                   .window_ms = config->budget.window_s * 1000 + 1,
                   .timeout_ms = config->timeout_s * 1000 + SEND_WITHIN_MS},
        .queue_limits = limits,
    };

    for (size_t i = 0; i < dispatcher->config->teams.count; i++) {
        const struct team_config *team = config_team(dispatcher->config, i);
        if (team->account_index == index) {
            dispatcher->team_slots[i] = options.team_count;
            limits[options.team_count++] = (size_t)team->queue_limit;
        }
    }
    account->dispatcher = dispatcher;
    account->config = config;
    account->scheduler = scheduler_new(&options);
    account->timer = evtimer_new(dispatcher->base, on_timer, account);
}

enum err dispatcher_new(const struct config *config, struct store *store,
                        struct dispatcher **ret_dispatcher, struct error *error)
{
    struct dispatcher *dispatcher = xcalloc(1, sizeof(*dispatcher));
    const struct timeval tick = {.tv_sec = TICK_MS / 1000};
    enum err err;

    dispatcher->config = config;
    dispatcher->store = store;
    dispatcher->base = event_base_new();
    dispatcher->mailbox = mailbox_new(dispatcher->base, MAX_SUBMISSIONS, NULL, dispatcher);
    dispatcher->team_slots = xcalloc(config->teams.count, sizeof(*dispatcher->team_slots));
    dispatcher->accounts = xcalloc(config->accounts.count, sizeof(*dispatcher->accounts));
    dispatcher->account_count = config->accounts.count;
    for (size_t i = 0; i < dispatcher->account_count; i++) {
        init_account(dispatcher, i);
    }
    dispatcher->tick = event_new(dispatcher->base, -1, EV_PERSIST, on_tick, dispatcher);
    (void)event_add(dispatcher->tick, &tick);
    err = dispatcher_restore(dispatcher, error);
    for (size_t i = 0; err == OK && i < dispatcher->account_count; i++) {
        err = open_account(&dispatcher->accounts[i], error);
    }
    if (err != OK) {
        dispatcher_free(dispatcher);
        return err;
    }
    *ret_dispatcher = dispatcher;
    return OK;
}

static void *run(void *arg)
{
    struct dispatcher *dispatcher = arg;

    (void)pthread_setname_np(pthread_self(), "dispatcher");
    for (size_t i = 0; i < dispatcher->account_count; i++) {
        account_pump(&dispatcher->accounts[i]);
    }
    (void)event_base_dispatch(dispatcher->base);
    return NULL;
}

void dispatcher_start(struct dispatcher *dispatcher)
{
    int failed = pthread_create(&dispatcher->thread, NULL, run, dispatcher);

    assert(failed == 0);
    dispatcher->started = true;
}

void dispatcher_drain(struct dispatcher *dispatcher)
{
    dispatcher->draining = true;
}

bool dispatcher_busy(const struct dispatcher *dispatcher)
{
    return dispatcher->calls > 0;
}

bool dispatcher_has_token(const struct dispatcher *dispatcher)
{
    return dispatcher->has_token;
}

static void free_job(struct job *job, void *arg)
{
    scheduler_remove(arg, job);
    entry_free((struct entry *)job);
}

static void free_account(struct account *account)
{
    upstream_free(account->upstream);
    call_free_all(account);
    grants_free(account);
    if (account->scheduler != NULL) {
        scheduler_each(account->scheduler, free_job, account->scheduler);
        scheduler_free(account->scheduler);
    }
    if (account->timer != NULL) {
        event_free(account->timer);
    }
}

static void on_stop(struct mail *mail, void *receiver)
{
    struct dispatcher *dispatcher = receiver;

    (void)mail;
    (void)event_base_loopbreak(dispatcher->base);
}

void dispatcher_stop(struct dispatcher *dispatcher)
{
    dispatcher_drain(dispatcher);
    if (dispatcher->started) {
        dispatcher->stop.deliver = on_stop;
        mailbox_answer(dispatcher->mailbox, &dispatcher->stop);
        (void)pthread_join(dispatcher->thread, NULL);
        dispatcher->started = false;
    }
}

void dispatcher_free(struct dispatcher *dispatcher)
{
    if (dispatcher == NULL) {
        return;
    }
    dispatcher_stop(dispatcher);
    mailbox_free(dispatcher->mailbox);
    for (size_t i = 0; i < dispatcher->account_count; i++) {
        free_account(&dispatcher->accounts[i]);
    }
    event_free(dispatcher->tick);
    event_base_free(dispatcher->base);
    free(dispatcher->accounts);
    free(dispatcher->team_slots);
    free(dispatcher);
}
