/* Tests of upstream/answer.c. */
#include "upstream/answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
/* cmocka.h needs those before it. */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const ids[] = {"b", "a", "HWID123"};
static const char *const macs[] = {"00:0c:29:cd:c7:b2", "00:0c:29:cd:c7:b1"};

static struct answer read_good(const char *body, const char *const *asked, size_t count, bool mac)
{
    struct answer answer;
    struct error error;

    if (answer_read(body, strlen(body), asked, count, mac, &answer, &error) != OK) {
        fail_msg("%s: %s", body, error.text);
    }
    return answer;
}

static void test_results_come_in_the_order_asked(void **state)
{
    struct answer answer = read_good("[{\"id\":\"HWID123\",\"status\":-1},"
                                     "{\"id\":\"a\",\"status\":1,\"command_id\":\"c-7\"},"
                                     "{\"id\":\"b\",\"status\":0,\"command_id\":\"\",\"x\":[]}]",
                                     ids, 3, false);

    (void)state;
    assert_int_equal(answer.items[0].status, 0);
    assert_int_equal(answer.items[1].status, 1);
    assert_string_equal(answer.items[1].command_id, "c-7");
    assert_int_equal(answer.items[2].status, -1);
    assert_string_equal(answer.items[2].command_id, "");
    assert_int_equal(answer.missing, 0);
    assert_int_equal(answer.foreign, 0);
    answer_done(&answer);
}

static void test_missing_foreign_and_repeated_items(void **state)
{
    struct answer answer =
        read_good("[{\"id\":\"a\",\"status\":1},{\"id\":\"a\",\"status\":0},"
                  "{\"id\":\"hwid123\",\"status\":1},{\"id\":\"\",\"status\":1}]",
                  ids, 3, false);

    (void)state;
    assert_int_equal(answer.items[1].status, 1); /* the first one counts */
    assert_int_equal(answer.items[0].status, 0);
    assert_int_equal(answer.items[2].status, 0); /* ids are case-sensitive */
    assert_int_equal(answer.missing, 2);
    assert_int_equal(answer.foreign, 3);
    answer_done(&answer);
}

static void test_macs_may_be_spelled_in_any_way(void **state)
{
    struct answer answer = read_good("[{\"id\":\"00-0C-29-CD-C7-B1\",\"status\":1},"
                                     "{\"id\":\"000c29cdc7b2\",\"status\":-1},"
                                     "{\"id\":\"no mac\",\"status\":1}]",
                                     macs, 2, true);

    (void)state;
    assert_int_equal(answer.items[0].status, -1);
    assert_int_equal(answer.items[1].status, 1);
    assert_int_equal(answer.missing, 0);
    assert_int_equal(answer.foreign, 1);
    answer_done(&answer);
}

static void test_one_wrapping_object_is_taken(void **state)
{
    struct answer answer = read_good("{\"devices\":[{\"id\":\"a\",\"status\":1}]}", ids, 3, false);

    (void)state;
    assert_int_equal(answer.items[1].status, 1);
    assert_int_equal(answer.missing, 2);
    answer_done(&answer);
}

static void test_an_empty_array_answers_nobody(void **state)
{
    struct answer answer = read_good("[]", ids, 3, false);

    (void)state;
    assert_int_equal(answer.missing, 3);
    answer_done(&answer);
}

static void test_nonsense_is_malformed_and_not_quoted(void **state)
{
    static const char *const bodies[] = {
        "",
        "TOKEN",
        "null",
        "{}",
        "\"TOKEN\"",
        "[{\"id\":\"a\",\"status\":1}",
        "[{\"id\":\"a\",\"status\":1}]]",
        "[{\"id\":\"a\",\"status\":1}] TOKEN",
        "[{\"id\":\"a\",\"status\":2}]",
        "[{\"id\":\"a\",\"status\":-2}]",
        "[{\"id\":\"a\",\"status\":1.0}]",
        "[{\"id\":\"a\",\"status\":\"1\"}]",
        "[{\"id\":\"a\",\"status\":true}]",
        "[{\"id\":\"a\",\"status\":null}]",
        "[{\"id\":\"a\",\"status\":99999999999999999999}]",
        "[{\"id\":\"a\"}]",
        "[{\"status\":1}]",
        "[{\"id\":7,\"status\":1}]",
        "[[]]",
        "[1]",
        "[{\"id\":\"TOKEN\",\"status\":7}]",
        "[{\"id\":\"a\",\"status\":1,\"status\":0}]",
        "[{\"id\":\"a\",\"status\":1,\"command_id\":7}]",
        "[{\"id\":\"a\",\"status\":1,\"command_id\":\"TOKEN\\u001b[1m\"}]",
        "[{\"id\":\"a\\u0000\",\"status\":1}]",
        "[{\"id\":\"\xff\",\"status\":1}]",
        "{\"id\":\"a\",\"status\":1}",
        "{\"devices\":{\"id\":\"a\",\"status\":1}}",
        "{\"devices\":[],\"more\":[]}",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct answer answer = {.foreign = 77};
        struct error error = {.code = OK};
        enum err err =
            answer_read(bodies[i], strlen(bodies[i]), ids, ARRAY_LEN(ids), false, &answer, &error);

        if (err != ERR_MALFORMED) {
            fail_msg("taken for good: %s", bodies[i]);
        }
        assert_int_equal(answer.foreign, 77);
        assert_int_equal(error.code, ERR_MALFORMED);
        assert_null(strstr(error.text, "TOKEN"));
    }
}

static void test_a_command_id_has_a_bound(void **state)
{
    char body[512];
    char id[ANSWER_COMMAND_ID_SIZE + 1];
    struct answer answer;

    (void)state;
    memset(id, 'x', sizeof(id));
    id[ANSWER_COMMAND_ID_SIZE - 1] = '\0';
    (void)snprintf(body, sizeof(body), "[{\"id\":\"a\",\"status\":1,\"command_id\":\"%s\"}]", id);
    answer = read_good(body, ids, 3, false);
    assert_string_equal(answer.items[1].command_id, id);
    answer_done(&answer);
    (void)snprintf(body, sizeof(body), "[{\"id\":\"a\",\"status\":1,\"command_id\":\"%sx\"}]", id);
    assert_int_equal(answer_read(body, strlen(body), ids, 3, false, &answer, NULL), ERR_MALFORMED);
}

/* Random subsets in random order: each device gets its own result and nobody else's. */
static void test_random_answers_are_assigned_rightly(void **state)
{
    enum { COUNT = 40 };
    char names[COUNT][8];
    const char *asked[COUNT];

    (void)state;
    srand(7);
    for (int i = 0; i < COUNT; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "d%d", (i * 17) % COUNT);
        asked[i] = names[i];
    }
    for (int round = 0; round < 200; round++) {
        int status[COUNT * 2];
        char body[8192] = "[";
        size_t len = 1;
        size_t given = 0;
        size_t foreign = 0;
        int start = rand() % (COUNT * 2);
        struct answer answer;

        for (int i = 0; i < COUNT * 2; i++) {
            int device = (start + i * 3) % (COUNT * 2); /* 3 and 80 share no factor */
            status[device] = rand() % 4 - 1;
            if (status[device] == 2) {
                continue; /* left out */
            }
            given += device < COUNT;
            foreign += device >= COUNT;
            len +=
                (size_t)snprintf(body + len, sizeof(body) - len, "%s{\"id\":\"d%d\",\"status\":%d}",
                                 len > 1 ? "," : "", device, status[device]);
        }
        (void)snprintf(body + len, sizeof(body) - len, "]");
        answer = read_good(body, asked, COUNT, false);
        for (int i = 0; i < COUNT; i++) {
            int expected = status[(i * 17) % COUNT];
            assert_int_equal(answer.items[i].status, expected == 2 ? 0 : expected);
        }
        assert_int_equal(answer.missing, COUNT - given);
        assert_int_equal(answer.foreign, foreign);
        answer_done(&answer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_results_come_in_the_order_asked),
        cmocka_unit_test(test_missing_foreign_and_repeated_items),
        cmocka_unit_test(test_macs_may_be_spelled_in_any_way),
        cmocka_unit_test(test_one_wrapping_object_is_taken),
        cmocka_unit_test(test_an_empty_array_answers_nobody),
        cmocka_unit_test(test_nonsense_is_malformed_and_not_quoted),
        cmocka_unit_test(test_a_command_id_has_a_bound),
        cmocka_unit_test(test_random_answers_are_assigned_rightly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
