/* Rules: see rules.h. Any thread; never does I/O. */
#include "policy/rules.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What is judged, beside the rule. */
struct question {
    const struct action *action;
    const char *reason;
    int64_t now_ms;
};

static bool check_protections(const struct policy *policy, const struct question *question,
                              struct decision *decision);
static void enforce_rules(const struct policy *policy, const struct question *question,
                          struct decision *decision);
static void report_shadow_rules(const struct policy *policy, const struct question *question,
                                struct decision *decision);
static void drop_violations(struct decision *decision);
static bool matches(const char *pattern, const char *text, bool is_mac);

void policy_decide(const struct policy *policy, const struct action *action, const char *reason,
                   int64_t now_ms, struct decision *ret_decision)
{
    const struct question question = {action, reason, now_ms};

    *ret_decision = (struct decision){0};
    if (check_protections(policy, &question, ret_decision)) {
        enforce_rules(policy, &question, ret_decision);
        report_shadow_rules(policy, &question, ret_decision);
    }
}

json_t *decision_violations(const struct decision *decision)
{
    json_t *list = json_array();

    for (size_t i = 0; i < decision->violation_count; i++) {
        const struct violation *violation = &decision->violations[i];
        (void)json_array_append_new(
            list, json_pack("{s:s, s:s}", "rule", violation->rule, "detail", violation->detail));
    }
    return list;
}

void decision_done(struct decision *decision)
{
    drop_violations(decision);
    free(decision->rule);
    *decision = (struct decision){0};
}

bool pattern_matches(const char *pattern, const char *text)
{
    return matches(pattern, text, false);
}

/* MACs are canonical, patterns of them as people write them. */
static bool same_character(char pattern, char text, bool is_mac)
{
    if (is_mac && pattern == '-') {
        return text == ':';
    }
    return pattern == text || (is_mac && tolower((unsigned char)pattern) == text);
}

/* Only the last star is ever taken back: a longer run for an earlier one could not help. */
static bool matches(const char *pattern, const char *text, bool is_mac)
{
    const char *after_star = NULL;
    const char *run_end = NULL;

    while (*text != '\0') {
        if (*pattern == '*') {
            after_star = ++pattern;
            run_end = text;
        } else if (*pattern != '\0' && same_character(*pattern, *text, is_mac)) {
            pattern++;
            text++;
        } else if (after_star != NULL) {
            pattern = after_star;
            text = ++run_end;
        } else {
            return false;
        }
    }
    while (*pattern == '*') {
        pattern++;
    }
    return *pattern == '\0';
}

static bool list_holds(const struct text_list *list, const char *text)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i], text) == 0) {
            return true;
        }
    }
    return false;
}

/* The items with commas between. The caller frees. */
static char *list_text(const struct text_list *list)
{
    char *text = xstrdup("");

    for (size_t i = 0; i < list->count; i++) {
        char *longer = xasprintf("%s%s%s", text, i > 0 ? ", " : "", list->items[i]);
        free(text);
        text = longer;
    }
    return text;
}

static void add_violation_take(struct decision *decision, char *rule, char *detail)
{
    if (decision->violation_count == RULES_MAX_VIOLATIONS) {
        free(rule);
        free(detail);
        return;
    }
    decision->violations[decision->violation_count++] =
        (struct violation){.rule = rule, .detail = detail};
}

static void drop_violations(struct decision *decision)
{
    for (size_t i = 0; i < decision->violation_count; i++) {
        free(decision->violations[i].rule);
        free(decision->violations[i].detail);
    }
    decision->violation_count = 0;
}

/* ---- Protected devices ---- */

static bool is_protected(const struct protection *protection, enum device_kind kind,
                         const char *device)
{
    const struct text_list *patterns = kind == DEVICE_MAC ? &protection->macs : &protection->ids;

    for (size_t i = 0; i < patterns->count; i++) {
        if (matches(patterns->items[i], device, kind == DEVICE_MAC)) {
            return true;
        }
    }
    return false;
}

/* False, with one violation for each row that refuses, if any of them does. */
static bool check_protections(const struct policy *policy, const struct question *question,
                              struct decision *decision)
{
    const struct action *action = question->action;

    for (size_t row = 0; row < policy->protection_count; row++) {
        const struct protection *protection = &policy->protections[row];
        const char *first = NULL;
        size_t count = 0;
        if (protection->actions.count > 0 &&
            !list_holds(&protection->actions, action->type->name)) {
            continue;
        }
        for (size_t i = 0; i < action->device_count; i++) {
            if (is_protected(protection, action->kind, action->devices[i].canonical)) {
                first = count++ == 0 ? action->devices[i].asked : first;
            }
        }
        if (count > 0) {
            add_violation_take(decision, xasprintf("protected_devices/%zu", row),
                               xasprintf("%s is refused for %zu protected device%s: %s%s",
                                         action->type->name, count, count > 1 ? "s" : "", first,
                                         count > 1 ? " and others" : ""));
        }
    }
    return decision->violation_count == 0;
}

/* ---- Constraints: each returns what is not allowed and what is, or NULL where it holds ---- */

static char *break_max_devices(const struct rule *rule, const struct question *question)
{
    if (rule->max_devices == 0 || question->action->device_count <= (size_t)rule->max_devices) {
        return NULL;
    }
    return xasprintf("at most %" PRId64 " devices are allowed, %zu were asked", rule->max_devices,
                     question->action->device_count);
}

static char *break_max_exempt_hours(const struct rule *rule, const struct question *question)
{
    int64_t hours = action_param_integer(question->action, "exempt_time", 0);
    CLEANUP(cleanup_free) char *asked = NULL;

    if (rule->max_exempt_hours < 0 || (hours != 0 && hours <= rule->max_exempt_hours)) {
        return NULL;
    }
    asked = hours == 0 ? xstrdup("for ever (exempt_time 0 or none)") : xasprintf("%" PRId64, hours);
    return xasprintf("at most %" PRId64 " hours are allowed, asked was %s", rule->max_exempt_hours,
                     asked);
}

static char *break_groups(const struct rule *rule, const struct question *question)
{
    const char *group = action_param_string(question->action, "group_id");
    CLEANUP(cleanup_free) char *allowed = NULL;

    if (rule->groups.count == 0 || (group != NULL && list_holds(&rule->groups, group))) {
        return NULL;
    }
    allowed = list_text(&rule->groups);
    return xasprintf("allowed are %s; asked was %s", allowed, group != NULL ? group : "none");
}

static char *break_require_reason(const struct rule *rule, const struct question *question)
{
    const char *reason = question->reason != NULL ? question->reason : "";

    while (isspace((unsigned char)*reason)) {
        reason++;
    }
    return rule->require_reason && *reason == '\0'
               ? xstrdup("a reason is required (Action-Reason), none was given")
               : NULL;
}

static const char days[7][4] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

/* The configuration lets only HH:MM through. */
static int minute_of(const char *text)
{
    assert(strlen(text) == 5 && text[2] == ':');
    return (text[0] - '0') * 600 + (text[1] - '0') * 60 + (text[3] - '0') * 10 + (text[4] - '0');
}

static bool day_is_listed(const struct rule_hours *hours, int day)
{
    return hours->days.count == 0 || list_holds(&hours->days, days[day]);
}

static bool hours_hold(const struct rule_hours *hours, int day, int minute)
{
    int from = hours->from != NULL ? minute_of(hours->from) : 0;
    int to = hours->to != NULL ? minute_of(hours->to) : 24 * 60;

    if (from <= to) {
        return minute >= from && minute < to && day_is_listed(hours, day);
    }
    /* Past midnight: what is left of the range belongs to the day on which it began. */
    return (minute >= from && day_is_listed(hours, day)) ||
           (minute < to && day_is_listed(hours, (day + 6) % 7));
}

static char *break_hours(const struct rule *rule, const struct question *question)
{
    const struct rule_hours *hours = &rule->hours;
    time_t now_s = question->now_ms / 1000;
    CLEANUP(cleanup_free) char *on = NULL;
    struct tm now = {0};
    bool known = gmtime_r(&now_s, &now) != NULL;

    if (!rule->has_hours ||
        (known && hours_hold(hours, now.tm_wday, now.tm_hour * 60 + now.tm_min))) {
        return NULL;
    }
    on = hours->days.count > 0 ? list_text(&hours->days) : xstrdup("every day");
    return xasprintf("allowed %s from %s to %s UTC, now it is %s %02d:%02d", on,
                     hours->from != NULL ? hours->from : "00:00",
                     hours->to != NULL ? hours->to : "24:00", days[now.tm_wday], now.tm_hour,
                     now.tm_min);
}

static const struct {
    const char *name;
    const char *action; /* the only one it is about; NULL: all */
    char *(*breaks)(const struct rule *rule, const struct question *question);
} constraints[] = {
    {"max_devices", NULL, break_max_devices},
    {"max_exempt_hours", "exempt", break_max_exempt_hours},
    {"groups", "assign_to_group", break_groups},
    {"require_reason", NULL, break_require_reason},
    {"hours", NULL, break_hours},
};

/* ---- Rules ---- */

static char *rule_name(const struct policy *policy, size_t index)
{
    return xasprintf("%s/%zu%s", policy->team, index,
                     policy->rules[index].shadow ? " (shadow)" : "");
}

/* Whether all constraints hold; adds a violation for each that does not. */
static bool try_rule(const struct policy *policy, size_t index, const struct question *question,
                     struct decision *decision)
{
    bool holds = true;

    for (size_t i = 0; i < ARRAY_LEN(constraints); i++) {
        CLEANUP(cleanup_free) char *detail = NULL;
        if (constraints[i].action != NULL &&
            strcmp(constraints[i].action, question->action->type->name) != 0) {
            continue;
        }
        detail = constraints[i].breaks(&policy->rules[index], question);
        if (detail != NULL) {
            add_violation_take(decision, rule_name(policy, index),
                               xasprintf("%s: %s", constraints[i].name, detail));
            holds = false;
        }
    }
    return holds;
}

static bool rule_names(const struct rule *rule, const struct question *question)
{
    return list_holds(&rule->actions, question->action->type->name);
}

static void enforce_rules(const struct policy *policy, const struct question *question,
                          struct decision *decision)
{
    bool named = false;

    for (size_t i = 0; i < policy->rule_count; i++) {
        const struct rule *rule = &policy->rules[i];
        if (rule->shadow || !rule_names(rule, question)) {
            continue;
        }
        named = true;
        if (try_rule(policy, i, question, decision)) {
            drop_violations(decision); /* of rules that came before */
            decision->allowed = true;
            decision->rule = rule_name(policy, i);
            decision->approvers = rule->approvers.count > 0 ? &rule->approvers : NULL;
            return;
        }
    }
    if (!named) {
        add_violation_take(decision, xstrdup(policy->team),
                           xasprintf("no rule allows %s", question->action->type->name));
    }
}

static void report_shadow_rules(const struct policy *policy, const struct question *question,
                                struct decision *decision)
{
    for (size_t i = 0; i < policy->rule_count; i++) {
        if (policy->rules[i].shadow && rule_names(&policy->rules[i], question)) {
            (void)try_rule(policy, i, question, decision);
        }
    }
}
