/* Tests of upstream/: calls, and the life of the client, against a scripted server. */
#include "common/memory.h"
#include "upstream_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Calls ---- */

static void test_a_good_call(void **state)
{
    struct fixture *fixture = fixture_new();
    const struct upstream_outcome *outcome = call(fixture, (struct step){ANSWER, KEEP});
    const char *request = fixture->server->last_action;
    const char *form = strstr(fixture->server->last_token, "\r\n\r\n") + 4;

    (void)state;
    assert_int_equal(outcome->result, UPSTREAM_OK);
    assert_true(outcome->answered);
    assert_false(outcome->nothing_sent);
    assert_int_equal(outcome->status, 200);
    assert_int_equal(outcome->rate_limit, -1);
    assert_int_equal(fixture->outcomes.items[0].status, 1);
    assert_string_equal(fixture->outcomes.items[0].command_id, "c1");
    assert_int_equal(fixture->outcomes.items[1].status, 0);
    assert_int_equal(fixture->server->actions, 1);

    assert_ptr_equal(
        strstr(request, "POST /o/api/v3.1/devices/action?access_token=TOKEN%2F1 HTTP/1.1\r\n"),
        request);
    assert_non_null(strstr(request, "\r\nContent-Type: application/json\r\n"));
    assert_non_null(strstr(request, "\r\n\r\n" BODY));
    assert_null(strcasestr(request, "Expect"));
    assert_null(strcasestr(request, "Accept-Encoding"));
    assert_null(strcasestr(request, "Transfer-Encoding"));

    assert_non_null(strstr(form, "grant_type=client_credentials"));
    assert_non_null(strstr(form, "client_id=the%20client"));
    assert_non_null(strstr(form, "client_secret=s3cr3t%2F%2B%26%3Dvalue"));
    assert_int_equal(fixture->expires_wall_ms, 0);
    fixture_free(fixture);
}

#define CHUNKED "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3f\r\n" ITEMS "\r\n"
#define ENCODED(encoding)                                                                          \
    "HTTP/1.1 200 OK\r\nContent-Encoding: " encoding "\r\nContent-Length: " ITEMS_LEN              \
    "\r\n\r\n" ITEMS
#define INTERIM "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nContent-Encoding: gzip\r\n\r\n"
#define STREAM  "HTTP/1.1 200 OK\r\n\r\n"

/* Whatever the server does, each call reaches it once, on one connection. */
static void test_what_becomes_of_a_call(void **state)
{
    static const struct {
        enum how how;
        const char *text;
        enum upstream_result result;
        int status;
    } cases[] = {
        {ANSWER, KEEP, UPSTREAM_OK, 200},
        {ANSWER_AND_CLOSE, KEEP, UPSTREAM_OK, 200},
        {BYTES, KEEP, UPSTREAM_OK, 200},
        {BYTES, CHUNKED "0\r\n\r\n", UPSTREAM_OK, 200},
        {ANSWER_AND_CLOSE, STREAM ITEMS, UPSTREAM_OK, 200},
        {ANSWER, INTERIM KEEP, UPSTREAM_OK, 200},
        {ANSWER, ENCODED("identity"), UPSTREAM_OK, 200},
        /* executed, and no answer */
        {RESET, NULL, UPSTREAM_UNKNOWN, 0},
        {ANSWER_AND_CLOSE, "", UPSTREAM_UNKNOWN, 0},
        {ANSWER_AND_CLOSE, "HTT", UPSTREAM_UNKNOWN, 0},
        {ANSWER_AND_CLOSE, INTERIM, UPSTREAM_UNKNOWN, 0},
        {ANSWER_AND_CLOSE, "hello, world\r\n\r\n", UPSTREAM_UNKNOWN, 0},
        {ANSWER_AND_CLOSE, ITEMS, UPSTREAM_UNKNOWN, 0},
        /* an answer that is none */
        {ANSWER_AND_CLOSE, "HTTP/1.1 200 OK\r\n", UPSTREAM_UNKNOWN, 200},
        {ANSWER_AND_CLOSE, "HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" ITEMS, UPSTREAM_UNKNOWN,
         200},
        {ANSWER_AND_CLOSE, CHUNKED, UPSTREAM_UNKNOWN, 200},
        {ANSWER_AND_CLOSE, STREAM "[{\"id\":\"a\",\"status\":1}", UPSTREAM_UNKNOWN, 200},
        {ANSWER_AND_CLOSE, STREAM "null", UPSTREAM_UNKNOWN, 200},
        {ANSWER_AND_CLOSE, STREAM "<html>", UPSTREAM_UNKNOWN, 200},
        {ANSWER, EMPTY("200 OK"), UPSTREAM_UNKNOWN, 200},
        {ANSWER, ENCODED("gzip"), UPSTREAM_UNKNOWN, 200},
        {ANSWER_AND_CLOSE, "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n" ITEMS,
         UPSTREAM_UNKNOWN, 200},
        {ENDLESS, STREAM "[", UPSTREAM_UNKNOWN, 200},
        {ENDLESS, "HTTP/1.1 200 OK\r\nX: ", UPSTREAM_UNKNOWN, 200},
        {ANSWER, "HTTP/1.1 202 OK\r\nContent-Length: " ITEMS_LEN "\r\n\r\n" ITEMS, UPSTREAM_UNKNOWN,
         202},
        {ANSWER, "HTTP/1.1 204 None\r\n\r\n", UPSTREAM_UNKNOWN, 204},
        /* refused */
        {ANSWER, EMPTY("302 Go\r\nLocation: http://127.0.0.1:1/"), UPSTREAM_FAILED, 302},
        {ANSWER, EMPTY("307 Go\r\nLocation: /o/api/v3.1/devices/action"), UPSTREAM_FAILED, 307},
        {ANSWER, EMPTY("400 No"), UPSTREAM_FAILED, 400},
        {ANSWER, EMPTY("407 No\r\nProxy-Authenticate: Basic"), UPSTREAM_FAILED, 407},
        {ANSWER, EMPTY("417 No"), UPSTREAM_FAILED, 417},
        {ANSWER_AND_CLOSE, "HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nTOKEN/1", UPSTREAM_FAILED,
         500},
        {ENDLESS, "HTTP/1.1 503 No\r\n\r\n", UPSTREAM_FAILED, 503},
        /* a proxy speaks */
        {ANSWER, EMPTY("502 No"), UPSTREAM_UNKNOWN, 502},
        {ANSWER, EMPTY("504 No"), UPSTREAM_UNKNOWN, 504},
    };
    struct fixture *fixture = fixture_new();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int connections = fixture->server->accepted;
        int executed = fixture->server->actions;
        const struct upstream_outcome *outcome =
            call(fixture, (struct step){cases[i].how, cases[i].text});

        if (outcome->result != cases[i].result || outcome->status != cases[i].status ||
            outcome->answered != (cases[i].status != 0) || outcome->nothing_sent ||
            outcome->token_rejected) {
            fail_msg("case %zu: result %d, status %d: %s", i, (int)outcome->result, outcome->status,
                     fixture->outcomes.detail);
        }
        assert_int_equal(fixture->server->actions, executed + 1);
        assert_int_equal(fixture->server->accepted, connections + 1);
    }
    assert_int_equal(fixture->server->tokens, 1);
    fixture_free(fixture);
}

static void test_a_hanging_server_is_left_after_the_timeout(void **state)
{
    struct fixture *fixture = fixture_prepare(NULL);
    const struct upstream_outcome *outcome;

    (void)state;
    fixture->options.timeout_ms = 100;
    fixture_start(fixture);
    outcome = call(fixture, (struct step){HANG, NULL});
    assert_int_equal(outcome->result, UPSTREAM_UNKNOWN);
    assert_false(outcome->answered);
    outcome = call(fixture, (struct step){ANSWER, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n["});
    assert_int_equal(outcome->result, UPSTREAM_UNKNOWN);
    assert_true(outcome->answered);
    assert_int_equal(fixture->server->actions, 2);
    fixture_free(fixture);
}

static void test_a_connection_that_dies_before_the_request_is_read(void **state)
{
    struct fixture *fixture = fixture_new();

    (void)state;
    for (int i = 0; i < 20; i++) {
        const struct upstream_outcome *outcome;
        int connections = fixture->server->accepted;

        fixture->server->refuse_accepted = 1;
        outcome = call(fixture, (struct step){ANSWER, KEEP});
        /* Which of the two depends on how far it came; it never goes twice. */
        assert_true(outcome->result == UPSTREAM_UNKNOWN ||
                    (outcome->result == UPSTREAM_FAILED && outcome->nothing_sent));
        assert_false(outcome->answered);
        assert_int_equal(fixture->server->accepted, connections + 1);
        assert_int_equal(fixture->server->actions, 0);
    }
    fixture_free(fixture);
}

static void test_a_long_body_arrives_whole_or_is_unknown(void **state)
{
    struct fixture *fixture = fixture_new();

    (void)state;
    check_long_body(fixture);
    fixture_free(fixture);
}

static void test_headers_have_a_bound(void **state)
{
    static const char line[] = "X-Filler: 0123456789012345678901234567890123456789\r\n";
    struct fixture *fixture = fixture_new();
    char *text = xcalloc(2001, sizeof(line));
    size_t len = (size_t)sprintf(text, "HTTP/1.1 200 OK\r\n");

    (void)state;
    for (size_t i = 0; i < 2000; i++) {
        memcpy(text + len, line, sizeof(line));
        len += sizeof(line) - 1;
    }
    memcpy(text + len, "\r\n" ITEMS, sizeof("\r\n" ITEMS));
    assert_int_equal(call(fixture, (struct step){ANSWER_AND_CLOSE, text})->result,
                     UPSTREAM_UNKNOWN);
    assert_non_null(strstr(fixture->outcomes.detail, "too long"));
    free(text);
    fixture_free(fixture);
}

static void test_a_refused_connection_sends_nothing(void **state)
{
    struct fixture *fixture = fixture_new();
    const struct upstream_outcome *outcome;

    (void)state;
    stop_listening(fixture->server);
    outcome = call(fixture, (struct step){ANSWER, KEEP});
    assert_int_equal(outcome->result, UPSTREAM_FAILED);
    assert_true(outcome->nothing_sent);
    assert_false(outcome->answered);
    assert_int_equal(outcome->rate_remaining, -1);
    fixture_free(fixture);
}

static void test_rate_headers_of_a_429(void **state)
{
    struct fixture *fixture = fixture_new();
    const struct upstream_outcome *outcome = call(
        fixture, (struct step){ANSWER, EMPTY("429 Slow\r\nX-RateLimit-Limit: 10\r\n"
                                             "X-RateLimit-Remaining: 0\r\n"
                                             "X-RateLimit-Reset-Time: 17\r\nRetry-After: 21")});

    (void)state;
    assert_int_equal(outcome->result, UPSTREAM_FAILED);
    assert_int_equal(outcome->status, 429);
    assert_int_equal(outcome->rate_limit, 10);
    assert_int_equal(outcome->rate_remaining, 0);
    assert_int_equal(outcome->rate_reset_s, 17);
    assert_int_equal(outcome->retry_after_s, 21);
    fixture_free(fixture);
}

static void test_an_echoed_secret_is_scrubbed(void **state)
{
    static const char *const echoes[] = {"TOKEN/1", "\\u0054OKEN\\/1", "x" SECRET "x"};
    struct fixture *fixture = fixture_new();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(echoes); i++) {
        char body[256];
        char text[512];

        (void)snprintf(body, sizeof(body),
                       "[{\"id\":\"a\",\"status\":1,\"command_id\":\"%s\"},"
                       "{\"id\":\"%s\",\"status\":1}]",
                       echoes[i], echoes[i]);
        (void)snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
                       strlen(body), body);
        assert_int_equal(call(fixture, (struct step){ANSWER, text})->result, UPSTREAM_OK);
        assert_null(strstr(fixture->outcomes.items[0].command_id, "TOKEN"));
        assert_null(strstr(fixture->outcomes.items[0].command_id, "s3cr3t"));
        assert_non_null(strstr(fixture->outcomes.items[0].command_id, "*****"));
        assert_int_equal(fixture->outcomes.last.missing, 1);
        assert_int_equal(fixture->outcomes.last.foreign, 1);
    }
    fixture_free(fixture);
}

/* ---- Life ---- */

static void test_wrong_files_and_urls_are_told_at_start(void **state)
{
    struct fixture *fixture = fixture_prepare(NULL);
    struct error error;

    (void)state;
    write_file(fixture->secret_file, SECRET, 0640);
    assert_int_equal(fixture_try(fixture, &error), ERR_DENIED);
    write_file(fixture->secret_file, "\n", 0600);
    assert_int_equal(fixture_try(fixture, &error), ERR_INVALID);
    (void)unlink(fixture->secret_file);
    assert_int_equal(fixture_try(fixture, &error), ERR_NOT_FOUND);

    fixture->options.access_token_file = fixture->token_file;
    assert_int_equal(fixture_try(fixture, &error), ERR_NOT_FOUND);
    write_file(fixture->token_file, "two words", 0600);
    assert_int_equal(fixture_try(fixture, &error), ERR_INVALID);
    assert_null(strstr(error.text, "two words"));
    write_file(fixture->token_file, "TOKEN/1", 0600);

    fixture->options.ca_file = fixture->ca_file;
    assert_int_equal(fixture_try(fixture, &error), ERR_INVALID);
    write_file(fixture->ca_file, "no certificate", 0644);
    assert_int_equal(fixture_try(fixture, &error), ERR_INVALID);
    fixture->options.ca_file = NULL;

    fixture->options.token_url = "http://evil.example/";
    assert_int_equal(fixture_try(fixture, &error), ERR_INVALID);
    assert_non_null(strstr(error.text, "token_url: "));
    fixture->options.base_url = "http://evil.example/";
    assert_int_equal(fixture_try(fixture, &error), ERR_INVALID);
    assert_non_null(strstr(error.text, "base_url: "));
    fixture_free(fixture);
}

static void test_free_aborts_without_calling_back(void **state)
{
    struct fixture *fixture = fixture_new();

    (void)state;
    fixture->server->action = (struct step){HANG, NULL};
    start_call(fixture);
    start_call(fixture);
    WAIT_UNTIL(fixture, fixture->server->actions == 2);
    start_call(fixture); /* not even connected */
    upstream_free(TAKE(fixture->upstream));
    release(fixture->server, KEEP);
    assert_int_not_equal(event_base_loop(fixture->base, EVLOOP_NONBLOCK), -1);
    assert_int_equal(fixture->outcomes.count, 0);

    /* While the token is being fetched, with a call that waits for its refusal. */
    fixture->server->token = (struct step){HANG, NULL};
    assert_int_equal(fixture_try(fixture, NULL), OK);
    WAIT_UNTIL(fixture, fixture->server->tokens == 2);
    start_call(fixture);
    upstream_free(TAKE(fixture->upstream));
    assert_int_not_equal(event_base_loop(fixture->base, EVLOOP_NONBLOCK), -1);
    assert_int_equal(fixture->outcomes.count, 0);
    fixture_free(fixture);
}

static void test_free_from_inside_a_callback(void **state)
{
    struct fixture *fixture = fixture_new();

    (void)state;
    fixture->outcomes.free_this = &fixture->upstream;
    fixture->server->valid_token = 2;
    start_call(fixture);
    start_call(fixture);
    start_call(fixture);
    WAIT_UNTIL(fixture, fixture->outcomes.count > 0);
    assert_int_not_equal(event_base_loop(fixture->base, EVLOOP_NONBLOCK), -1);
    assert_int_equal(fixture->outcomes.count, 1);
    fixture_free(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_good_call),
        cmocka_unit_test(test_what_becomes_of_a_call),
        cmocka_unit_test(test_a_hanging_server_is_left_after_the_timeout),
        cmocka_unit_test(test_a_connection_that_dies_before_the_request_is_read),
        cmocka_unit_test(test_a_long_body_arrives_whole_or_is_unknown),
        cmocka_unit_test(test_headers_have_a_bound),
        cmocka_unit_test(test_a_refused_connection_sends_nothing),
        cmocka_unit_test(test_rate_headers_of_a_429),
        cmocka_unit_test(test_an_echoed_secret_is_scrubbed),
        cmocka_unit_test(test_wrong_files_and_urls_are_told_at_start),
        cmocka_unit_test(test_free_aborts_without_calling_back),
        cmocka_unit_test(test_free_from_inside_a_callback),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
