/* Dispatcher, another configuration while it runs: see dispatcher_configure(). First everything is
 * made that can fail, then everything is changed. */
#include "gateway/dispatcher_priv.h"

#include "common/clock.h"
#include "common/crypto.h"
#include "common/json.h"
#include "gateway/metrics.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void store_record(struct dispatcher *dispatcher);

static void answer(struct reconfiguration *change, enum err result)
{
    change->result = result;
    change->mail.deliver = change->on_done;
    mailbox_answer(change->reply_to, &change->mail);
}

/* ---- Taking it ---- */

/* The account of that name, retired ones too, or NULL. */
static struct account *find_account(const struct dispatcher *dispatcher, const char *name)
{
    ssize_t index = config_find_account(dispatcher->config, name);
    struct account *account = dispatcher->retired;

    if (index >= 0) {
        return dispatcher->accounts[index];
    }
    while (account != NULL && strcmp(account->config->name, name) != 0) {
        account = account->next_retired;
    }
    return account;
}

/* Opens a connector for each account that needs another one; NULL for the others. */
static enum err open_connectors(struct dispatcher *dispatcher, const struct config *config,
                                struct connector **connectors, struct problems *problems)
{
    for (size_t i = 0; i < config->accounts.count; i++) {
        const struct account_config *wanted = config_account(config, i);
        const struct account *account = find_account(dispatcher, wanted->name);
        struct error error;
        if ((account == NULL || connector_differs(account->config, wanted)) &&
            connector_open(dispatcher, wanted, &connectors[i], &error) != OK) {
            CLEANUP(cleanup_free) char *at = json_pointer_append("/accounts", wanted->name);
            problems_add(problems, at, "%s", error.text);
        }
    }
    for (size_t i = 0; problems->count > 0 && i < config->accounts.count; i++) {
        connector_free(connectors[i]);
    }
    return problems->count > 0 ? ERR_INVALID : OK;
}

static void unretire(struct account *account)
{
    struct account **link = &account->dispatcher->retired;

    while (*link != account) {
        link = &(*link)->next_retired;
    }
    *link = account->next_retired;
}

static struct account *take_account(struct dispatcher *dispatcher, const struct settings *settings,
                                    size_t index, size_t *slots)
{
    struct account *account =
        find_account(dispatcher, config_account(settings->config, index)->name);
    bool is_new = account == NULL;

    if (is_new) {
        account = account_new(dispatcher);
    } else if (account->retired) {
        unretire(account);
    }
    account_configure(account, settings, index, slots);
    if (is_new) {
        account_recall(account);
    }
    return account;
}

static void retire_others(struct dispatcher *dispatcher, const struct config *config)
{
    for (size_t i = 0; i < dispatcher->account_count; i++) {
        struct account *account = dispatcher->accounts[i];
        if (config_find_account(config, account->config->name) < 0) {
            account_retire(account);
        }
    }
}

static void apply(struct dispatcher *dispatcher, const struct settings *settings,
                  struct connector **connectors)
{
    const struct config *config = settings->config;
    const struct settings *before = dispatcher->settings;
    struct account **accounts = xcalloc(config->accounts.count, sizeof(struct account *));
    size_t *slots = xcalloc(config->teams.count, sizeof(*slots));

    retire_others(dispatcher, config);
    for (size_t i = 0; i < config->accounts.count; i++) {
        accounts[i] = take_account(dispatcher, settings, i, slots);
        if (connectors[i] != NULL) {
            connector_use(accounts[i], connectors[i]);
        }
    }
    free(dispatcher->accounts);
    free(dispatcher->team_slots);
    dispatcher->accounts = accounts;
    dispatcher->account_count = config->accounts.count;
    dispatcher->team_slots = slots;
    dispatcher->settings = settings_ref(settings);
    dispatcher->config = config;
    settings_unref(before);
    for (size_t i = 0; i < dispatcher->account_count; i++) {
        entries_end_orphans(accounts[i]);
    }
    for (struct account *one = dispatcher->retired; one != NULL; one = one->next_retired) {
        entries_end_orphans(one);
    }
}

static void on_configure(struct mail *mail, void *receiver)
{
    struct reconfiguration *change = (struct reconfiguration *)mail;
    struct dispatcher *dispatcher = receiver;
    const struct config *config = change->settings->config;
    CLEANUP(cleanup_free)
    struct connector **connectors = xcalloc(config->accounts.count, sizeof(struct connector *));
    enum err err = open_connectors(dispatcher, config, connectors, &change->problems);

    if (err == OK) {
        apply(dispatcher, change->settings, connectors);
        dispatcher->change = change;
    }
    answer(change, err);
}

void dispatcher_configure(struct dispatcher *dispatcher, struct reconfiguration *change)
{
    change->mail.deliver = on_configure;
    mailbox_answer(dispatcher->mailbox, &change->mail);
}

/* ---- Its record ---- */

/* A pause for calls that are in the book no more is stored like one that the upstream asked for
 * (learn.c), so that a restart heeds it. */
static void add_pause(struct account *account, struct store_write *write)
{
    int64_t now = clock_boot_ms();
    int64_t wall_ahead_ms = clock_wall_ms() - now;
    struct store_grant grant = {
        .call_id = account->pause_id,
        .account = account->config->name,
        .boot_id = clock_boot_id(),
        .taken_boot_ms = now,
        .taken_wall_ms = now + wall_ahead_ms,
        .answered_boot_ms = account->pause_ms,
        .answered_wall_ms = account->pause_ms + wall_ahead_ms,
        .detail = "{\"slots\":0,\"pause\":true}",
    };

    account->pause_id[0] = '\0';
    if (account->pause_ms > now) {
        (void)snprintf(account->pause_id, sizeof(account->pause_id), "pause_");
        crypto_random_text(account->pause_id + strlen(account->pause_id), 20);
        store_write_add_grant(write, &grant);
    }
}

static void release(struct account *account)
{
    if (account->pause_id[0] != '\0') {
        grants_remember(account, account->pause_id, account->pause_ms);
    }
    account->pause_ms = INT64_MIN;
    account->pause_id[0] = '\0';
    account_pump(account);
}

static void on_stored(enum err result, void *arg)
{
    static const struct timeval delay = {.tv_usec = RETRY_MS * 1000};
    struct dispatcher *dispatcher = arg;
    struct reconfiguration *change = dispatcher->change;

    if (result != OK) {
        metrics_add(METRIC_AUDIT_FAILURES, NULL, NULL, 1);
        (void)evtimer_add(dispatcher->change_retry, &delay);
        return;
    }
    free(change->record);
    change->record = NULL;
    dispatcher->change = NULL;
    for (size_t i = 0; i < dispatcher->account_count; i++) {
        release(dispatcher->accounts[i]);
    }
    answer(change, OK);
}

static void store_record(struct dispatcher *dispatcher)
{
    struct store_write *write = store_write_new();

    for (size_t i = 0; i < dispatcher->account_count; i++) {
        add_pause(dispatcher->accounts[i], write);
    }
    store_write_add_record(write, xstrdup(dispatcher->change->record));
    if (store_submit(dispatcher->store, write, dispatcher->mailbox, on_stored, dispatcher) != OK) {
        store_write_free(write);
        on_stored(ERR_FULL, dispatcher);
    }
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    store_record(arg);
}

static void on_resume(struct mail *mail, void *receiver)
{
    struct dispatcher *dispatcher = receiver;

    assert(dispatcher->change == (struct reconfiguration *)mail);
    if (dispatcher->change_retry == NULL) {
        dispatcher->change_retry = evtimer_new(dispatcher->base, on_retry, dispatcher);
    }
    store_record(dispatcher);
}

void dispatcher_resume(struct dispatcher *dispatcher, struct reconfiguration *change)
{
    change->mail.deliver = on_resume;
    mailbox_answer(dispatcher->mailbox, &change->mail);
}
