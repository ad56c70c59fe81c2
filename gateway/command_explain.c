/* tollgate explain: what policy says of a request body, offline. See command.h. */
#include "gateway/command.h"

#include "common/buffer.h"
#include "common/clock.h"
#include "common/json.h"
#include "policy/action.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct explain {
    const char *config_path;
    const char *team;
    const char *reason;
    const char *body;
    bool json;
};

static int read_arguments(const struct command *command, int argc, char **argv,
                          struct explain *explain)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"team", required_argument, NULL, 't'},
                                            {"reason", required_argument, NULL, 'r'},
                                            {"json", no_argument, NULL, 'j'},
                                            {NULL, 0, NULL, 0}};
    int option;

    opterr = 0;
    while ((option = getopt_long(argc, argv, "c:t:", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            explain->config_path = optarg;
            break;
        case 't':
            explain->team = optarg;
            break;
        case 'r':
            explain->reason = optarg;
            break;
        case 'j':
            explain->json = true;
            break;
        default:
            return command_usage(command, "'%s' is not an option of it, or lacks its value",
                                 argv[optind - 1]);
        }
    }
    if (explain->config_path == NULL || explain->team == NULL || optind + 1 < argc) {
        return command_usage(command, "needs -c FILE, --team TEAM and at most one BODY");
    }
    explain->body = optind < argc && strcmp(argv[optind], "-") != 0 ? argv[optind] : NULL;
    return EXIT_DONE;
}

/* The body: the argument, or standard input. The caller frees. */
static char *read_body(const struct explain *explain, size_t max)
{
    struct buffer buffer;
    char chunk[4096];
    size_t got;

    if (explain->body != NULL) {
        return xstrdup(explain->body);
    }
    buffer_init(&buffer, max);
    while ((got = fread(chunk, 1, sizeof(chunk), stdin)) > 0) {
        if (buffer_add(&buffer, chunk, got) != OK) {
            buffer_done(&buffer);
            return NULL;
        }
    }
    return buffer_take(&buffer);
}

static void print_json(const char *decision, const char *rule, const struct problems *errors,
                       const struct decision *decided)
{
    json_t *violations = decided != NULL ? decision_violations(decided) : json_array();
    CLEANUP(cleanup_json) json_t *out = NULL;
    CLEANUP(cleanup_free) char *text = NULL;

    out = json_pack("{s:s, s:s?, s:o, s:o}", "decision", decision, "rule", rule, "errors",
                    problems_json(errors), "violations", violations);
    text = json_write(out);
    (void)puts(text);
}

static int explain_invalid(const struct explain *explain, const struct problems *problems,
                           const struct error *error)
{
    if (explain->json) {
        struct problems all = {0};
        if (problems->count == 0) {
            problems_add(&all, "", "%s", error->text);
        }
        print_json("invalid", NULL, problems->count > 0 ? problems : &all, NULL);
        problems_done(&all);
        return EXIT_REFUSED;
    }
    (void)printf("invalid: it would be refused before any rule is asked\n");
    for (size_t i = 0; i < problems->count; i++) {
        (void)printf("  %s: %s\n", problems->items[i].pointer, problems->items[i].detail);
    }
    if (problems->count == 0) {
        (void)printf("  %s\n", error->text);
    }
    return EXIT_REFUSED;
}

static int explain_decision(const struct explain *explain, const struct action *action,
                            const struct policy *policy)
{
    static const struct problems none;
    struct decision decision;
    const char *word;
    bool allowed;

    policy_decide(policy, action, explain->reason, clock_wall_ms(), &decision);
    allowed = decision.allowed;
    word = !allowed ? "deny" : decision.approvers != NULL ? "needs approval" : "allow";
    if (explain->json) {
        print_json(word, decision.rule, &none, &decision);
    } else {
        (void)printf("%s%s%s\n", word, decision.rule != NULL ? ": rule " : "",
                     decision.rule != NULL ? decision.rule : "");
        for (size_t i = 0; i < decision.violation_count; i++) {
            (void)printf("  %s: %s\n", decision.violations[i].rule, decision.violations[i].detail);
        }
    }
    decision_done(&decision);
    return allowed ? EXIT_DONE : EXIT_REFUSED;
}

static int run(const struct command *command, const struct explain *explain,
               const struct config *config)
{
    ssize_t team = config_find_team(config, explain->team);
    CLEANUP(cleanup_free) char *body = NULL;
    struct action *action = NULL;
    struct problems problems = {0};
    struct error error = {0};
    struct policy policy;
    int code;

    if (team < 0) {
        return command_usage(command, "there is no team '%s' in the configuration", explain->team);
    }
    body = read_body(explain, (size_t)config->limits.max_body_bytes);
    if (body == NULL) {
        return command_usage(command, "the body is longer than limits.max_body_bytes");
    }
    if (action_parse(body, strlen(body), (size_t)config->limits.max_devices_per_request, &action,
                     &problems, &error) != OK) {
        code = explain_invalid(explain, &problems, &error);
    } else {
        policy = config_policy(config, (size_t)team);
        code = explain_decision(explain, action, &policy);
    }
    action_unref(action);
    problems_done(&problems);
    return code;
}

int command_explain(const struct command *command, int argc, char **argv)
{
    struct explain explain = {0};
    int code = read_arguments(command, argc, argv, &explain);
    struct config *config;

    if (code != EXIT_DONE) {
        return code;
    }
    config = command_load_config(explain.config_path);
    if (config == NULL) {
        return EXIT_REFUSED;
    }
    code = run(command, &explain, config);
    config_free(config);
    return code;
}
