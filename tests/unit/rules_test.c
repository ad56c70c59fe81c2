/* Rules: every constraint at its edge, the order of rules, shadows, protected devices. */
#include "policy/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define LIST(...)                                                                                  \
    {                                                                                              \
        .items = (char *[]){__VA_ARGS__}, .count = ARRAY_LEN(((char *[]){__VA_ARGS__}))            \
    }
#define RULE(...)                                                                                  \
    {                                                                                              \
        .max_exempt_hours = -1, __VA_ARGS__                                                        \
    }

/* 2026-11-22 is a Sunday. */
#define SUNDAY_MS (INT64_C(1795305600) * 1000)

static int64_t at(int days, int hours, int minutes)
{
    return SUNDAY_MS + ((days * INT64_C(24) + hours) * 60 + minutes) * 60000;
}

static struct action *parse(const char *body)
{
    struct action *action = NULL;
    struct problems problems = {0};

    assert_int_equal(action_parse(body, strlen(body), 1000, &action, &problems, NULL), OK);
    return action;
}

/* Decides and compares the whole decision, written as "allow helpdesk/1 (approvers)" or "deny",
 * and then each violation in a line of its own. */
static void assert_policy(const struct policy *policy, const char *body, const char *reason,
                          int64_t now_ms, const char *expected)
{
    struct action *action = parse(body);
    struct decision decision;
    char text[4096];
    size_t len;

    policy_decide(policy, action, reason, now_ms, &decision);
    len = (size_t)snprintf(text, sizeof(text), "%s%s%s", decision.allowed ? "allow " : "deny",
                           decision.rule != NULL ? decision.rule : "",
                           decision.approvers != NULL ? " (approvers)" : "");
    for (size_t i = 0; i < decision.violation_count; i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "\n%s: %s",
                                decision.violations[i].rule, decision.violations[i].detail);
    }
    assert_string_equal(text, expected);
    decision_done(&decision);
    action_unref(action);
}

static void assert_rules(const struct rule *rules, size_t count, const char *body,
                         const char *expected)
{
    const struct policy policy = {.team = "helpdesk", .rules = rules, .rule_count = count};

    assert_policy(&policy, body, NULL, SUNDAY_MS, expected);
}

#define EXEMPT_24 "{\"types\":\"exempt\",\"ids\":[\"a\"],\"params\":{\"exempt_time\":24}}"
#define DELETE_2  "{\"types\":\"delete\",\"ids\":[\"a\",\"b\"]}"

static void default_deny(void **state)
{
    const struct rule rules[] = {RULE(.actions = LIST("exempt", "ignore"))};

    (void)state;
    assert_rules(rules, 1, EXEMPT_24, "allow helpdesk/0");
    assert_rules(rules, 1, DELETE_2, "deny\nhelpdesk: no rule allows delete");
    assert_rules(NULL, 0, DELETE_2, "deny\nhelpdesk: no rule allows delete");
}

static void first_rule_that_holds(void **state)
{
    const struct rule rules[] = {
        RULE(.actions = LIST("delete"), .max_devices = 1),
        RULE(.actions = LIST("ignore")),
        RULE(.actions = LIST("delete"), .max_devices = 3, .approvers = LIST("security")),
        RULE(.actions = LIST("delete")),
    };
    const struct policy policy = {.team = "helpdesk", .rules = rules, .rule_count = 4};
    struct action *action = parse(DELETE_2);
    struct decision decision;

    (void)state;
    assert_rules(rules, 4, "{\"types\":\"delete\",\"ids\":[\"a\"]}", "allow helpdesk/0");
    assert_rules(rules, 4, DELETE_2, "allow helpdesk/2 (approvers)");
    policy_decide(&policy, action, NULL, SUNDAY_MS, &decision);
    assert_ptr_equal(decision.approvers, &rules[2].approvers);
    decision_done(&decision);
    action_unref(action);
    assert_rules(rules, 4, "{\"types\":\"delete\",\"ids\":[\"a\",\"b\",\"c\",\"d\"]}",
                 "allow helpdesk/3");
}

static void every_broken_constraint_is_told(void **state)
{
    const struct rule rules[] = {
        {.actions = LIST("exempt"), .max_devices = 1, .max_exempt_hours = 8},
        RULE(.actions = LIST("exempt"), .require_reason = true),
    };

    (void)state;
    assert_rules(rules, 2,
                 "{\"types\":\"exempt\",\"ids\":[\"a\",\"b\"],\"params\":{\"exempt_time\":24}}",
                 "deny\n"
                 "helpdesk/0: max_devices: at most 1 devices are allowed, 2 were asked\n"
                 "helpdesk/0: max_exempt_hours: at most 8 hours are allowed, asked was 24\n"
                 "helpdesk/1: require_reason: a reason is required (Action-Reason), none was "
                 "given");
}

static void exempt_hours(void **state)
{
    const struct rule day[] = {{.actions = LIST("exempt", "ignore"), .max_exempt_hours = 24}};
    const struct rule zero[] = {{.actions = LIST("exempt"), .max_exempt_hours = 0}};
    const struct rule none[] = {RULE(.actions = LIST("exempt"))};
    const char *hours_25 = "{\"types\":\"exempt\",\"ids\":[\"a\"],\"params\":{\"exempt_time\":25}}";
    const char *for_ever = "{\"types\":\"exempt\",\"ids\":[\"a\"],\"params\":{\"exempt_time\":0}}";
    const char *default_time = "{\"types\":\"exempt\",\"ids\":[\"a\"]}";

    (void)state;
    assert_rules(day, 1, EXEMPT_24, "allow helpdesk/0");
    assert_rules(day, 1, hours_25,
                 "deny\nhelpdesk/0: max_exempt_hours: at most 24 hours are allowed, asked was 25");
    assert_rules(day, 1, for_ever,
                 "deny\nhelpdesk/0: max_exempt_hours: at most 24 hours are allowed, asked was for "
                 "ever (exempt_time 0 or none)");
    assert_rules(day, 1, default_time,
                 "deny\nhelpdesk/0: max_exempt_hours: at most 24 hours are allowed, asked was for "
                 "ever (exempt_time 0 or none)");
    assert_rules(day, 1, "{\"types\":\"ignore\",\"ids\":[\"a\"]}", "allow helpdesk/0");
    assert_rules(zero, 1, "{\"types\":\"exempt\",\"ids\":[\"a\"],\"params\":{\"exempt_time\":1}}",
                 "deny\nhelpdesk/0: max_exempt_hours: at most 0 hours are allowed, asked was 1");
    assert_rules(none, 1, for_ever, "allow helpdesk/0");
}

static void groups(void **state)
{
    const struct rule rules[] = {RULE(.actions = LIST("assign_to_group", "ignore"),
                                      .groups = LIST("quarantine", "default"))};

    (void)state;
    assert_rules(rules, 1,
                 "{\"types\":\"assign_to_group\",\"ids\":[\"a\"],"
                 "\"params\":{\"group_id\":\"default\"}}",
                 "allow helpdesk/0");
    assert_rules(rules, 1,
                 "{\"types\":\"assign_to_group\",\"ids\":[\"a\"],"
                 "\"params\":{\"group_id\":\"Default\"}}",
                 "deny\nhelpdesk/0: groups: allowed are quarantine, default; asked was Default");
    assert_rules(rules, 1, "{\"types\":\"ignore\",\"ids\":[\"a\"]}", "allow helpdesk/0");
}

static void reason(void **state)
{
    const struct rule rules[] = {RULE(.actions = LIST("delete"), .require_reason = true)};
    const struct policy policy = {.team = "helpdesk", .rules = rules, .rule_count = 1};
    const char *missing = "deny\nhelpdesk/0: require_reason: a reason is required "
                          "(Action-Reason), none was given";

    (void)state;
    assert_policy(&policy, DELETE_2, NULL, SUNDAY_MS, missing);
    assert_policy(&policy, DELETE_2, "", SUNDAY_MS, missing);
    assert_policy(&policy, DELETE_2, " \t ", SUNDAY_MS, missing);
    assert_policy(&policy, DELETE_2, " lost ", SUNDAY_MS, "allow helpdesk/0");
}

static bool allowed_at(const struct rule_hours *hours, int64_t now_ms)
{
    const struct rule rules[] = {
        RULE(.actions = LIST("delete"), .has_hours = true, .hours = *hours)};
    const struct policy policy = {.team = "helpdesk", .rules = rules, .rule_count = 1};
    struct action *action = parse(DELETE_2);
    struct decision decision;
    bool allowed;

    policy_decide(&policy, action, NULL, now_ms, &decision);
    allowed = decision.allowed;
    decision_done(&decision);
    action_unref(action);
    return allowed;
}

static void hours_of_a_day(void **state)
{
    const struct rule_hours hours = {
        .days = LIST("mon", "sat"), .from = "08:00", .to = "18:00", .zone = "UTC"};
    const struct rule_hours any_day = {.from = "08:30"};
    const struct rule_hours until = {.to = "08:30"};
    const struct rule_hours empty = {.from = "08:30", .to = "08:30"};

    (void)state;
    assert_false(allowed_at(&hours, at(0, 12, 0)));
    assert_false(allowed_at(&hours, at(1, 7, 59)));
    assert_true(allowed_at(&hours, at(1, 8, 0)));
    assert_true(allowed_at(&hours, at(1, 18, 0) - 1));
    assert_false(allowed_at(&hours, at(1, 18, 0)));
    assert_false(allowed_at(&hours, at(2, 12, 0)));
    assert_true(allowed_at(&hours, at(6, 12, 0)));
    assert_false(allowed_at(&any_day, at(3, 8, 29)));
    assert_true(allowed_at(&any_day, at(3, 23, 59)));
    assert_true(allowed_at(&until, at(3, 0, 0)));
    assert_false(allowed_at(&until, at(3, 8, 30)));
    assert_false(allowed_at(&empty, at(3, 8, 30)));
}

/* A range past midnight belongs to the day on which it began. */
static void hours_past_midnight(void **state)
{
    const struct rule_hours night = {.days = LIST("sat"), .from = "22:00", .to = "06:00"};
    const struct rule_hours evening = {.days = LIST("sat"), .from = "22:00", .to = "00:00"};

    (void)state;
    assert_false(allowed_at(&night, at(6, 5, 59)));
    assert_false(allowed_at(&night, at(6, 21, 59)));
    assert_true(allowed_at(&night, at(6, 22, 0)));
    assert_true(allowed_at(&night, at(7, 0, 0)));
    assert_true(allowed_at(&night, at(0, 5, 59)));
    assert_false(allowed_at(&night, at(0, 6, 0)));
    assert_false(allowed_at(&night, at(0, 22, 0)));
    assert_true(allowed_at(&evening, at(6, 23, 59)));
    assert_false(allowed_at(&evening, at(7, 0, 0)));
}

static void hours_are_told(void **state)
{
    const struct rule rules[] = {
        RULE(.actions = LIST("delete"), .has_hours = true,
             .hours = {.days = LIST("mon", "tue"), .from = "08:00", .to = "18:00"}),
        RULE(.actions = LIST("delete"), .has_hours = true, .hours = {.from = "12:00"})};
    const struct policy policy = {.team = "helpdesk", .rules = rules, .rule_count = 2};

    (void)state;
    assert_policy(&policy, DELETE_2, NULL, at(0, 9, 5),
                  "deny\n"
                  "helpdesk/0: hours: allowed mon, tue from 08:00 to 18:00 UTC, now it is sun "
                  "09:05\n"
                  "helpdesk/1: hours: allowed every day from 12:00 to 24:00 UTC, now it is sun "
                  "09:05");
}

/* A shadow rule neither allows nor refuses, wherever it stands. */
static void shadow_only_reports(void **state)
{
    const struct rule rules[] = {
        RULE(.actions = LIST("delete"), .shadow = true),
        RULE(.actions = LIST("delete"), .max_devices = 1, .shadow = true),
        RULE(.actions = LIST("delete"), .max_devices = 1),
        RULE(.actions = LIST("delete"), .max_devices = 2),
        RULE(.actions = LIST("delete"), .require_reason = true, .shadow = true),
        RULE(.actions = LIST("ignore"), .require_reason = true, .shadow = true),
    };

    (void)state;
    assert_rules(rules, 6, DELETE_2,
                 "allow helpdesk/3\n"
                 "helpdesk/1 (shadow): max_devices: at most 1 devices are allowed, 2 were asked\n"
                 "helpdesk/4 (shadow): require_reason: a reason is required (Action-Reason), none "
                 "was given");
    assert_rules(rules, 2, DELETE_2,
                 "deny\n"
                 "helpdesk: no rule allows delete\n"
                 "helpdesk/1 (shadow): max_devices: at most 1 devices are allowed, 2 were asked");
}

static void protected_devices_win(void **state)
{
    const struct rule rules[] = {RULE(.actions = LIST("delete", "ignore"))};
    const struct protection protections[] = {
        {.macs = LIST("00:0C:29:*"), .actions = LIST("delete")},
        {.ids = LIST("server-*", "CEO"), .macs = LIST("aa-bb-cc-*-01")},
    };
    const struct policy policy = {.team = "helpdesk",
                                  .rules = rules,
                                  .rule_count = 1,
                                  .protections = protections,
                                  .protection_count = 2};

    (void)state;
    assert_policy(&policy, "{\"types\":\"delete\",\"macs\":[\"ff0c29cdc7b2\",\"000C29CDC7B2\"]}",
                  NULL, SUNDAY_MS,
                  "deny\nprotected_devices/0: delete is refused for 1 protected device: "
                  "000C29CDC7B2");
    assert_policy(&policy, "{\"types\":\"ignore\",\"macs\":[\"000C29CDC7B2\"]}", NULL, SUNDAY_MS,
                  "allow helpdesk/0");
    assert_policy(&policy,
                  "{\"types\":\"delete\",\"macs\":[\"000c29cdc7b2\",\"aabbcc000001\","
                  "\"aabbcc000101\"]}",
                  NULL, SUNDAY_MS,
                  "deny\n"
                  "protected_devices/0: delete is refused for 1 protected device: 000c29cdc7b2\n"
                  "protected_devices/1: delete is refused for 2 protected devices: aabbcc000001 "
                  "and others");
    assert_policy(&policy, "{\"types\":\"ignore\",\"ids\":[\"ceo\",\"server-1\"]}", NULL, SUNDAY_MS,
                  "deny\nprotected_devices/1: ignore is refused for 1 protected device: server-1");
    assert_policy(&policy, "{\"types\":\"ignore\",\"ids\":[\"ceo\",\"my-server-1\"]}", NULL,
                  SUNDAY_MS, "allow helpdesk/0");
    /* Even without a rule, what is told is the protection. */
    assert_policy(&policy, "{\"types\":\"unignore\",\"ids\":[\"CEO\"]}", NULL, SUNDAY_MS,
                  "deny\nprotected_devices/1: unignore is refused for 1 protected device: CEO");
}

static void violations_are_bounded(void **state)
{
    struct rule rules[RULES_MAX_VIOLATIONS + 8];
    const struct rule rule = RULE(.actions = LIST("delete"), .max_devices = 1);
    const struct policy policy = {
        .team = "helpdesk", .rules = rules, .rule_count = ARRAY_LEN(rules)};
    struct action *action = parse(DELETE_2);
    struct decision decision;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        rules[i] = rule;
    }
    policy_decide(&policy, action, NULL, SUNDAY_MS, &decision);
    assert_false(decision.allowed);
    assert_int_equal(decision.violation_count, RULES_MAX_VIOLATIONS);
    decision_done(&decision);
    action_unref(action);
}

static void patterns(void **state)
{
    (void)state;
    assert_true(pattern_matches("", ""));
    assert_true(pattern_matches("*", ""));
    assert_true(pattern_matches("**", "abc"));
    assert_true(pattern_matches("abc", "abc"));
    assert_true(pattern_matches("a*c", "ac"));
    assert_true(pattern_matches("a*c", "abcbc"));
    assert_true(pattern_matches("*ab*ba", "aababba"));
    assert_true(pattern_matches("*a*a*", "baab"));
    assert_false(pattern_matches("", "a"));
    assert_false(pattern_matches("abc", "abcd"));
    assert_false(pattern_matches("abcd", "abc"));
    assert_false(pattern_matches("a*c", "abcd"));
    assert_false(pattern_matches("ABC", "abc"));
    assert_false(pattern_matches("a-b", "a:b"));
    assert_false(pattern_matches("a?c", "abc"));
    assert_false(pattern_matches("*ab*ab", "ab"));
    /* Many stars against a text that nearly fits must not take for ever. */
    assert_false(
        pattern_matches("a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b",
                        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(default_deny),
        cmocka_unit_test(first_rule_that_holds),
        cmocka_unit_test(every_broken_constraint_is_told),
        cmocka_unit_test(exempt_hours),
        cmocka_unit_test(groups),
        cmocka_unit_test(reason),
        cmocka_unit_test(hours_of_a_day),
        cmocka_unit_test(hours_past_midnight),
        cmocka_unit_test(hours_are_told),
        cmocka_unit_test(shadow_only_reports),
        cmocka_unit_test(protected_devices_win),
        cmocka_unit_test(violations_are_bounded),
        cmocka_unit_test(patterns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
