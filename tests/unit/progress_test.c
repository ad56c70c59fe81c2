/* Progress of an action: what its parts make of it, and that what is written down is read back. */
#include "gateway/progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

static const struct answer_item answered[] = {{1, ""}, {1, ""}, {-1, "cmd-\"7\""}, {0, ""}};
static const size_t places[] = {0, 1, 2, 3};
static const struct ending refused = {.problem = PROBLEM_UPSTREAM_REJECTED,
                                      .upstream_status = 400,
                                      .detail = (char *)"It said \"no\"."};
static const struct ending unknown = {
    .unknown = true, .problem = PROBLEM_UPSTREAM_ERROR, .upstream_status = 502};

/* Of devices "a" to "h". */
static struct action *new_action(void)
{
    static const char body[] =
        "{\"types\":\"unexempt\",\"ids\":[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\"]}";
    struct action *action = NULL;
    struct problems problems = {0};

    assert_int_equal(action_parse(body, strlen(body), 10, &action, &problems, NULL), OK);
    return action;
}

/* The first four devices are answered, a refusal takes two more. */
static void fill(struct progress *progress, const struct action *action)
{
    static const size_t known[] = {0, 1, 2, 3};
    static const size_t over[] = {5, 6};

    progress_know(progress, action, known, places, 4, answered, 200);
    progress_fail(progress, action, over, 2, &refused);
}

static void assert_text(char *text_take, const char *wanted)
{
    if (wanted == NULL) {
        assert_null(text_take);
    } else {
        assert_non_null(text_take);
        assert_string_equal(text_take, wanted);
    }
    free(text_take);
}

static void assert_outcome(const struct progress *progress, const struct action *action,
                           enum action_state wanted, const char *results)
{
    char *text = NULL;

    assert_int_equal(progress_outcome(progress, action, &text), wanted);
    assert_text(text, results);
}

static void test_outcomes(void **state)
{
    static const size_t last[] = {7};
    struct action *action = new_action();
    struct progress progress = {0};

    (void)state;
    assert_false(progress_started(&progress));
    assert_int_equal(progress_open(&progress, action), 8);
    progress_fail(&progress, action, last, 1, &refused);
    assert_true(progress_started(&progress));
    assert_int_equal(progress_open(&progress, action), 7);
    assert_outcome(&progress, action, ACTION_FAILED, NULL);
    fill(&progress, action);
    assert_int_equal(progress_open(&progress, action), 1);
    /* What was refused, and what was not sent, has status 0. */
    assert_outcome(&progress, action, ACTION_COMPLETED,
                   "[{\"id\":\"a\",\"status\":1,\"command_id\":\"\"},"
                   "{\"id\":\"b\",\"status\":1,\"command_id\":\"\"},"
                   "{\"id\":\"c\",\"status\":-1,\"command_id\":\"cmd-\\\"7\\\"\"},"
                   "{\"id\":\"d\",\"status\":0,\"command_id\":\"\"},"
                   "{\"id\":\"e\",\"status\":0,\"command_id\":\"\"},"
                   "{\"id\":\"f\",\"status\":0,\"command_id\":\"\"},"
                   "{\"id\":\"g\",\"status\":0,\"command_id\":\"\"},"
                   "{\"id\":\"h\",\"status\":0,\"command_id\":\"\"}]");
    progress_done(&progress);
    action_unref(action);
}

/* The worst part says how it ends, whatever comes later; and only what is known is told. */
static void test_unknown_stays(void **state)
{
    static const size_t first[] = {0};
    static const size_t second[] = {1};
    static const size_t third[] = {2};
    struct action *action = new_action();
    struct progress progress = {0};

    (void)state;
    progress_fail(&progress, action, first, 1, &unknown);
    assert_outcome(&progress, action, ACTION_UNKNOWN, NULL);
    progress_fail(&progress, action, second, 1, &refused);
    progress_know(&progress, action, third, places, 1, answered, 200);
    assert_int_equal(progress.ending.problem, PROBLEM_UPSTREAM_ERROR);
    assert_int_equal(progress.ending.upstream_status, 502);
    assert_outcome(&progress, action, ACTION_UNKNOWN,
                   "[{\"id\":\"c\",\"status\":1,\"command_id\":\"\"}]");
    progress_done(&progress);
    action_unref(action);
}

static void test_ranges(void **state)
{
    static const size_t some[] = {0, 1, 2, 5, 7};
    json_t *ranges = progress_ranges(some, ARRAY_LEN(some));

    (void)state;
    assert_text(json_dumps(ranges, JSON_COMPACT), "[0,2,5,5,7,7]");
    json_decref(ranges);
    ranges = progress_ranges(some, 0);
    assert_text(json_dumps(ranges, JSON_COMPACT), "[]");
    json_decref(ranges);
}

static enum err lose(struct progress *progress, const struct action *action, const char *ranges)
{
    json_t *json = ranges != NULL ? json_loads(ranges, 0, NULL) : NULL;
    enum err err = progress_lose(progress, action, json, "lost");

    json_decref(json);
    return err;
}

/* What is over or known stays so. */
static void test_lost_calls(void **state)
{
    static const char *const bad[] = {"[]",    "[1]",     "[0,8]",         "[-1,2]",
                                      "[3,2]", "[0,1,2]", "[0,1,\"a\",3]", "{}"};
    struct action *action = new_action();
    struct progress progress = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(lose(&progress, action, bad[i]), ERR_MALFORMED);
        assert_false(progress_started(&progress));
    }
    fill(&progress, action);
    assert_int_equal(lose(&progress, action, "[0,3,5,6]"), OK);
    assert_false(progress.ending.unknown); /* none of these was open */
    assert_int_equal(lose(&progress, action, "[3,5]"), OK);
    assert_true(progress.ending.unknown);
    assert_string_equal(progress.ending.detail, "lost");
    assert_int_equal(progress.ending.upstream_status, 0);
    assert_int_equal(progress.devices[3], DEVICE_KNOWN);
    assert_int_equal(progress.devices[4], DEVICE_OVER);
    assert_int_equal(progress_open(&progress, action), 1);
    assert_int_equal(lose(&progress, action, NULL), OK);
    assert_int_equal(progress_open(&progress, action), 0);
    progress_done(&progress);
    action_unref(action);
}

static void same_progress(const struct progress *got, const struct progress *wanted)
{
    assert_int_equal(got->count, wanted->count);
    for (size_t i = 0; i < got->count; i++) {
        assert_int_equal(got->devices[i], wanted->devices[i]);
        assert_int_equal(got->items[i].status, wanted->items[i].status);
        assert_string_equal(got->items[i].command_id, wanted->items[i].command_id);
    }
    assert_int_equal(got->ending.failed, wanted->ending.failed);
    assert_int_equal(got->ending.unknown, wanted->ending.unknown);
    assert_int_equal(got->ending.problem, wanted->ending.problem);
    assert_int_equal(got->ending.upstream_status, wanted->ending.upstream_status);
    assert_int_equal(got->ending.detail != NULL, wanted->ending.detail != NULL);
    if (got->ending.detail != NULL) {
        assert_string_equal(got->ending.detail, wanted->ending.detail);
    }
}

static void assert_round_trip(const struct progress *progress, const struct action *action)
{
    struct progress read = {0};
    char *text = progress_write(progress);

    assert_int_equal(progress_read(&read, action, text), OK);
    same_progress(&read, progress);
    free(text);
    progress_done(&read);
}

static void test_written_and_read_back(void **state)
{
    static const size_t first[] = {0};
    static const size_t last[] = {7};
    struct action *action = new_action();
    struct progress progress = {0};

    (void)state;
    assert_null(progress_write(&progress));
    progress_know(&progress, action, first, places, 1, answered, 200);
    assert_round_trip(&progress, action);
    fill(&progress, action);
    assert_text(progress_write(&progress),
                "{\"devices\":[[0,1,1],[2,2,-1,\"cmd-\\\"7\\\"\"],[3,3,0],[5,6]],"
                "\"failed\":true,\"unknown\":false,\"problem\":\"upstream-rejected\","
                "\"upstream_status\":400,\"detail\":\"It said \\\"no\\\".\"}");
    assert_round_trip(&progress, action);
    progress_fail(&progress, action, last, 1, &unknown);
    assert_round_trip(&progress, action);
    progress_done(&progress);
    action_unref(action);
}

/* Anything that this program does not write is refused as a whole. */
static void test_malformed(void **state)
{
#define END ",\"failed\":false,\"unknown\":false,\"upstream_status\":200}"
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "{\"devices\":[]" END,
        "{\"devices\":[[0,8]]" END,
        "{\"devices\":[[0]]" END,
        "{\"devices\":[[0,1,2]]" END,
        "{\"devices\":[[0,1,-2]]" END,
        "{\"devices\":[[0,1,\"1\"]]" END,
        "{\"devices\":[[0,1,1,7]]" END,
        "{\"devices\":[[0,1,4294967297]]" END,
        "{\"devices\":[0,1]" END,
        "{\"devices\":[[0,1]],\"failed\":false,\"unknown\":false}",
        "{\"devices\":[[0,1]],\"failed\":true,\"unknown\":false,\"upstream_status\":0}",
        "{\"devices\":[[0,1]],\"failed\":true,\"unknown\":false,\"upstream_status\":0,"
        "\"problem\":\"no such\"}",
    };
    char command[ANSWER_COMMAND_ID_SIZE + 1];
    char text[300];
    struct action *action = new_action();
    struct progress progress = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(progress_read(&progress, action, bad[i]), ERR_MALFORMED);
        assert_false(progress_started(&progress));
    }
    memset(command, 'x', sizeof(command) - 1);
    command[sizeof(command) - 1] = '\0';
    (void)snprintf(text, sizeof(text), "{\"devices\":[[0,1,1,\"%s\"]]" END, command);
    assert_int_equal(progress_read(&progress, action, text), ERR_MALFORMED);
    (void)snprintf(text, sizeof(text), "{\"devices\":[[0,1,1,\"%s\"]]" END, command + 1);
    assert_int_equal(progress_read(&progress, action, text), OK);
    progress_done(&progress);
    action_unref(action);
}

int main(void)
{
    static const struct CMUnitTest suite[] = {
        cmocka_unit_test(test_outcomes),  cmocka_unit_test(test_unknown_stays),
        cmocka_unit_test(test_ranges),    cmocka_unit_test(test_lost_calls),
        cmocka_unit_test(test_malformed), cmocka_unit_test(test_written_and_read_back),
    };

    return cmocka_run_group_tests(suite, NULL, NULL);
}
