/* Dispatcher, the grants that an earlier process left: they go back in the book of the budget by
 * their age, and so do pauses; a call without an outcome is lost: it may have been applied. See
 * restore.h. */
#include "gateway/restore.h"

#include "common/clock.h"
#include "common/json.h"
#include "gateway/metrics.h"

#include <string.h>

/* The longest that any account can have been configured with. */
#define LONGEST_TIMEOUT_MS ((int64_t)3600 * 1000)
#define LONGEST_WINDOW_MS  ((int64_t)24 * 3600 * 1000)

/* The age of a moment that a process stored, by what can be trusted now: never more than it is. */
static int64_t age_ms(const char *boot_id, int64_t boot_ms, int64_t wall_ms, int64_t now_boot_ms,
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

int64_t restore_counted_ms(const struct store_grant *grant, int64_t unanswered_ms,
                           int64_t now_boot_ms, int64_t now_wall_ms, int64_t *ret_taken_ms)
{
    int64_t taken = now_boot_ms - age_ms(grant->boot_id, grant->taken_boot_ms, grant->taken_wall_ms,
                                         now_boot_ms, now_wall_ms);
    int64_t after = grant->answered_boot_ms - grant->taken_boot_ms;
    int64_t counted;

    *ret_taken_ms = taken;
    if (grant->answered_boot_ms < 0) {
        return taken + unanswered_ms;
    }
    /* A call without an answer is stored with the time until which it may be counted, and a pause
     * with its end: that can lie ahead, as far from its taking as it did then. */
    counted = now_boot_ms - age_ms(grant->boot_id, grant->answered_boot_ms, grant->answered_wall_ms,
                                   now_boot_ms, now_wall_ms);
    return counted < taken + after ? taken + after : counted;
}

/* Remembers what the call had of each action. */
static void lose_devices(struct restoring *restoring, const json_t *detail)
{
    json_t *parts = json_object_get(detail, "parts");
    json_t *id;
    size_t i;

    json_array_foreach (json_object_get(detail, "actions"), i, id) {
        const char *name = json_string_value(id);
        json_t *ranges = json_object_get(parts, name);
        json_t *before = json_object_get(restoring->lost, name);
        if (!json_is_array(ranges)) {
            (void)json_object_set_new(restoring->lost, name, json_true());
        } else if (before == NULL) {
            (void)json_object_set(restoring->lost, name, ranges);
        } else if (json_is_array(before)) {
            (void)json_array_extend(before, ranges);
        }
    }
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
    audit_add(record, "detail",
              json_pack("{s:O*, s:b, s:s, s:o}", "actions", actions, "nothing_sent", 0, "text",
                        CRASH_DETAIL, "clock", audit_clock(counted_boot_ms)));
    store_write_answer_grant(restoring->writes[0], grant->call_id, counted_boot_ms,
                             counted_wall_ms);
    store_write_add_record(restoring->writes[0], audit_end(record));
    metrics_add(METRIC_AUDIT_RECORDS, "call.outcome", NULL, 1);
    lose_devices(restoring, detail);
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
            dispatcher->accounts[config_team(dispatcher->config, (size_t)team)->account_index] ==
                account) {
            scheduler_restore_share(account->scheduler, dispatcher->team_slots[team],
                                    json_integer_value(share), free_ms, now_ms);
        }
    }
}

/* Puts it in the account's book: one slot, or as many as it stands for, or a pause (learn.c). */
static void book(struct account *account, const struct store_grant *grant, const json_t *detail,
                 int64_t taken_ms, int64_t counted_ms, int64_t now_ms)
{
    const int64_t unanswered_ms = account->config->timeout_s * 1000 + SEND_WITHIN_MS;
    const json_t *slots = json_object_get(detail, "slots");
    json_int_t count = slots != NULL ? json_integer_value(slots) : 1;

    for (json_int_t i = 0; i < count; i++) {
        if (counted_ms > now_ms) {
            /* To the book, a call that was taken so long ago that its time without an answer ends
             * right then. */
            scheduler_restore_call(account->scheduler, counted_ms - unanswered_ms, -1, now_ms);
        } else {
            scheduler_restore_call(account->scheduler, taken_ms, counted_ms, now_ms);
        }
    }
    if (json_is_true(json_object_get(detail, "pause")) && counted_ms > now_ms) {
        scheduler_pause(account->scheduler, counted_ms);
    }
    restore_shares(account, detail, counted_ms, now_ms);
    grants_remember(account, grant->call_id, counted_ms);
}

/* How long after its taking a call without an answer may be counted: as it was when it was sent. */
static int64_t unanswered_ms(const struct restoring *restoring, const json_t *detail)
{
    const json_t *timeout = json_object_get(detail, "timeout_ms");

    if (timeout != NULL) {
        return json_integer_value(timeout) + SEND_WITHIN_MS;
    }
    return SEND_WITHIN_MS + (restoring->account != NULL
                                 ? restoring->account->config->timeout_s * 1000
                                 : LONGEST_TIMEOUT_MS);
}

/* The account may come back by a reload. */
static void remember_past(const struct restoring *restoring, int64_t counted_ms)
{
    json_t *past = restoring->dispatcher->past;
    const json_t *before = json_object_get(past, restoring->name);

    if (before == NULL || json_integer_value(before) < counted_ms) {
        (void)json_object_set_new(past, restoring->name, json_integer(counted_ms));
    }
}

bool restore_grant(const struct store_grant *grant, void *arg)
{
    struct restoring *restoring = arg;
    int64_t boot = clock_boot_ms();
    int64_t wall = clock_wall_ms();
    int64_t taken;
    int64_t counted;
    CLEANUP(cleanup_json)
    json_t *detail = grant->detail != NULL ? json_loads(grant->detail, 0, NULL) : NULL;

    counted = restore_counted_ms(grant, unanswered_ms(restoring, detail), boot, wall, &taken);
    if (grant->answered_boot_ms < 0) {
        end_call(restoring, grant, detail, counted, wall + counted - boot);
    }
    if (restoring->account == NULL) {
        remember_past(restoring, counted);
    }
    if (restoring->account != NULL) {
        book(restoring->account, grant, detail, taken, counted, boot);
    } else if (boot - counted > LONGEST_WINDOW_MS) {
        /* Younger ones are kept: the account may come back. */
        store_write_drop_grant(restoring_write(restoring), grant->call_id);
    }
    return true;
}
