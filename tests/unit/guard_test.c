/* Guard: what it lets through, what it refuses, and in which order the answers come. */
#include "common/memory.h"
#include "guard_fixture.h"

#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define CHUNKED "POST /c HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"

static const char good[] = "GET /1 HTTP/1.1\r\n" HOST "\r\n"
                           "POST /2 HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\nGET "
                           "POST /3 HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                           "5\r\nhello\r\n00006\r\n world\r\n0\r\n\r\n"
                           "DELETE /4?x=y HTTP/1.1\r\n" HOST "\r\n"
                           "GET /5 HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n"
                           "PATCH /6 HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\nx"
                           "OPTIONS /7 HTTP/1.1\r\n" HOST "\r\n"
                           "PUT /later HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\ny"
                           "GET /8 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
                           "GET /9 HTTP/1.0\r\n\r\n";

static void expect_good_replies(struct client *client)
{
    static const char *const bodies[] = {"/1 ",  "/2 GET ", "/3 hello world", "/4?x=y ", "/5 ",
                                         "/6 x", "/7 ",     "/later y",       "/8 ",     "/9 "};

    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        expect_reply(client, bodies[i]);
    }
    expect_end(client); /* the last was HTTP/1.0 */
}

static void run_good_requests(bool with_tls)
{
    struct server *server = prepare(with_tls);

    start(server);
    for (size_t piece = 1; piece < sizeof(good); piece = piece * 3) {
        struct client *client = open_client(server);
        for (size_t at = 0; at < sizeof(good) - 1; at += piece) {
            size_t left = sizeof(good) - 1 - at;
            assert_true(send_bytes(client, good + at, left < piece ? left : piece));
        }
        expect_good_replies(client);
        close_client(client);
    }
    assert_int_equal(atomic_load(&server->refused), 0);
    stop(server);
}

static void serves_good_requests(void **state)
{
    (void)state;
    run_good_requests(false);
}

static void serves_good_requests_over_tls(void **state)
{
    (void)state;
    run_good_requests(true);
}

static void *send_many(void *arg)
{
    struct client *client = arg;
    char text[64];

    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof(text), "GET /%d HTTP/1.1\r\n" HOST "\r\n", i);
        send_text(client, text);
    }
    return NULL;
}

static void run_pipeline(bool with_tls)
{
    struct server *server = prepare(with_tls);
    struct client *client;
    char expected[32];

    start(server);
    client = open_client(server);
    send_many(client);
    for (int i = 0; i < 1000; i++) {
        snprintf(expected, sizeof(expected), "/%d ", i);
        expect_reply(client, expected);
    }
    close_client(client);
    stop(server);
}

static void answers_1000_pipelined_requests_in_order(void **state)
{
    (void)state;
    run_pipeline(false);
}

static void answers_1000_pipelined_requests_over_tls(void **state)
{
    (void)state;
    run_pipeline(true);
}

/* One TLS record with many requests: what OpenSSL holds must not be forgotten. */
static void answers_many_requests_in_one_record(void **state)
{
    struct server *server = prepare(true);
    struct client *client;
    char record[16000];
    size_t len = 0;
    int count = 0;

    (void)state;
    start(server);
    client = open_client(server);
    while (len < sizeof(record) - 100) {
        len += (size_t)sprintf(record + len, "GET /%s HTTP/1.1\r\n" HOST "\r\n",
                               count % 100 == 0 ? "later" : "x");
        count++;
    }
    assert_true(send_bytes(client, record, len));
    for (int i = 0; i < count; i++) {
        expect_reply(client, i % 100 == 0 ? "/later " : "/x ");
    }
    close_client(client);
    stop(server);
}

static void answers_late_replies_in_order(void **state)
{
    struct server *server = start_plain();
    struct client *client = open_client(server);

    (void)state;
    for (int i = 0; i < 5; i++) {
        send_text(client, "GET /later HTTP/1.1\r\n" HOST "\r\nGET /now HTTP/1.1\r\n" HOST "\r\n");
    }
    for (int i = 0; i < 5; i++) {
        expect_reply(client, "/later ");
        expect_reply(client, "/now ");
    }
    wait_until(&server->completed, 10);
    close_client(client);
    stop(server);
}

struct bad {
    const char *text;
    int status;
    const char *problem;
};

static const struct bad bads[] = {
    {"GET / HTTP/1.1\n" HOST "\n", 400, "malformed-request"},
    {"GET / HTTP/1.1\r\n\r\n", 400, "malformed-request"},
    {"GET / HTTP/1.1\r\n" HOST HOST "\r\n", 400, "malformed-request"},
    {"GET http://evil/ HTTP/1.1\r\n" HOST "\r\n", 400, "malformed-request"},
    {"GET //evil HTTP/1.1\r\n" HOST "\r\n", 400, "malformed-request"},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "malformed-request"},
    {"HEAD / HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc", 400, "malformed-request"},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400,
     "malformed-request"},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", 400,
     "malformed-request"},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\nabc", 400, "malformed-request"},
    {"GET / HTTP/1.1\r\n" HOST "A: b\r\n c\r\n\r\n", 400, "malformed-request"},
    {"GET / HTTP/1.1\r\n" HOST "Authorization: a\r\nAuthorization: b\r\n\r\n", 400,
     "malformed-request"},
    {"POST / HTTP/1.1\r\n" HOST "Expect: miracles\r\n\r\n", 400, "malformed-request"},
    {CHUNKED "3;x=y\r\nabc\r\n0\r\n\r\n", 400, "malformed-request"},
    {CHUNKED "3\r\nabc\r\n0\r\nTrailer: x\r\n\r\n", 400, "malformed-request"},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 100001\r\n\r\n", 413, "body-too-large"},
    {CHUNKED "3\r\nabc\r\n186a0\r\n", 413, "body-too-large"},
    {"POST / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 100001\r\n\r\n", 413,
     "body-too-large"},
};

static void expect_bad(struct server *server, const char *text, size_t piece, int status,
                       const char *problem)
{
    struct client *client = open_client(server);
    size_t len = strlen(text);

    for (size_t at = 0; at < len; at += piece) {
        /* It may answer and close before all is sent. */
        send_bytes(client, text + at, len - at < piece ? len - at : piece);
    }
    expect_problem(server, client, status, problem);
    close_client(client);
}

static void run_bad_requests(bool with_tls)
{
    struct server *server = prepare(with_tls);

    start(server);
    for (size_t i = 0; i < ARRAY_LEN(bads); i++) {
        expect_bad(server, bads[i].text, SIZE_MAX / 2, bads[i].status, bads[i].problem);
        expect_bad(server, bads[i].text, with_tls ? 30 : 1, bads[i].status, bads[i].problem);
    }
    assert_int_equal(atomic_load(&server->handled), 0);
    assert_int_equal(atomic_load(&server->refused), 2 * ARRAY_LEN(bads));
    stop(server);
}

static void refuses_bad_requests(void **state)
{
    (void)state;
    run_bad_requests(false);
}

static void refuses_bad_requests_over_tls(void **state)
{
    (void)state;
    run_bad_requests(true);
}

static void refuses_large_heads(void **state)
{
    struct server *server = start_plain();
    static char text[300000];
    size_t len;

    (void)state;
    len = (size_t)sprintf(text, "GET / HTTP/1.1\r\n");
    for (int i = 0; i < 65; i++) {
        len += (size_t)sprintf(text + len, "A%d: b\r\n", i);
    }
    expect_bad(server, text, len, 431, "header-too-large");
    memset(text + len, 'x', sizeof(text) - len - 1);
    memcpy(text, "GET / HTTP/1.1\r\nA: ", 19);
    memset(text + 19, 'x', sizeof(text) - 20);
    text[100000] = '\0'; /* much more than we read, and it still reads the answer */
    expect_bad(server, text, 100000, 431, "header-too-large");
    assert_int_equal(atomic_load(&server->handled), 0);
    stop(server);
}

static void refuses_after_the_reply_before(void **state)
{
    struct server *server = start_plain();
    struct client *client = open_client(server);

    (void)state;
    send_text(client, "GET /later HTTP/1.1\r\n" HOST "\r\nGET /x HTTP/1.1\r\n" HOST "\r\n"
                      "GET / HTTP/9.9\r\n\r\nGET /never HTTP/1.1\r\n" HOST "\r\n");
    expect_reply(client, "/later ");
    expect_reply(client, "/x ");
    expect_problem(server, client, 400, "malformed-request");
    assert_int_equal(atomic_load(&server->handled), 2);
    close_client(client);
    stop(server);
}

/* Whatever target the framer accepts, evhttp must not answer by itself. */
static void evhttp_takes_every_target(void **state)
{
    struct server *server = start_plain();
    struct client *client = open_client(server);
    char text[128];
    char expected[64];

    (void)state;
    for (int byte = '!'; byte <= '~'; byte++) {
        if (byte != '#' && byte != '/') {
            snprintf(text, sizeof(text), "GET /%c%c?%c HTTP/1.1\r\n" HOST "\r\n", byte, byte, byte);
            snprintf(expected, sizeof(expected), "/%c%c?%c ", byte, byte, byte);
            send_text(client, text);
            expect_reply(client, expected);
        }
    }
    close_client(client);
    stop(server);
}

static void delivers_a_large_reply_before_closing(void **state)
{
    struct server *server = start_plain();
    struct client *client = open_client(server);
    struct response response = {0};

    (void)state;
    send_text(client, "GET /big HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    read_response(client, &response);
    assert_int_equal(response.body_len, BIG_BYTES);
    expect_end(client);
    close_client(client);
    stop(server);
}

static void delivers_a_streamed_reply(void **state)
{
    struct server *server = start_plain();
    struct client *client = open_client(server);
    struct response response = {0};

    (void)state;
    for (int i = 0; i < 3; i++) {
        send_text(client, "GET /stream HTTP/1.1\r\n" HOST "\r\n");
        read_head(client, &response);
        assert_int_equal(response.status, 200);
        while (client->len < 15) {
            assert_true(receive(client));
        }
        assert_string_equal(client->data, "5\r\nlater\r\n0\r\n\r\n");
        take(client, 15);
    }
    close_client(client);
    stop(server);
}

#define EXPECTING "POST /later HTTP/1.1\r\n" HOST "Expect: 100-continue\r\n"

static void run_expecting(bool with_tls)
{
    static const char head[] = EXPECTING "Content-Length: 2\r\n\r\n";
    struct server *server = prepare(with_tls);
    struct response response = {0};

    start(server);
    struct client *client = open_client(server);
    for (int i = 0; i < 4; i++) {
        send_text(client, head);
        if (i % 2 == 0) {
            read_head(client, &response);
            assert_int_equal(response.status, 100);
            send_text(client, "hi");
            expect_reply(client, "/later hi");
            continue;
        }
        /* Not waiting for it, and the next request on its heels. */
        send_text(client, "hi");
        send_text(client, "GET /next HTTP/1.1\r\n" HOST "\r\n");
        read_head(client, &response);
        if (response.status == 100) {
            expect_reply(client, "/later hi");
        } else {
            while (client->len < strlen("/later hi")) {
                assert_true(receive(client));
            }
            take(client, strlen("/later hi"));
        }
        expect_reply(client, "/next ");
    }
    close_client(client);
    stop(server);
}

static void lets_evhttp_say_continue(void **state)
{
    (void)state;
    run_expecting(false);
}

static void lets_evhttp_say_continue_over_tls(void **state)
{
    (void)state;
    run_expecting(true);
}

static void run_half_close(bool with_tls)
{
    struct server *server = prepare(with_tls);
    struct client *client;

    start(server);
    client = open_client(server);
    send_text(client, "GET /later HTTP/1.1\r\n" HOST "\r\nGET /now HTTP/1.1\r\n" HOST "\r\n"
                      "GET /cut HTTP/1.1\r\n");
    if (client->ssl) {
        SSL_shutdown(client->ssl);
    }
    shutdown(client->fd, SHUT_WR);
    expect_reply(client, "/later ");
    expect_reply(client, "/now ");
    expect_end(client);
    close_client(client);
    for (int i = 0; i < 10; i++) {
        client = open_client(server);
        send_text(client, "nonsense\r\n");
        if (client->ssl) {
            SSL_shutdown(client->ssl);
        }
        shutdown(client->fd, SHUT_WR);
        expect_problem(server, client, 400, "malformed-request");
        close_client(client);
    }
    stop(server);
}

static void answers_a_client_that_sends_no_more(void **state)
{
    (void)state;
    run_half_close(false);
}

static void answers_a_tls_client_that_sends_no_more(void **state)
{
    (void)state;
    run_half_close(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serves_good_requests),
        cmocka_unit_test(serves_good_requests_over_tls),
        cmocka_unit_test(answers_1000_pipelined_requests_in_order),
        cmocka_unit_test(answers_1000_pipelined_requests_over_tls),
        cmocka_unit_test(answers_many_requests_in_one_record),
        cmocka_unit_test(answers_late_replies_in_order),
        cmocka_unit_test(refuses_bad_requests),
        cmocka_unit_test(refuses_bad_requests_over_tls),
        cmocka_unit_test(refuses_large_heads),
        cmocka_unit_test(refuses_after_the_reply_before),
        cmocka_unit_test(evhttp_takes_every_target),
        cmocka_unit_test(delivers_a_large_reply_before_closing),
        cmocka_unit_test(delivers_a_streamed_reply),
        cmocka_unit_test(lets_evhttp_say_continue),
        cmocka_unit_test(lets_evhttp_say_continue_over_tls),
        cmocka_unit_test(answers_a_client_that_sends_no_more),
        cmocka_unit_test(answers_a_tls_client_that_sends_no_more),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("guard", tests, NULL, NULL);
}
