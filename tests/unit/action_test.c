/* Actions: the table, the strict reader, and what it says of each mistake. */
#include "common/json.h"
#include "policy/action.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_DEVICES 1000

static char *whole_body(const struct action *action)
{
    CLEANUP(cleanup_free) const char **names = xcalloc(action->device_count, sizeof(*names));

    for (size_t i = 0; i < action->device_count; i++) {
        names[i] = action->devices[i].canonical;
    }
    return action_body(action, names, action->device_count);
}

static struct action *parse(const char *body)
{
    struct action *action = NULL;
    struct problems problems = {0};
    struct error error = {0};
    enum err err = action_parse(body, strlen(body), MAX_DEVICES, &action, &problems, &error);

    if (err != OK) {
        print_error("%s\n%s\n", body, error.text);
        for (size_t i = 0; i < problems.count; i++) {
            print_error("%s: %s\n", problems.items[i].pointer, problems.items[i].detail);
        }
    }
    assert_int_equal(err, OK);
    assert_int_equal(problems.count, 0);
    return action;
}

static void assert_body(const char *body, const char *canonical)
{
    struct action *action = parse(body);
    CLEANUP(cleanup_free) char *text = whole_body(action);

    assert_string_equal(text, canonical);
    action_unref(action);
}

/* "pointer: detail" of each problem, one a line. */
static char *problem_lines(const struct problems *problems)
{
    char *text = xstrdup("");

    for (size_t i = 0; i < problems->count; i++) {
        char *longer =
            xasprintf("%s%s: %s\n", text, problems->items[i].pointer, problems->items[i].detail);
        free(text);
        text = longer;
    }
    return text;
}

static void assert_problems_within(const char *body, size_t max_devices, const char *expected)
{
    struct action *const untouched = (struct action *)&expected;
    struct action *action = untouched;
    struct problems problems = {0};
    struct error error = {0};

    assert_int_equal(action_parse(body, strlen(body), max_devices, &action, &problems, &error),
                     ERR_INVALID);
    assert_ptr_equal(action, untouched);
    CLEANUP(cleanup_free) char *lines = problem_lines(&problems);
    assert_string_equal(lines, expected);
    problems_done(&problems);
}

static void assert_problems(const char *body, const char *expected)
{
    assert_problems_within(body, MAX_DEVICES, expected);
}

static void assert_malformed_bytes(const char *body, size_t len)
{
    struct action *action = NULL;
    struct problems problems = {0};
    struct error error = {0};

    assert_int_equal(action_parse(body, len, MAX_DEVICES, &action, &problems, &error),
                     ERR_MALFORMED);
    assert_null(action);
    assert_int_equal(problems.count, 0);
    assert_true(strlen(error.text) > 0);
}

static void assert_malformed(const char *body)
{
    assert_malformed_bytes(body, strlen(body));
}

#define TYPES                                                                                      \
    "one of exempt, unexempt, ignore, unignore, delete, dhcprenew, re-identify, "                  \
    "assign_to_group, fetch_agent_log"
#define ID    "an id of 1 to 128 characters of A-Z a-z 0-9 . _ : -"
#define GROUP "a string of 1 to 128 printable characters"
#define MAC   "a MAC address like 00:0c:29:cd:c7:b2"
#define KEYS  "an action has types, ids or macs, and params"

/* ---- The table ---- */

static void table_has_the_nine_actions(void **state)
{
    static const char *const names[] = {"exempt",      "unexempt",        "ignore",
                                        "unignore",    "delete",          "dhcprenew",
                                        "re-identify", "assign_to_group", "fetch_agent_log"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const struct action_type *type = action_type_find(names[i]);
        assert_non_null(type);
        assert_ptr_equal(type, action_type_at(i));
        assert_string_equal(type->name, names[i]);
        assert_int_equal(type->params[0].name != NULL,
                         strcmp(names[i], "exempt") == 0 ||
                             strcmp(names[i], "assign_to_group") == 0);
    }
    assert_null(action_type_at(ARRAY_LEN(names)));
    assert_null(action_type_find("Exempt"));
    assert_null(action_type_find(""));
}

/* ---- Good bodies ---- */

static void canonical_body(void **state)
{
    (void)state;
    assert_body("{\"types\":\"exempt\",\"ids\":[\"b3cb8d\",\"HWID123\"],"
                "\"params\":{\"exempt_time\":24}}",
                "{\"types\":\"exempt\",\"ids\":[\"b3cb8d\",\"HWID123\"],"
                "\"params\":{\"exempt_time\":24}}");
    assert_body(" { \"params\" : { } , \"ids\" : [ \"a\" ] , \"types\" : \"exempt\" } ",
                "{\"types\":\"exempt\",\"ids\":[\"a\"]}");
    assert_body("{\"types\":\"delete\",\"macs\":[\"00-0C-29-CD-C7-B2\",\"000c29cdc7b3\"]}",
                "{\"types\":\"delete\",\"macs\":[\"00:0c:29:cd:c7:b2\",\"00:0c:29:cd:c7:b3\"]}");
    assert_body("{\"types\":\"assign_to_group\",\"ids\":[\"a\"],"
                "\"params\":{\"group_id\":\"Gr\\u00fcne \\\"G\\u00e4ste\\\"\"}}",
                "{\"types\":\"assign_to_group\",\"ids\":[\"a\"],"
                "\"params\":{\"group_id\":\"Grüne \\\"Gäste\\\"\"}}");
}

static void bounds_that_fit(void **state)
{
    char id[129] = {0};
    CLEANUP(cleanup_free) char *body = NULL;

    (void)state;
    memset(id, 'x', 128);
    body = xasprintf("{\"types\":\"assign_to_group\",\"ids\":[\"%s\",\"A.z_0:-9\",\"...\"],"
                     "\"params\":{\"group_id\":\"%s\"}}",
                     id, id);
    assert_body(body, body);
    assert_body("{\"types\":\"exempt\",\"ids\":[\"a\"],\"params\":{\"exempt_time\":0}}",
                "{\"types\":\"exempt\",\"ids\":[\"a\"],\"params\":{\"exempt_time\":0}}");
    assert_body("{\"types\":\"exempt\",\"ids\":[\"a\"],\"params\":{\"exempt_time\":64999}}",
                "{\"types\":\"exempt\",\"ids\":[\"a\"],\"params\":{\"exempt_time\":64999}}");
}

/* 128 characters of four bytes each are 128 characters. */
static void group_is_counted_in_characters(void **state)
{
    char group[4 * 129 + 1] = {0};
    CLEANUP(cleanup_free) char *fits = NULL;
    CLEANUP(cleanup_free) char *over = NULL;
    CLEANUP(cleanup_free) char *expected = NULL;

    (void)state;
    for (size_t i = 0; i < 129; i++) {
        (void)stpcpy(group + 4 * i, "\xf0\x9f\x98\x80");
    }
    fits = xasprintf("{\"types\":\"assign_to_group\",\"ids\":[\"a\"],"
                     "\"params\":{\"group_id\":\"%.512s\"}}",
                     group);
    assert_body(fits, fits);
    over = xasprintf("{\"types\":\"assign_to_group\",\"ids\":[\"a\"],"
                     "\"params\":{\"group_id\":\"%s\"}}",
                     group);
    expected = xasprintf("/params/group_id: expected " GROUP ", got \"%.64s…\"\n", group);
    assert_problems(over, expected);
}

static void equal_devices_count_once(void **state)
{
    struct action *action = parse("{\"types\":\"ignore\",\"macs\":[\"000C29CDC7B2\","
                                  "\"00:0c:29:cd:c7:01\",\"00:0c:29:cd:c7:b2\","
                                  "\"00-0c-29-cd-c7-01\"]}");
    CLEANUP(cleanup_free) char *body = whole_body(action);
    CLEANUP(cleanup_json) json_t *asked = action_as_asked(action);
    CLEANUP(cleanup_free) char *asked_text = json_write(asked);

    (void)state;
    assert_int_equal(action->kind, DEVICE_MAC);
    assert_int_equal(action->device_count, 2);
    assert_string_equal(
        body, "{\"types\":\"ignore\",\"macs\":[\"00:0c:29:cd:c7:b2\",\"00:0c:29:cd:c7:01\"]}");
    assert_string_equal(asked_text,
                        "{\"types\":\"ignore\",\"macs\":[\"000C29CDC7B2\",\"00:0c:29:cd:c7:01\"]}");
    assert_ptr_not_equal(action->devices[0].asked, action->devices[0].canonical);
    assert_ptr_equal(action->devices[1].asked, action->devices[1].canonical);
    action_unref(action);

    /* IDs are opaque: case matters. */
    assert_body("{\"types\":\"ignore\",\"ids\":[\"a\",\"A\",\"a\"]}",
                "{\"types\":\"ignore\",\"ids\":[\"a\",\"A\"]}");
}

static void params_are_reachable(void **state)
{
    struct action *action = parse("{\"types\":\"exempt\",\"ids\":[\"a\"],"
                                  "\"params\":{\"exempt_time\":7}}");

    (void)state;
    assert_int_equal(action_param_integer(action, "exempt_time", 0), 7);
    assert_int_equal(action_param_integer(action, "other", -5), -5);
    assert_null(action_param_string(action, "exempt_time"));
    action_unref(action);

    action = parse("{\"types\":\"assign_to_group\",\"ids\":[\"a\"],"
                   "\"params\":{\"group_id\":\"quarantine\"}}");
    assert_string_equal(action_param_string(action, "group_id"), "quarantine");
    action_unref(action);

    action = parse("{\"types\":\"exempt\",\"ids\":[\"a\"]}");
    assert_null(action->params);
    assert_int_equal(action_param_integer(action, "exempt_time", 0), 0);
    action_unref(action);
}

/* ---- Bad bodies ---- */

static void not_json(void **state)
{
    CLEANUP(cleanup_free) char *deep = xcalloc(100001, 1);

    (void)state;
    assert_malformed("");
    assert_malformed("null");
    assert_malformed("[]");
    assert_malformed("\"exempt\"");
    assert_malformed("{\"types\":\"ignore\",\"ids\":[\"a\"]} x");
    assert_malformed("{\"types\":\"ignore\",\"types\":\"delete\",\"ids\":[\"a\"]}");
    assert_malformed("{\"types\":\"exempt\",\"ids\":[\"a\"],\"params\":{\"exempt_time\":1e400}}");
    assert_malformed("{\"types\":\"exempt\",\"ids\":[\"a\"],"
                     "\"params\":{\"exempt_time\":99999999999999999999}}");
    assert_malformed("{\"types\":\"ignore\",\"ids\":[\"\\ud800\"]}");
    assert_malformed("{\"types\":\"ignore\",\"ids\":[\"a\\u0000b\"]}");
    assert_malformed("{\"types\":\"ignore\",\"ids\":[\"\xff\"]}");
    assert_malformed("\xef\xbb\xbf{\"types\":\"ignore\",\"ids\":[\"a\"]}");
    assert_malformed_bytes("{\"types\":\"ignore\",\"ids\":[\"a\"]}\0", 33);
    memset(deep, '[', 100000);
    assert_malformed(deep);
}

static void all_problems_at_once(void **state)
{
    (void)state;
    assert_problems("{}", "/types: expected " TYPES ", got nothing\n"
                          ": expected one of ids and macs, got neither\n");
    assert_problems("{\"params\":{\"exempt_time\":\"24\",\"a/b~c\":1},\"id\":[],"
                    "\"macs\":[\"00:0c:29:cd:c7:b2\",\"00:0c:29\",7],\"types\":\"exempt\"}",
                    "/params/exempt_time: expected an integer from 0 to 64999, got \"24\"\n"
                    "/params/a~1b~0c: unknown key: exempt takes exempt_time\n"
                    "/id: unknown key: " KEYS "\n"
                    "/macs/1: expected " MAC ", got \"00:0c:29\"\n"
                    "/macs/2: expected " MAC ", got 7\n");
    assert_problems("{\"ids\":[\"a\",\"b c\"],\"macs\":[\"x\"],\"types\":\"ignore\"}",
                    "/ids/1: expected " ID ", got \"b c\"\n"
                    "/macs/0: expected " MAC ", got \"x\"\n"
                    ": expected one of ids and macs, got both\n");
}

static void bad_types(void **state)
{
    (void)state;
    assert_problems("{\"types\":\"Exempt\",\"ids\":[\"a\"]}",
                    "/types: expected " TYPES ", got \"Exempt\"\n");
    assert_problems("{\"types\":[\"exempt\"],\"ids\":[\"a\"]}",
                    "/types: expected " TYPES ", got a list\n");
    assert_problems("{\"types\":null,\"ids\":[\"a\"]}", "/types: expected " TYPES ", got null\n");
}

static void bad_devices(void **state)
{
    (void)state;
    assert_problems("{\"types\":\"ignore\",\"ids\":\"a\"}",
                    "/ids: expected a non-empty list of strings, got \"a\"\n");
    assert_problems("{\"types\":\"ignore\",\"macs\":[]}",
                    "/macs: expected a non-empty list of strings, got an empty list\n");
    assert_problems("{\"types\":\"ignore\",\"ids\":{}}",
                    "/ids: expected a non-empty list of strings, got an object\n");
    assert_problems("{\"types\":\"ignore\",\"ids\":[null,true,1.5,\"\",[\"a\"]]}",
                    "/ids/0: expected " ID ", got null\n"
                    "/ids/1: expected " ID ", got true\n"
                    "/ids/2: expected " ID ", got a number with a fraction or an exponent\n"
                    "/ids/3: expected " ID ", got \"\"\n"
                    "/ids/4: expected " ID ", got a list\n");
    assert_problems("{\"types\":\"ignore\",\"ids\":[\".\",\"..\",\"../a\",\"%2e\",\"%00\",\"'\","
                    "\"a\\n\",\"\xc3\xa4\"]}",
                    "/ids/0: expected " ID ", got \".\"\n"
                    "/ids/1: expected " ID ", got \"..\"\n"
                    "/ids/2: expected " ID ", got \"../a\"\n"
                    "/ids/3: expected " ID ", got \"%2e\"\n"
                    "/ids/4: expected " ID ", got \"%00\"\n"
                    "/ids/5: expected " ID ", got \"'\"\n"
                    "/ids/6: expected " ID ", got \"a\n\"\n"
                    "/ids/7: expected " ID ", got \"\xc3\xa4\"\n");
}

static void too_many_devices(void **state)
{
    (void)state;
    assert_problems_within("{\"types\":\"ignore\",\"ids\":[\"a\",\"b\",\"\",\"c\"]}", 2,
                           "/ids/2: expected " ID ", got \"\"\n"
                           "/ids: expected at most 2 devices, got 3\n");

    /* Equal ones count once here too. */
    struct action *action = NULL;
    struct problems problems = {0};
    static const char body[] = "{\"types\":\"ignore\",\"ids\":[\"a\",\"b\",\"a\",\"b\"]}";
    assert_int_equal(action_parse(body, strlen(body), 2, &action, &problems, NULL), OK);
    assert_int_equal(action->device_count, 2);
    action_unref(action);
}

static void bad_params(void **state)
{
    (void)state;
    assert_problems("{\"types\":\"exempt\",\"ids\":[\"a\"],\"params\":null}",
                    "/params: expected an object, got null\n");
    assert_problems("{\"types\":\"exempt\",\"ids\":[\"a\"],\"params\":[24]}",
                    "/params: expected an object, got a list\n");
    assert_problems("{\"types\":\"exempt\",\"ids\":[\"a\"],\"params\":{\"exempt_time\":24.0}}",
                    "/params/exempt_time: expected an integer from 0 to 64999, got a number with a "
                    "fraction or an exponent\n");
    assert_problems("{\"types\":\"exempt\",\"ids\":[\"a\"],\"params\":{\"exempt_time\":65000}}",
                    "/params/exempt_time: expected an integer from 0 to 64999, got 65000\n");
    assert_problems("{\"types\":\"exempt\",\"ids\":[\"a\"],\"params\":{\"exempt_time\":-1}}",
                    "/params/exempt_time: expected an integer from 0 to 64999, got -1\n");
    assert_problems("{\"types\":\"delete\",\"ids\":[\"a\"],\"params\":{\"exempt_time\":1}}",
                    "/params/exempt_time: unknown key: delete takes no parameters\n");
    /* Without a known type the keys cannot be judged, but what params is can. */
    assert_problems("{\"types\":\"no\",\"ids\":[\"a\"],\"params\":{\"x\":1}}",
                    "/types: expected " TYPES ", got \"no\"\n");
    assert_problems("{\"types\":\"no\",\"ids\":[\"a\"],\"params\":7}",
                    "/types: expected " TYPES ", got \"no\"\n"
                    "/params: expected an object, got 7\n");
}

static void bad_group(void **state)
{
    static const char *const refused[] = {"",         "a\\nb",    "\\u001b[31m", "a\\u007f",
                                          "a\\u0080", "\\u009fa", "\\u2028x",    "x\\u2029",
                                          "\\u202ax", "x\\u202e", "x\\u2066y",   "\\u2069"};
    static const char *const allowed[] = {"default", "a b",     "\\u00a0",
                                          "\\u2027", "\\u202f", "\\u2065",
                                          "\\u206a", "..",      "\\ud83d\\ude00"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        CLEANUP(cleanup_free)
        char *body = xasprintf(
            "{\"types\":\"assign_to_group\",\"ids\":[\"a\"],\"params\":{\"group_id\":\"%s\"}}",
            refused[i]);
        struct problems problems = {0};
        struct action *action = NULL;
        assert_int_equal(action_parse(body, strlen(body), 1, &action, &problems, NULL),
                         ERR_INVALID);
        assert_int_equal(problems.count, 1);
        assert_string_equal(problems.items[0].pointer, "/params/group_id");
        problems_done(&problems);
    }
    for (size_t i = 0; i < ARRAY_LEN(allowed); i++) {
        CLEANUP(cleanup_free)
        char *body = xasprintf(
            "{\"types\":\"assign_to_group\",\"ids\":[\"a\"],\"params\":{\"group_id\":\"%s\"}}",
            allowed[i]);
        action_unref(parse(body));
    }
    assert_problems("{\"types\":\"assign_to_group\",\"ids\":[\"a\"],\"params\":{\"group_id\":1}}",
                    "/params/group_id: expected " GROUP ", got 1\n");
    assert_problems("{\"types\":\"assign_to_group\",\"ids\":[\"a\"],\"params\":{\"group\":\"x\"}}",
                    "/params/group: unknown key: assign_to_group takes group_id\n"
                    "/params/group_id: expected " GROUP ", got nothing\n");
    assert_problems("{\"types\":\"assign_to_group\",\"ids\":[\"a\"],\"params\":{}}",
                    "/params/group_id: expected " GROUP ", got nothing\n");
    assert_problems("{\"types\":\"assign_to_group\",\"ids\":[\"a\"]}",
                    "/params/group_id: expected " GROUP ", got nothing\n");
}

/* A megabyte comes back as at most 64 bytes, and no character is cut. */
static void long_text_is_not_said_back(void **state)
{
    size_t len = 1 << 20;
    CLEANUP(cleanup_free) char *text = xcalloc(len + 1, 1);
    CLEANUP(cleanup_free) char *id = NULL;
    CLEANUP(cleanup_free) char *key = NULL;
    CLEANUP(cleanup_free) char *umlauts = NULL;

    (void)state;
    memset(text, 'x', len);
    id = xasprintf("{\"types\":\"ignore\",\"ids\":[\"%s\"]}", text);
    assert_problems(id, "/ids/0: expected " ID ", got \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                        "xxxxxxxxxxxxxxxxxxxxx…\"\n");
    key = xasprintf("{\"types\":\"ignore\",\"ids\":[\"a\"],\"%s\":1}", text);
    assert_problems(key,
                    ": unknown key \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                    "xxxxx…\": " KEYS "\n");
    for (size_t i = 1; i < 101; i += 2) {
        (void)stpcpy(text + i, "\xc3\xa4");
    }
    umlauts = xasprintf("{\"types\":\"ignore\",\"ids\":[\"%s\"]}", text);
    assert_problems(umlauts,
                    "/ids/0: expected " ID ", got \"xäääääääääääääääääääääääääääääää…\"\n");
}

static void problems_are_bounded(void **state)
{
    size_t count = 5000;
    char *body = xcalloc(count * 2 + 64, 1);
    char *out = stpcpy(body, "{\"types\":\"ignore\",\"ids\":[0");
    struct problems problems = {0};
    struct action *action = NULL;

    (void)state;
    for (size_t i = 1; i < count; i++) {
        out = stpcpy(out, ",0");
    }
    (void)stpcpy(out, "]}");
    assert_int_equal(action_parse(body, strlen(body), 10, &action, &problems, NULL), ERR_INVALID);
    assert_int_equal(problems.count, PROBLEMS_MAX);
    problems_done(&problems);
    free(body);
}

/* ---- A row that the table does not have yet ---- */

static const struct action_type scan_threats = {"scan_threats",
                                                {
                                                    {"full_scan", PARAM_INTEGER, false, 0, 1},
                                                    {"scan_types", PARAM_INTEGER_LIST, false, 0, 5},
                                                    {"path", PARAM_STRING, false, 1, 260},
                                                }};

static void assert_params(const char *text, const char *expected)
{
    CLEANUP(cleanup_json) json_t *params = json_loads(text, 0, NULL);
    struct problems problems = {0};

    assert_non_null(params);
    action_check_params(&scan_threats, params, &problems);
    CLEANUP(cleanup_free) char *lines = problem_lines(&problems);
    assert_string_equal(lines, expected);
    problems_done(&problems);
}

static void next_version_needs_only_a_row(void **state)
{
#define LIST "a list of distinct integers from 0 to 5"
    (void)state;
    assert_params("{}", "");
    assert_params("{\"full_scan\":1,\"scan_types\":[5,0,3],\"path\":\"C:\\\\Users\"}", "");
    assert_params("{\"full_scan\":2,\"deep\":1}",
                  "/params/full_scan: expected an integer from 0 to 1, got 2\n"
                  "/params/deep: unknown key: scan_threats takes full_scan, scan_types, path\n");
    assert_params("{\"scan_types\":[]}",
                  "/params/scan_types: expected " LIST ", got an empty list\n");
    assert_params("{\"scan_types\":3}", "/params/scan_types: expected " LIST ", got 3\n");
    assert_params("{\"scan_types\":[0,1,2,3,4,5,0]}",
                  "/params/scan_types: expected " LIST ", got a list\n");
    assert_params("{\"scan_types\":[0,6,1,\"2\",0]}",
                  "/params/scan_types/1: expected " LIST ", got 6\n"
                  "/params/scan_types/3: expected " LIST ", got \"2\"\n"
                  "/params/scan_types/4: expected " LIST ", got 0\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_has_the_nine_actions),
        cmocka_unit_test(canonical_body),
        cmocka_unit_test(bounds_that_fit),
        cmocka_unit_test(group_is_counted_in_characters),
        cmocka_unit_test(equal_devices_count_once),
        cmocka_unit_test(params_are_reachable),
        cmocka_unit_test(not_json),
        cmocka_unit_test(all_problems_at_once),
        cmocka_unit_test(bad_types),
        cmocka_unit_test(bad_devices),
        cmocka_unit_test(too_many_devices),
        cmocka_unit_test(bad_params),
        cmocka_unit_test(bad_group),
        cmocka_unit_test(long_text_is_not_said_back),
        cmocka_unit_test(problems_are_bounded),
        cmocka_unit_test(next_version_needs_only_a_row),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
