/* Rules: whether a team may do an action, and why. Default deny; the first rule whose actions hold
 * the action and whose constraints all hold allows it; protected devices refuse whatever the rules
 * say. Pure: no I/O, time is an argument. Any thread; rules are read only. */
#ifndef POLICY_RULES_H
#define POLICY_RULES_H

#include "policy/action.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text_list {
    char **items;
    size_t count;
};

/* When a rule applies. Zone is UTC: other zones are refused by the configuration. */
struct rule_hours {
    struct text_list days; /* mon tue wed thu fri sat sun; none = every day */
    char *from;            /* "08:00", inclusive; NULL = midnight */
    char *to; /* "18:00", exclusive; NULL = end of day; earlier than from = past midnight, and the
               * range belongs to the day on which it began; equal to from = never */
    char *zone;
};

/* One row of "rules". A constraint that is left out is 0, NULL or empty, and always holds, but for
 * max_exempt_hours, where 0 would be a value: there it is -1. */
struct rule {
    struct text_list actions;
    int64_t max_devices;
    int64_t max_exempt_hours; /* exempt_time 0 or none is for ever: over every limit */
    struct text_list groups;  /* allowed group_id values */
    struct text_list approvers;
    struct rule_hours hours;
    bool has_hours;
    bool require_reason;
    bool shadow; /* only reports what it would have refused */
};

/* Devices that refuse some actions (none listed: all). Patterns: '*' stands for any characters;
 * MAC patterns are compared with the canonical form, any case, '-' as ':'. */
struct protection {
    struct text_list ids;
    struct text_list macs;
    struct text_list actions;
};

struct policy {
    const char *team; /* names the rules: "helpdesk/0" */
    const struct rule *rules;
    size_t rule_count;
    const struct protection *protections;
    size_t protection_count;
};

struct violation {
    char *rule; /* "helpdesk/0", "helpdesk" when no rule names the action, "protected_devices/0" */
    char *detail; /* what is not allowed and what is */
};

#define RULES_MAX_VIOLATIONS 32

struct decision {
    bool allowed;
    char *rule;                        /* the rule that allowed it, or NULL */
    const struct text_list *approvers; /* not NULL: allowed once one of these teams approves */
    struct violation
        violations[RULES_MAX_VIOLATIONS]; /* why not; with shadow rules: what would be */
    size_t violation_count;
};

/* Decides. reason is the client's Action-Reason or NULL; now_ms is wall time, used by hours.
 * A rule with shadow is evaluated for the report only: its violations appear in the decision as
 * "helpdesk/1 (shadow)", wherever it stands among the rules, and it neither allows nor refuses.
 * The caller ends *ret_decision with decision_done(). */
void policy_decide(const struct policy *policy, const struct action *action, const char *reason,
                   int64_t now_ms, struct decision *ret_decision);

/* [{"rule":…,"detail":…},…]; new reference. */
json_t *decision_violations(const struct decision *decision);

void decision_done(struct decision *decision);

/* '*' matches any run of characters; everything else itself. Case-sensitive. */
bool pattern_matches(const char *pattern, const char *text);

#endif
