/* Dispatcher: the thread and its accounts. See dispatcher.h. */
#include "gateway/dispatcher_priv.h"

#include "common/clock.h"
#include "common/log.h"
#include "gateway/metrics.h"

#include <assert.h>
#include <stdlib.h>

#define MAX_MAIL 65536 /* submissions and questions not yet looked at */
#define TICK_MS  1000

#define BREAKER_FAILURES 5    /* in a row open the breaker */
#define PROBE_MS         5000 /* while it is open */

static const struct withdrawal no_token = {
    "action.finished", ACTION_FAILED, PROBLEM_UPSTREAM_ERROR,
    "Nothing was sent: the gateway could not get a token from the upstream."};
static const struct withdrawal no_upstream = {"action.finished", ACTION_FAILED,
                                              PROBLEM_UPSTREAM_ERROR,
                                              "Nothing was sent: the upstream cannot be reached."};

/* ---- Queue and calls ---- */

void account_pump_later(struct account *account, int64_t delay_ms)
{
    struct timeval delay = {.tv_sec = delay_ms / 1000, .tv_usec = (delay_ms % 1000) * 1000};

    (void)evtimer_add(account->timer, &delay);
}

void account_publish(struct account *account)
{
    const struct budget *budget = scheduler_budget(account->scheduler);
    int64_t now = clock_boot_ms();

    gauge_set(account->gauge, (int64_t)budget_free_slots(budget, now),
              budget_next_free_ms(budget, now));
}

void account_pump(struct account *account)
{
    int64_t now = clock_boot_ms();
    struct batch *batch;
    int64_t wake;

    if (account->dispatcher->draining || account->dispatcher->change != NULL || account->open ||
        !upstream_ready(account->connector->upstream)) {
        return; /* on_token, the breaker and dispatcher_resume() come back here */
    }
    if (!store_healthy(account->dispatcher->store)) {
        account_pump_later(account, RETRY_MS);
        return;
    }
    while ((batch = scheduler_next(account->scheduler, now)) != NULL) {
        if (!call_begin(account, batch)) {
            account_pump_later(account, RETRY_MS);
            return;
        }
    }
    account_publish(account);
    wake = scheduler_wake_ms(account->scheduler, now);
    if (wake >= 0) {
        account_pump_later(account, wake > now ? wake - now : 1);
    }
}

/* ---- The breaker ---- */

/* Nothing of a call could be sent. */
void breaker_failed(struct account *account)
{
    if (++account->failures < BREAKER_FAILURES || account->open) {
        return;
    }
    account->open = true;
    account->probe_ms = clock_boot_ms() + PROBE_MS;
    log_error("the upstream cannot be reached: calls are held back", "s:s", "account",
              account->config->name);
    entries_fail_waiting(account, &no_upstream);
}

void breaker_succeeded(struct account *account)
{
    account->failures = 0;
    if (account->open) {
        account->open = false;
        log_info("the upstream can be reached again", "s:s", "account", account->config->name);
        account_pump(account);
    }
}

/* Asks the token endpoint whether the upstream is there; never with an action. An account whose
 * token comes from a file has no such endpoint: there one call is let through. */
static void probe(struct account *account, int64_t now)
{
    if (!account->open || now < account->probe_ms) {
        return;
    }
    account->probe_ms = now + PROBE_MS;
    if (!upstream_probe(account->connector->upstream)) {
        account->failures = BREAKER_FAILURES - 1;
        account->open = false;
        account_pump(account);
    }
}

/* ---- Tokens ---- */

static void record_token(struct account *account, const char *event, const char *detail)
{
    struct store_write *write = store_write_new();
    json_t *record = audit_begin(event, NULL);

    audit_add_text(record, "account", account->config->name);
    audit_add(record, "detail", json_pack("{s:s*}", "text", detail));
    store_write_add_record(write, audit_end(record));
    metrics_add(METRIC_AUDIT_RECORDS, event, NULL, 1);
    if (store_submit(account->dispatcher->store, write, NULL, NULL, NULL) != OK) {
        store_write_free(write);
        metrics_add(METRIC_AUDIT_FAILURES, NULL, NULL, 1);
    }
}

/* Whoever waits for an account that has no token, and could not get one, hears it now. */
static void watch_tokens(struct dispatcher *dispatcher)
{
    bool some = false;

    for (size_t i = 0; i < dispatcher->account_count; i++) {
        struct account *account = dispatcher->accounts[i];
        bool ready = account->connector != NULL && upstream_ready(account->connector->upstream);
        some = some || ready;
        if (!ready && account->token_failed) {
            entries_fail_waiting(account, &no_token);
        } else if (account->open) {
            entries_fail_waiting(account, &no_upstream);
        }
    }
    dispatcher->has_token = some;
}

void account_on_token(struct account *account, enum token_event event, int64_t expires_wall_ms,
                      const char *detail)
{
    if (event == TOKEN_FAILED) {
        record_token(account, "token.failed", detail);
        log_error("no token", "s:s, s:s", "account", account->config->name, "detail",
                  detail != NULL ? detail : "");
        account->token_failed = true;
        watch_tokens(account->dispatcher);
        return;
    }
    account->token_failed = false;
    record_token(account, "token.refreshed", detail);
    log_info("token refreshed", "s:s", "account", account->config->name);
    metrics_set(METRIC_TOKEN_EXPIRY, account->config->name, NULL, (double)expires_wall_ms / 1000);
    watch_tokens(account->dispatcher);
    breaker_succeeded(account);
    account_pump(account);
}

/* ---- The tick ---- */

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
        if (dispatcher->accounts[team->account_index] == account) {
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
        struct account *account = dispatcher->accounts[i];
        update_gauges(account, now);
        account_publish(account);
        if (!dispatcher->draining) {
            entries_expire(account, clock_wall_ms());
            probe(account, now);
        }
    }
    watch_store(dispatcher);
    watch_tokens(dispatcher);
    accounts_forget_retired(dispatcher);
}

/* ---- Life ---- */

static enum err open_accounts(struct dispatcher *dispatcher, struct error *error)
{
    enum err err = OK;

    for (size_t i = 0; err == OK && i < dispatcher->account_count; i++) {
        struct account *account = dispatcher->accounts[i];
        struct connector *connector = NULL;
        err = connector_open(dispatcher, account->config, &connector, error);
        if (err == OK) {
            connector_use(account, connector);
        } else {
            (void)error_prefix(error, "account %s", account->config->name);
        }
    }
    return err;
}

enum err dispatcher_new(const struct settings *settings, struct store *store,
                        struct dispatcher **ret_dispatcher, struct error *error)
{
    struct dispatcher *dispatcher = xcalloc(1, sizeof(*dispatcher));
    const struct config *config = settings->config;
    const struct timeval tick = {.tv_sec = TICK_MS / 1000};
    enum err err;

    dispatcher->settings = settings_ref(settings);
    dispatcher->config = config;
    dispatcher->store = store;
    dispatcher->base = event_base_new();
    dispatcher->mailbox = mailbox_new(dispatcher->base, MAX_MAIL, NULL, dispatcher);
    dispatcher->entries = entries_new();
    dispatcher->past = json_object();
    dispatcher->team_slots = xcalloc(config->teams.count, sizeof(*dispatcher->team_slots));
    dispatcher->accounts = xcalloc(config->accounts.count, sizeof(struct account *));
    dispatcher->account_count = config->accounts.count;
    for (size_t i = 0; i < dispatcher->account_count; i++) {
        dispatcher->accounts[i] = account_new(dispatcher);
        account_configure(dispatcher->accounts[i], settings, i, dispatcher->team_slots);
    }
    dispatcher->tick = event_new(dispatcher->base, -1, EV_PERSIST, on_tick, dispatcher);
    (void)event_add(dispatcher->tick, &tick);
    err = dispatcher_restore(dispatcher, error);
    if (err == OK) {
        err = open_accounts(dispatcher, error);
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
        entries_expire(dispatcher->accounts[i], clock_wall_ms());
        account_pump(dispatcher->accounts[i]);
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

struct mailbox *dispatcher_mailbox(const struct dispatcher *dispatcher)
{
    return dispatcher->mailbox;
}

bool dispatcher_busy(const struct dispatcher *dispatcher)
{
    return dispatcher->calls > 0;
}

bool dispatcher_has_token(const struct dispatcher *dispatcher)
{
    return dispatcher->has_token;
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

bool dispatcher_flush(struct dispatcher *dispatcher)
{
    return mailbox_flush(dispatcher->mailbox);
}

void dispatcher_free(struct dispatcher *dispatcher)
{
    struct account *account;

    if (dispatcher == NULL) {
        return;
    }
    dispatcher_stop(dispatcher);
    mailbox_free(dispatcher->mailbox);
    for (size_t i = 0; i < dispatcher->account_count; i++) {
        account_free(dispatcher->accounts[i]);
    }
    while ((account = dispatcher->retired) != NULL) {
        dispatcher->retired = account->next_retired;
        account_free(account);
    }
    entries_free(dispatcher->entries);
    event_free(dispatcher->tick);
    if (dispatcher->change_retry != NULL) {
        event_free(dispatcher->change_retry);
    }
    event_base_free(dispatcher->base);
    free(dispatcher->accounts);
    free(dispatcher->team_slots);
    json_decref(dispatcher->past);
    settings_unref(dispatcher->settings);
    free(dispatcher);
}
