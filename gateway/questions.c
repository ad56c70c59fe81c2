/* Dispatcher, questions of other threads: where an action stands, whether it can be cancelled, what
 * would become of a request, how the window looks. See dispatcher.h. */
#include "gateway/dispatcher_priv.h"

#include "common/clock.h"
#include "gateway/metrics.h"

#include <stdlib.h>
#include <string.h>

#define MAX_TIMES 100 /* of slots, in an answer */

void question_free(struct question *question)
{
    if (question != NULL) {
        subject_done(&question->subject);
        action_unref(question->action);
        json_decref(question->json);
        settings_unref(question->settings);
        free(question);
    }
}

static void answer(struct question *question, enum err result)
{
    question->result = result;
    question->mail.deliver = question->on_answer;
    mailbox_answer(question->reply_to, &question->mail);
}

static void show(struct dispatcher *dispatcher, struct question *question)
{
    const struct entry *entry = entries_find(dispatcher->entries, question->id);

    if (entry == NULL || entry->job.claims == NULL) {
        answer(question, ERR_NOT_FOUND);
        return;
    }
    question->position = scheduler_position(entry->account->scheduler, &entry->job);
    question->eta_ms = scheduler_eta_ms(entry->account->scheduler, &entry->job, clock_boot_ms());
    answer(question, OK);
}

static void on_cancelled(enum err result, void *arg)
{
    answer(arg, result);
}

static const struct withdrawal cancelled = {"action.cancelled", ACTION_CANCELLED, PROBLEM_CANCELLED,
                                            "The action was cancelled before anything was sent."};

static void cancel(struct dispatcher *dispatcher, struct question *question)
{
    struct entry *entry = entries_find(dispatcher->entries, question->id);
    struct subject before;

    if (entry == NULL) {
        answer(question, ERR_NOT_FOUND);
    } else if (!entry_untouched(entry)) {
        answer(question, ERR_EXISTS);
    } else if (!store_healthy(dispatcher->store)) {
        answer(question, ERR_IO);
    } else {
        /* The record says who cancelled; whose action it was, its acceptance says. */
        before = entry->subject;
        entry->subject = question->subject;
        question->subject = before;
        entry_withdraw(entry, &cancelled, on_cancelled, question);
    }
}

static void preflight(struct dispatcher *dispatcher, struct question *question)
{
    ssize_t team = dispatcher_find_team(dispatcher, question->settings, question->team);
    struct account *account;

    if (team < 0) {
        answer(question, ERR_NOT_FOUND);
        return;
    }
    account = dispatcher->accounts[config_team(dispatcher->config, (size_t)team)->account_index];
    answer(question,
           scheduler_ask(account->scheduler, dispatcher->team_slots[team], question->action, -1,
                         clock_boot_ms(), &question->eta_ms, &question->would_share));
}

/* ---- The window ---- */

/* In how many seconds the slots that are taken come free, soonest first. */
static json_t *free_times(const struct account *account, size_t taken, size_t free_slots,
                          int64_t now)
{
    size_t count = free_slots + (taken < MAX_TIMES ? taken : MAX_TIMES);
    CLEANUP(cleanup_free) int64_t *free_ms = xcalloc(count, sizeof(*free_ms));
    json_t *times = json_array();

    count = budget_slot_times(scheduler_budget(account->scheduler),
                              scheduler_latency_ms(account->scheduler), now, count, free_ms);
    for (size_t i = free_slots; i < count; i++) {
        (void)json_array_append_new(times, json_real((double)(free_ms[i] - now) / 1000));
    }
    return times;
}

static json_t *team_json(const struct account *account, size_t index, int64_t now)
{
    const struct dispatcher *dispatcher = account->dispatcher;
    const struct team_config *team = config_team(dispatcher->config, index);
    size_t slot = dispatcher->team_slots[index];
    double used =
        (double)scheduler_team_used(account->scheduler, slot, now) / (double)SCHEDULER_SHARE;

    return json_pack(
        "{s:s, s:I, s:I, s:I, s:f, s:I, s:I, s:I}", "team", team->name, "weight",
        (json_int_t)team->weight, "reserved", (json_int_t)team->reserved, "max",
        (json_int_t)team->max, "used", (double)(int64_t)(used * 1000 + 0.5) / 1000, "queued",
        (json_int_t)scheduler_team_depth(account->scheduler, slot), "queue_limit",
        (json_int_t)team->queue_limit, "eta_s",
        (json_int_t)((scheduler_team_eta_ms(account->scheduler, slot, now) + 999) / 1000));
}

static json_t *budget_json(const struct dispatcher *dispatcher, size_t index)
{
    struct account *account = dispatcher->accounts[index];
    const struct budget *budget = scheduler_budget(account->scheduler);
    int64_t now = clock_boot_ms();
    size_t requests = (size_t)account->config->budget.requests;
    size_t free_slots = budget_free_slots(budget, now);
    size_t in_flight = budget_in_flight(budget);
    size_t taken = requests > free_slots ? requests - free_slots : 0;
    json_t *teams = json_array();

    for (size_t i = 0; i < dispatcher->config->teams.count; i++) {
        if (config_team(dispatcher->config, i)->account_index == index) {
            (void)json_array_append_new(teams, team_json(account, i, now));
        }
    }
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:o}", "account",
                     account->config->name, "requests", (json_int_t)requests, "window_s",
                     (json_int_t)account->config->budget.window_s, "free", (json_int_t)free_slots,
                     "used", (json_int_t)taken, "in_flight", (json_int_t)in_flight, "free_in_s",
                     free_times(account, taken, free_slots, now), "queued",
                     (json_int_t)scheduler_depth(account->scheduler), "calls_saved",
                     (json_int_t)account->calls_saved, "teams", teams);
}

static void show_budget(struct dispatcher *dispatcher, struct question *question)
{
    ssize_t index = dispatcher_find_account(dispatcher, question->settings, question->account);

    if (index < 0) {
        answer(question, ERR_NOT_FOUND);
    } else {
        question->json = budget_json(dispatcher, (size_t)index);
        answer(question, OK);
    }
}

void on_question(struct mail *mail, void *receiver)
{
    static void (*const handlers[])(struct dispatcher * dispatcher, struct question * question) = {
        [QUESTION_SHOW] = show,
        [QUESTION_CANCEL] = cancel,
        [QUESTION_PREFLIGHT] = preflight,
        [QUESTION_BUDGET] = show_budget,
    };
    struct question *question = (struct question *)mail;

    handlers[question->kind](receiver, question);
}

enum err dispatcher_ask(struct dispatcher *dispatcher, struct question *question)
{
    question->mail.deliver = on_question;
    return mailbox_post(dispatcher->mailbox, &question->mail);
}
