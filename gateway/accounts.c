/* Dispatcher, accounts and their teams as a configuration has them. A team has a number in its
 * account's scheduler, which it keeps through all configurations; one that is no more leaves its
 * number to another once nothing of it is left. See dispatcher_priv.h. */
#include "gateway/dispatcher_priv.h"

#include "common/clock.h"
#include "common/json.h"
#include "gateway/metrics.h"

#include <stdlib.h>
#include <string.h>

static const struct withdrawal no_account = {"action.finished", ACTION_FAILED, PROBLEM_UNAVAILABLE,
                                             NO_ACCOUNT};
static const struct withdrawal no_team = {"action.finished", ACTION_FAILED, PROBLEM_UNAVAILABLE,
                                          NO_TEAM};

/* ---- Life ---- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    account_pump(arg);
}

struct account *account_new(struct dispatcher *dispatcher)
{
    struct account *account = xcalloc(1, sizeof(*account));

    account->dispatcher = dispatcher;
    account->timer = evtimer_new(dispatcher->base, on_timer, account);
    account->pause_ms = INT64_MIN;
    TAILQ_INIT(&account->entries);
    return account;
}

void account_free(struct account *account)
{
    struct connector *connector;
    struct entry *entry;

    call_free_all(account);
    connector_free(account->connector);
    while ((connector = account->old_connectors) != NULL) {
        account->old_connectors = connector->next;
        connector_free(connector);
    }
    grants_free(account);
    while ((entry = TAILQ_FIRST(&account->entries)) != NULL) {
        if (entry->job.claims != NULL) {
            scheduler_end(account->scheduler, &entry->job, clock_boot_ms());
        }
        entries_remove(account->dispatcher->entries, entry);
        entry_free(entry);
    }
    scheduler_free(account->scheduler);
    event_free(account->timer);
    for (size_t i = 0; i < account->team_count; i++) {
        free(account->teams[i]);
    }
    free(account->teams);
    gauge_unref(account->gauge);
    settings_unref(account->settings);
    free(account);
}

/* ---- Teams ---- */

static void drop_team(struct account *account, size_t number)
{
    metrics_set(METRIC_QUEUE_DEPTH, account->teams[number], NULL, 0);
    free(account->teams[number]);
    account->teams[number] = NULL;
}

/* Which numbers are nobody's, and free to be given away. */
static bool *find_free_numbers(const struct account *account)
{
    bool *is_free = xcalloc(account->team_count, sizeof(*is_free));
    const struct entry *entry;

    for (size_t i = 0; i < account->team_count; i++) {
        is_free[i] = account->teams[i] == NULL &&
                     scheduler_team_idle(account->scheduler, i, clock_boot_ms());
    }
    TAILQ_FOREACH(entry, &account->entries, link)
    {
        is_free[entry->job.team] = false;
    }
    return is_free;
}

static size_t add_number(struct account *account)
{
    account->teams = xrealloc(account->teams, account->team_count + 1, sizeof(*account->teams));
    account->teams[account->team_count] = NULL;
    return account->team_count++;
}

static json_t *numbers_by_name(const struct account *account)
{
    json_t *numbers = json_object();

    for (size_t i = 0; i < account->team_count; i++) {
        if (account->teams[i] != NULL) {
            (void)json_object_set_new(numbers, account->teams[i], json_integer((json_int_t)i));
        }
    }
    return numbers;
}

/* Gives each team of the account a number: the one it has, one that is free, or a new one. */
static void number_teams(struct account *account, const struct config *config, size_t index,
                         size_t *slots)
{
    CLEANUP(cleanup_json) json_t *numbers = numbers_by_name(account);
    CLEANUP(cleanup_free) bool *is_free = find_free_numbers(account);
    size_t before = account->team_count;
    size_t next = 0;

    for (size_t i = 0; i < config->teams.count; i++) {
        const struct team_config *team = config_team(config, i);
        const json_t *number = json_object_get(numbers, team->name);
        if (team->account_index != index) {
            continue;
        }
        if (number != NULL) {
            slots[i] = (size_t)json_integer_value(number);
            (void)json_object_del(numbers, team->name);
            continue;
        }
        while (next < before && !is_free[next]) {
            next++;
        }
        slots[i] = next < before ? next++ : add_number(account);
        account->teams[slots[i]] = xstrdup(team->name);
    }
    const char *name;
    json_t *number;
    json_object_foreach (numbers, name, number) {
        drop_team(account, (size_t)json_integer_value(number));
    }
}

/* ---- Configuring ---- */

static void set_scheduler(struct account *account, const struct scheduler_options *options)
{
    if (account->scheduler == NULL) {
        account->scheduler = scheduler_new(options);
    } else {
        account->pause_ms = scheduler_configure(account->scheduler, options, clock_boot_ms());
    }
}

static void configure_scheduler(struct account *account, size_t index, const size_t *slots)
{
    const struct account_config *config = account->config;
    CLEANUP(cleanup_free)
    struct scheduler_team *teams = xcalloc(account->team_count, sizeof(*teams));
    struct scheduler_options options = {
        .budget = {.requests = (size_t)config->budget.requests,
                   /* Clocks are cut to milliseconds: one more makes up for it. */
                   .window_ms = config->budget.window_s * 1000 + 1,
                   .timeout_ms = config->timeout_s * 1000 + SEND_WITHIN_MS},
        .max_devices = (size_t)config->max_devices_per_call,
        .linger_ms = config->batch_linger_ms,
        .team_count = account->team_count,
        .teams = teams,
    };

    for (size_t i = 0; i < account->team_count; i++) {
        teams[i] = scheduler_no_team;
    }
    for (size_t i = 0; i < account->settings->config->teams.count; i++) {
        const struct team_config *team = config_team(account->settings->config, i);
        if (team->account_index == index) {
            teams[slots[i]] = (struct scheduler_team){.weight = team->weight,
                                                      .reserved = team->reserved,
                                                      .max = team->max,
                                                      .queue_limit = (size_t)team->queue_limit};
        }
    }
    set_scheduler(account, &options);
}

void account_configure(struct account *account, const struct settings *settings, size_t index,
                       size_t *slots)
{
    const struct settings *before = account->settings;
    const struct account_config *config = config_account(settings->config, index);

    if (before != NULL) {
        int64_t longer_s = config->budget.window_s - account->config->budget.window_s;
        grants_shift(account, longer_s * 1000);
    }
    account->settings = settings_ref(settings);
    account->config = config;
    gauge_unref(account->gauge);
    account->gauge = gauge_ref(settings->gauges[index]);
    account->retired = false;
    number_teams(account, settings->config, index, slots);
    configure_scheduler(account, index, slots);
    settings_unref(before);
    account_publish(account);
    metrics_set(METRIC_LEADER, config->name, NULL, 1);
}

void account_retire(struct account *account)
{
    const char *name = account->config->name;

    account->retired = true;
    for (size_t i = 0; i < account->team_count; i++) {
        if (account->teams[i] != NULL) {
            drop_team(account, i);
        }
    }
    metrics_set(METRIC_LEADER, name, NULL, 0);
    metrics_set(METRIC_BUDGET_SLOTS, name, "free", 0);
    metrics_set(METRIC_BUDGET_SLOTS, name, "in_flight", 0);
    metrics_set(METRIC_BUDGET_SLOTS, name, "used", 0);
    account->next_retired = account->dispatcher->retired;
    account->dispatcher->retired = account;
}

/* Nothing waits, is under way or holds a slot. */
static bool is_over(struct account *account, int64_t now_ms)
{
    const struct budget *budget = scheduler_budget(account->scheduler);
    bool over = account->calls == NULL && TAILQ_EMPTY(&account->entries) &&
                budget_free_slots(budget, now_ms) == (size_t)account->config->budget.requests;

    for (size_t i = 0; over && i < account->team_count; i++) {
        over = scheduler_team_idle(account->scheduler, i, now_ms);
    }
    return over;
}

void accounts_forget_retired(struct dispatcher *dispatcher)
{
    struct account **link = &dispatcher->retired;
    int64_t now = clock_boot_ms();

    while (*link != NULL) {
        struct account *account = *link;
        if (!is_over(account, now)) {
            link = &account->next_retired;
            continue;
        }
        (void)json_object_set_new(dispatcher->past, account->config->name,
                                  json_integer(now - account->config->budget.window_s * 1000));
        *link = account->next_retired;
        account_free(account);
    }
}

void account_recall(struct account *account)
{
    json_t *past = account->dispatcher->past;
    const json_t *counted_ms = json_object_get(past, account->config->name);

    if (counted_ms != NULL) {
        account->pause_ms =
            json_integer_value(counted_ms) + account->config->budget.window_s * 1000 + 1;
        scheduler_pause(account->scheduler, account->pause_ms);
        (void)json_object_del(past, account->config->name);
    }
}

/* ---- Orphans ---- */

bool entry_is_orphan(const struct entry *entry)
{
    return entry->account->teams[entry->job.team] == NULL;
}

void entry_end_orphan(struct entry *entry)
{
    if (entry_can_withdraw(entry)) {
        entry_withdraw(entry, entry->account->retired ? &no_account : &no_team, NULL, NULL);
    }
}

void entries_end_orphans(struct account *account)
{
    struct entry *next;

    for (struct entry *entry = TAILQ_FIRST(&account->entries); entry != NULL; entry = next) {
        next = TAILQ_NEXT(entry, link);
        if (entry_is_orphan(entry)) {
            entry_end_orphan(entry);
        }
    }
}

/* ---- Other settings than those in force ---- */

ssize_t dispatcher_find_account(const struct dispatcher *dispatcher,
                                const struct settings *settings, size_t account)
{
    return settings == dispatcher->settings
               ? (ssize_t)account
               : config_find_account(dispatcher->config,
                                     config_account(settings->config, account)->name);
}

ssize_t dispatcher_find_team(const struct dispatcher *dispatcher, const struct settings *settings,
                             size_t team)
{
    const struct team_config *asked = config_team(settings->config, team);
    ssize_t found = (ssize_t)team;

    if (settings != dispatcher->settings) {
        found = config_find_team(dispatcher->config, asked->name);
        if (found >= 0 &&
            strcmp(config_team(dispatcher->config, (size_t)found)->account, asked->account) != 0) {
            found = -1;
        }
    }
    return found;
}
