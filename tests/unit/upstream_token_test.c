/* Tests of upstream/: how the client gets its token, loses it, and gets another. */
#include "common/memory.h"
#include "upstream_fixture.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void test_401_refreshes_the_token_once_for_all(void **state)
{
    struct fixture *fixture = fixture_new();

    (void)state;
    fixture->server->valid_token = 2; /* the one we hold is refused */
    start_call(fixture);
    start_call(fixture);
    WAIT_UNTIL(fixture, fixture->outcomes.count == 2 && upstream_ready(fixture->upstream));
    assert_int_equal(fixture->outcomes.last.result, UPSTREAM_FAILED);
    assert_true(fixture->outcomes.last.token_rejected);
    assert_int_equal(fixture->outcomes.last.status, 401);
    assert_int_equal(fixture->server->tokens, 2);
    assert_int_equal(fixture->refreshed, 2);
    assert_int_equal(call(fixture, (struct step){ANSWER, KEEP})->result, UPSTREAM_OK);
    assert_int_equal(fixture->server->tokens, 2);
    assert_int_equal(fixture->server->actions, 1);
    fixture_free(fixture);
}

static void test_a_late_401_says_nothing_about_the_new_token(void **state)
{
    struct fixture *fixture = fixture_new();

    (void)state;
    fixture->server->action = (struct step){HANG, NULL};
    start_call(fixture);
    WAIT_UNTIL(fixture, fixture->server->actions == 1);
    fixture->server->valid_token = 2;
    start_call(fixture);
    WAIT_UNTIL(fixture, fixture->outcomes.count == 1);
    assert_false(upstream_ready(fixture->upstream));
    WAIT_UNTIL(fixture, fixture->refreshed == 2);
    release(fixture->server, EMPTY("401 No"));
    WAIT_UNTIL(fixture, fixture->outcomes.count == 2);
    assert_true(fixture->outcomes.last.token_rejected);
    assert_true(upstream_ready(fixture->upstream));
    assert_int_equal(fixture->server->tokens, 2);
    fixture_free(fixture);
}

static void test_a_call_without_a_token_sends_nothing(void **state)
{
    struct fixture *fixture = fixture_prepare(NULL);
    const struct upstream_outcome *outcome;

    (void)state;
    fixture->server->token = (struct step){HANG, NULL};
    assert_int_equal(fixture_try(fixture, NULL), OK);
    outcome = call(fixture, (struct step){ANSWER, KEEP});
    assert_int_equal(outcome->result, UPSTREAM_FAILED);
    assert_true(outcome->nothing_sent);
    assert_int_equal(fixture->server->actions, 0);
    fixture_free(fixture);
}

static void test_tokens_that_cannot_be_had(void **state)
{
    static const struct {
        struct step step;
        const char *detail;
    } cases[] = {
        {{ANSWER, EMPTY("401 No")},
         "the token endpoint answered 401: check client_id and the client secret file"},
        {{ANSWER, EMPTY("400 No")},
         "the token endpoint answered 400: check client_id and the client secret file"},
        {{ANSWER, EMPTY("302 Go\r\nLocation: http://127.0.0.1:1/")},
         "the token endpoint answered 302"},
        {{ANSWER, EMPTY("500 No")}, "the token endpoint answered 500"},
        {{ENDLESS, "HTTP/1.1 200 OK\r\n\r\n{\"access_token\":\""},
         "the token endpoint's answer is too long"},
        {{RESET, NULL}, "no answer from the token endpoint: "},
        {{ANSWER_AND_CLOSE, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"},
         "no answer from the token endpoint: "},
        {{ANSWER_AND_CLOSE, "HTTP/1.1 200 OK\r\n\r\nTOKEN"},
         "the token endpoint answered 200, but not with JSON"},
        {{ANSWER_AND_CLOSE, "HTTP/1.1 200 OK\r\n\r\n{\"token\":\"TOKEN\"}"},
         "the token endpoint answered without a usable access_token"},
        {{ANSWER_AND_CLOSE, "HTTP/1.1 200 OK\r\n\r\n{\"access_token\":\"\"}"},
         "the token endpoint answered without a usable access_token"},
        {{ANSWER_AND_CLOSE, "HTTP/1.1 200 OK\r\n\r\n{\"access_token\":\"TOKEN\\r\\nX: y\"}"},
         "the token endpoint answered without a usable access_token"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture *fixture = fixture_prepare(NULL);

        fixture->server->token = cases[i].step;
        fixture_start(fixture);
        assert_int_equal(fixture->failed, 1);
        assert_false(upstream_ready(fixture->upstream));
        if (strncmp(fixture->detail, cases[i].detail, strlen(cases[i].detail)) != 0) {
            fail_msg("case %zu: %s", i, fixture->detail);
        }
        assert_int_equal(fixture->server->tokens, 1);
        fixture_free(fixture);
    }
}

static void test_expiry_is_told(void **state)
{
    struct fixture *fixture = fixture_prepare(NULL);
    int64_t before = clock_wall_ms();

    (void)state;
    fixture->server->lifetime = ",\"expires_in\":3600";
    fixture_start(fixture);
    assert_in_range(fixture->expires_wall_ms, before + 3600000, clock_wall_ms() + 3600000);
    fixture_free(fixture);
}

static struct fixture *token_file_fixture(const char *token, int valid)
{
    struct fixture *fixture = fixture_prepare(NULL);

    fixture->options.access_token_file = fixture->token_file;
    fixture->server->valid_token = valid;
    write_file(fixture->token_file, token, 0600);
    fixture_start(fixture);
    assert_true(upstream_ready(fixture->upstream));
    return fixture;
}

/* These wait for timers of a second, so they wait together. */
static void test_what_takes_a_second(void **state)
{
    struct fixture *aging = fixture_prepare(NULL);
    struct fixture *failing = fixture_prepare(NULL);
    struct fixture *replaced = token_file_fixture(" TOKEN/7\n", 8);
    struct fixture *opened = token_file_fixture("TOKEN/7", 7);
    struct fixture *const all[] = {aging, failing, replaced, opened};
    int64_t start_ms;

    (void)state;
    assert_int_equal(call(replaced, (struct step){ANSWER, KEEP})->status, 401);
    assert_false(upstream_ready(replaced->upstream));
    write_file(replaced->token_file, "TOKEN/8\n", 0600);
    assert_int_equal(chmod(opened->token_file, 0644), 0);
    aging->server->lifetime = ",\"expires_in\":1.0";
    fixture_start(aging);
    failing->server->token = (struct step){ANSWER, EMPTY("503 No")};
    fixture_start(failing);
    start_ms = clock_boot_ms();
    failing->server->token = (struct step){ANSWER, NULL};

    while (aging->refreshed < 2 || failing->refreshed < 1 || replaced->refreshed < 2 ||
           opened->failed < 1) {
        for (size_t i = 0; i < ARRAY_LEN(all); i++) {
            assert_int_not_equal(event_base_loop(all[i]->base, EVLOOP_NONBLOCK), -1);
        }
        assert_true(upstream_ready(failing->upstream) == (failing->refreshed > 0));
        assert_true(upstream_ready(replaced->upstream) == (replaced->refreshed > 1));
        assert_true(upstream_ready(opened->upstream)); /* with what it read before */
        assert_true(clock_boot_ms() < start_ms + GUARD_MS);
        (void)usleep(1000);
    }
    assert_true(clock_boot_ms() >= start_ms + 999);
    assert_int_equal(failing->server->tokens, 2);
    assert_int_equal(aging->failed, 0);
    assert_int_equal(call(aging, (struct step){ANSWER, KEEP})->result, UPSTREAM_OK);
    assert_non_null(strstr(aging->server->last_action, "TOKEN%2F2"));
    assert_int_equal(call(replaced, (struct step){ANSWER, KEEP})->result, UPSTREAM_OK);
    assert_non_null(strstr(opened->detail, "chmod 600"));
    assert_int_equal(call(opened, (struct step){ANSWER, KEEP})->result, UPSTREAM_OK);
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        fixture_free(all[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_401_refreshes_the_token_once_for_all),
        cmocka_unit_test(test_a_late_401_says_nothing_about_the_new_token),
        cmocka_unit_test(test_a_call_without_a_token_sends_nothing),
        cmocka_unit_test(test_tokens_that_cannot_be_had),
        cmocka_unit_test(test_expiry_is_told),
        cmocka_unit_test(test_what_takes_a_second),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
