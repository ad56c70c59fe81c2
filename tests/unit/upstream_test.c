/* Tests of upstream/: the client against a scripted server in the same event loop. */
#include "common/clock.h"
#include "common/memory.h"
#include "upstream/rate.h"
#include "upstream/upstream.h"
#include "upstream/verdict.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
/* cmocka.h needs those before it. */
#include <arpa/inet.h>
#include <cmocka.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define GUARD_MS   20000
#define SECRET     "s3cr3t/+&=value"
#define BODY       "{\"types\":\"ignore\",\"ids\":[\"a\",\"b\"]}"
#define ITEMS      "[{\"id\":\"b\",\"status\":0},{\"id\":\"a\",\"status\":1,\"command_id\":\"c1\"}]"
#define ITEMS_LEN  "63"
#define KEEP       "HTTP/1.1 200 OK\r\nContent-Length: " ITEMS_LEN "\r\n\r\n" ITEMS
#define EMPTY(...) "HTTP/1.1 " __VA_ARGS__ "\r\nContent-Length: 0\r\n\r\n"

static const char *const asked[] = {"a", "b"};

/* ---- the server ---- */

enum how {
    ANSWER, /* text, and keep the connection open */
    ANSWER_AND_CLOSE,
    BYTES,   /* text, byte by byte */
    HANG,    /* until release() */
    RESET,   /* close without an answer, by RST */
    ENDLESS, /* text, and then x for ever */
};

struct step {
    enum how how;
    const char *text;
};

struct connection {
    TAILQ_ENTRY(connection) entry;
    struct server *server;
    struct bufferevent *stream;
    struct event *pulse;
    size_t wanted;    /* length of the request, 0 = not known yet */
    const char *rest; /* BYTES: what is still to be sent */
    bool held;
};

struct server {
    struct event_base *base;
    struct evconnlistener *listener;
    SSL_CTX *tls;
    int port;
    TAILQ_HEAD(, connection) connections;
    int accepted;
    int actions;          /* complete action requests: executed */
    int tokens;           /* complete token requests */
    int refuse_accepted;  /* so many connections are reset at once */
    size_t reset_at;      /* reset when so many bytes of a request came */
    int valid_token;      /* the number in TOKEN/<n> that is taken */
    struct step action;   /* for every action with the valid token */
    struct step token;    /* text NULL = a new token */
    const char *lifetime; /* what stands in the token answer after the token */
    char *last_action;
    char *last_token;
};

static void end_connection(struct connection *connection)
{
    TAILQ_REMOVE(&connection->server->connections, connection, entry);
    if (connection->pulse != NULL) {
        event_free(connection->pulse);
    }
    bufferevent_free(connection->stream);
    free(connection);
}

static void on_sent(struct bufferevent *stream, void *arg)
{
    (void)stream;
    end_connection(arg);
}

static void on_more(struct bufferevent *stream, void *arg)
{
    char fill[4096];

    (void)arg;
    memset(fill, 'x', sizeof(fill));
    (void)bufferevent_write(stream, fill, sizeof(fill));
}

static void on_pulse(evutil_socket_t fd, short what, void *arg)
{
    struct connection *connection = arg;

    (void)fd;
    (void)what;
    if (*connection->rest != '\0') {
        (void)send(bufferevent_getfd(connection->stream), connection->rest++, 1, MSG_NOSIGNAL);
        event_active(connection->pulse, EV_TIMEOUT, 0);
    }
}

static void reset(struct connection *connection)
{
    struct linger linger = {.l_onoff = 1};

    (void)setsockopt(bufferevent_getfd(connection->stream), SOL_SOCKET, SO_LINGER, &linger,
                     sizeof(linger));
    end_connection(connection);
}

static void perform(struct connection *connection, struct step step)
{
    struct bufferevent *stream = connection->stream;
    const char *text = step.text != NULL ? step.text : "";

    switch (step.how) {
    case HANG:
        connection->held = true;
        return;
    case RESET:
        reset(connection);
        return;
    case BYTES:
        connection->rest = text;
        connection->pulse = evtimer_new(connection->server->base, on_pulse, connection);
        event_active(connection->pulse, EV_TIMEOUT, 0);
        return;
    case ANSWER:
        break;
    case ANSWER_AND_CLOSE:
        if (text[0] == '\0') {
            end_connection(connection);
            return;
        }
        bufferevent_setcb(stream, NULL, on_sent, NULL, connection);
        break;
    case ENDLESS:
        bufferevent_setcb(stream, NULL, on_more, NULL, connection);
        break;
    }
    (void)bufferevent_write(stream, text, strlen(text));
}

static void answer_token(struct connection *connection)
{
    struct server *server = connection->server;
    char body[256];
    char text[512];

    server->tokens++;
    if (server->token.text != NULL || server->token.how != ANSWER) {
        perform(connection, server->token);
        return;
    }
    server->valid_token = server->tokens;
    (void)snprintf(body, sizeof(body), "{\"access_token\":\"TOKEN/%d\",\"token_type\":\"x\"%s}",
                   server->tokens, server->lifetime != NULL ? server->lifetime : "");
    (void)snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
                   strlen(body), body);
    perform(connection, (struct step){ANSWER, text});
}

static void answer_action(struct connection *connection)
{
    struct server *server = connection->server;
    char valid[64];

    (void)snprintf(valid, sizeof(valid), "access_token=TOKEN%%2F%d ", server->valid_token);
    if (strstr(server->last_action, valid) == NULL) {
        perform(connection, (struct step){ANSWER, EMPTY("401 No")});
        return;
    }
    server->actions++;
    perform(connection, server->action);
}

static void on_request(struct bufferevent *stream, void *arg)
{
    struct connection *connection = arg;
    struct server *server = connection->server;
    struct evbuffer *input = bufferevent_get_input(stream);
    size_t len = evbuffer_get_length(input);
    char *text;
    char *end;
    char *declared;

    if (server->reset_at > 0 && len >= server->reset_at) {
        reset(connection);
        return;
    }
    if (len < connection->wanted) {
        return;
    }
    text = xstrndup((const char *)evbuffer_pullup(input, -1), len);
    end = strstr(text, "\r\n\r\n");
    declared = strcasestr(text, "\r\nContent-Length:");
    if (end != NULL && declared != NULL) {
        connection->wanted = (size_t)(end + 4 - text) + strtoul(declared + 17, NULL, 10);
    }
    if (connection->wanted == 0 || len < connection->wanted) {
        free(text);
        return;
    }
    connection->wanted = 0;
    (void)evbuffer_drain(input, len);
    if (strncmp(text, "POST /o/oauth/token ", 20) == 0) {
        free(server->last_token);
        server->last_token = text;
        answer_token(connection);
    } else {
        free(server->last_action);
        server->last_action = text;
        answer_action(connection);
    }
}

static void on_end(struct bufferevent *stream, short what, void *arg)
{
    (void)stream;
    if ((what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) != 0) {
        end_connection(arg);
    }
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
                      int len, void *arg)
{
    struct server *server = arg;
    struct connection *connection = xcalloc(1, sizeof(*connection));

    (void)listener;
    (void)address;
    (void)len;
    server->accepted++;
    connection->server = server;
    connection->stream =
        server->tls == NULL
            ? bufferevent_socket_new(server->base, fd, BEV_OPT_CLOSE_ON_FREE)
            : bufferevent_openssl_socket_new(server->base, fd, SSL_new(server->tls),
                                             BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
    TAILQ_INSERT_HEAD(&server->connections, connection, entry);
    bufferevent_setcb(connection->stream, on_request, NULL, on_end, connection);
    (void)bufferevent_enable(connection->stream, EV_READ | EV_WRITE);
    if (server->refuse_accepted > 0) {
        server->refuse_accepted--;
        reset(connection);
    }
}

static void stop_listening(struct server *server)
{
    if (server->listener != NULL) {
        evconnlistener_free(TAKE(server->listener));
    }
}

/* Gives held requests their answer. */
static void release(struct server *server, const char *text)
{
    struct connection *connection;

    TAILQ_FOREACH(connection, &server->connections, entry)
    {
        if (connection->held) {
            connection->held = false;
            (void)bufferevent_write(connection->stream, text, strlen(text));
        }
    }
}

static struct server *server_new(struct event_base *base, SSL_CTX *tls)
{
    struct server *server = xcalloc(1, sizeof(*server));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);

    server->base = base;
    server->tls = tls;
    server->action = (struct step){ANSWER, KEEP};
    TAILQ_INIT(&server->connections);
    server->listener = evconnlistener_new_bind(base, on_accept, server, LEV_OPT_CLOSE_ON_FREE, -1,
                                               (struct sockaddr *)&address, (int)len);
    assert_non_null(server->listener);
    assert_int_equal(
        getsockname(evconnlistener_get_fd(server->listener), (struct sockaddr *)&address, &len), 0);
    server->port = ntohs(address.sin_port);
    return server;
}

static void server_free(struct server *server)
{
    struct connection *next;

    stop_listening(server);
    for (struct connection *c = TAILQ_FIRST(&server->connections); c != NULL; c = next) {
        next = TAILQ_NEXT(c, entry);
        end_connection(c);
    }
    SSL_CTX_free(server->tls);
    free(server->last_action);
    free(server->last_token);
    free(server);
}

/* ---- the fixture ---- */

struct outcomes {
    struct upstream **free_this; /* freed in the callback */
    int count;
    struct upstream_outcome last; /* its pointers: see the copies below */
    struct answer_item items[2];
    char detail[512];
};

struct fixture {
    struct event_base *base;
    struct server *server;
    struct upstream *upstream;
    struct upstream_options options;
    char directory[64];
    char url[64];
    char secret_file[128];
    char token_file[128];
    char ca_file[128];
    int refreshed;
    int failed;
    int64_t expires_wall_ms;
    char detail[512];
    struct outcomes outcomes;
};

static void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *file;

    (void)unlink(path);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void on_token(enum token_event event, int64_t expires_wall_ms, const char *detail, void *arg)
{
    struct fixture *fixture = arg;

    fixture->refreshed += event == TOKEN_REFRESHED;
    fixture->failed += event == TOKEN_FAILED;
    fixture->expires_wall_ms = expires_wall_ms;
    (void)snprintf(fixture->detail, sizeof(fixture->detail), "%s", detail);
    assert_null(strstr(detail, "TOKEN"));
    assert_null(strstr(detail, "s3cr3t"));
}

static void on_outcome(const struct upstream_outcome *outcome, void *arg)
{
    struct outcomes *outcomes = arg;

    outcomes->count++;
    outcomes->last = *outcome;
    if (outcome->result == UPSTREAM_OK) {
        assert_int_equal(outcome->item_count, 2);
        memcpy(outcomes->items, outcome->items, sizeof(outcomes->items));
    } else {
        assert_null(outcome->items);
        assert_string_not_equal(outcome->detail, "");
    }
    (void)snprintf(outcomes->detail, sizeof(outcomes->detail), "%s", outcome->detail);
    assert_null(strstr(outcomes->detail, "TOKEN"));
    assert_null(strstr(outcomes->detail, "s3cr3t"));
    if (outcomes->free_this != NULL) {
        upstream_free(TAKE(*outcomes->free_this));
    }
}

#define WAIT_UNTIL(fixture, condition)                                                             \
    do {                                                                                           \
        int64_t wait_start_ = clock_boot_ms();                                                     \
        while (!(condition)) {                                                                     \
            assert_int_equal(event_base_loop((fixture)->base, EVLOOP_ONCE), 0);                    \
            assert_true(clock_boot_ms() < wait_start_ + GUARD_MS);                                 \
        }                                                                                          \
    } while (0)

/* A server and a loop, but no client yet. */
static struct fixture *fixture_prepare(SSL_CTX *tls)
{
    struct fixture *fixture = xcalloc(1, sizeof(*fixture));

    fixture->base = event_base_new();
    fixture->server = server_new(fixture->base, tls);
    (void)snprintf(fixture->directory, sizeof(fixture->directory), "/tmp/upstream_test.XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    (void)snprintf(fixture->url, sizeof(fixture->url), "%s://127.0.0.1:%d/",
                   tls != NULL ? "https" : "http", fixture->server->port);
    (void)snprintf(fixture->secret_file, sizeof(fixture->secret_file), "%s/secret",
                   fixture->directory);
    (void)snprintf(fixture->token_file, sizeof(fixture->token_file), "%s/token",
                   fixture->directory);
    (void)snprintf(fixture->ca_file, sizeof(fixture->ca_file), "%s/ca", fixture->directory);
    write_file(fixture->secret_file, SECRET "\n", 0600);
    fixture->options = (struct upstream_options){.base_url = fixture->url,
                                                 .client_id = "the client",
                                                 .client_secret_file = fixture->secret_file,
                                                 .connect_timeout_ms = 5000,
                                                 .timeout_ms = 10000,
                                                 .max_answer_bytes = 65536};
    return fixture;
}

static enum err fixture_try(struct fixture *fixture, struct error *error)
{
    return upstream_new(fixture->base, &fixture->options,
                        &(struct upstream_callbacks){.on_token = on_token, .arg = fixture},
                        &fixture->upstream, error);
}

static void fixture_start(struct fixture *fixture)
{
    struct error error = {.text = ""};

    if (fixture_try(fixture, &error) != OK) {
        fail_msg("%s", error.text);
    }
    assert_false(upstream_ready(fixture->upstream));
    WAIT_UNTIL(fixture, fixture->refreshed + fixture->failed > 0);
}

static struct fixture *fixture_new(void)
{
    struct fixture *fixture = fixture_prepare(NULL);

    fixture_start(fixture);
    assert_int_equal(fixture->refreshed, 1);
    assert_true(upstream_ready(fixture->upstream));
    return fixture;
}

static void fixture_free(struct fixture *fixture)
{
    upstream_free(fixture->upstream);
    server_free(fixture->server);
    event_base_free(fixture->base);
    (void)unlink(fixture->secret_file);
    (void)unlink(fixture->token_file);
    (void)unlink(fixture->ca_file);
    assert_int_equal(rmdir(fixture->directory), 0);
    free(fixture);
}

static void start_call(struct fixture *fixture)
{
    upstream_call(fixture->upstream, BODY, asked, 2, false, on_outcome, &fixture->outcomes);
}

static const struct upstream_outcome *call(struct fixture *fixture, struct step step)
{
    int before = fixture->outcomes.count;

    fixture->server->action = step;
    start_call(fixture);
    assert_int_equal(fixture->outcomes.count, before);
    WAIT_UNTIL(fixture, fixture->outcomes.count > before);
    assert_int_equal(fixture->outcomes.count, before + 1);
    return &fixture->outcomes.last;
}

/* ---- pure parts ---- */

static void test_urls_that_may_be_used(void **state)
{
    static const struct {
        const char *url;
        enum err err;
    } cases[] = {
        {"https://gears.opswat.com", OK},
        {"https://gears.opswat.com/", OK},
        {"HTTPS://host:8443/a/b/", OK},
        {"https://10.0.0.1", OK},
        {"http://localhost:80", OK},
        {"http://LOCALHOST", OK},
        {"http://127.0.0.1:9090", OK},
        {"http://127.255.1.2", OK},
        {"http://[::1]:9090/x", OK},
        {"http://gears.opswat.com", ERR_INVALID},
        {"http://localhost.evil.example", ERR_INVALID},
        {"http://127.0.0.1.evil.example", ERR_INVALID},
        {"http://128.0.0.1", ERR_INVALID},
        {"http://0.0.0.0", ERR_INVALID},
        {"http://169.254.169.254", ERR_INVALID},
        {"http://[::2]", ERR_INVALID},
        {"http://[::ffff:127.0.0.1]", ERR_INVALID},
        {"http://127.0.0.1@evil.example/", ERR_INVALID},
        {"https://user:PASSWORD@host/", ERR_INVALID},
        {"https://host/?a=PASSWORD", ERR_INVALID},
        {"https://host?", ERR_INVALID},
        {"https://host/#x", ERR_INVALID},
        {"https://host\\@127.0.0.1", ERR_INVALID},
        {"https://ho st/", ERR_INVALID},
        {"https://host/\r\nX: y", ERR_INVALID},
        {"https://", ERR_INVALID},
        {"https://host:99999", ERR_INVALID},
        {"gears.opswat.com", ERR_INVALID},
        {"ftp://127.0.0.1", ERR_INVALID},
        {"file:///etc/passwd", ERR_INVALID},
        {"", ERR_INVALID},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error error = {.text = ""};

        if (upstream_check_url(cases[i].url, &error) != cases[i].err) {
            fail_msg("%s: %s", cases[i].url, error.text);
        }
        assert_null(strstr(error.text, "PASSWORD"));
    }
}

static void test_rate_headers(void **state)
{
    static const struct {
        const char *line;
        struct rate rate;
    } cases[] = {
        {"X-RateLimit-Limit: 10\r\n", {10, -1, -1, -1}},
        {"x-ratelimit-remaining:0\r\n", {-1, 0, -1, -1}},
        {"X-RateLimit-Reset-Time: \t42 \r\n", {-1, -1, 42, -1}},
        {"X-RateLimit-Reset-Time: 1700000033\r\n", {-1, -1, 33, -1}},
        {"X-RateLimit-Reset-Time: 1600000000\r\n", {-1, -1, 0, -1}},
        {"X-RateLimit-Reset-Time: 999999999999\r\n", {-1, -1, RATE_MAX_WAIT_S, -1}},
        {"X-RateLimit-Reset-Time: 9999999999999999999999\r\n", {-1, -1, -1, -1}},
        {"Retry-After: 7\r\n", {-1, -1, -1, 7}},
        {"Retry-After: 999999\r\n", {-1, -1, -1, RATE_MAX_WAIT_S}},
        {"Retry-After: Tue, 14 Nov 2023 22:13:50 GMT\r\n", {-1, -1, -1, 30}},
        {"Retry-After: Tue, 14 Nov 2000 22:13:50 GMT\r\n", {-1, -1, -1, 0}},
        {"Retry-After: Tue, 14 Nov 9999 22:13:50 GMT\r\n", {-1, -1, -1, RATE_MAX_WAIT_S}},
        {"Retry-After: Tue, 14 Nov 2023 22:13:50 GMT, or later, or much much later\r\n",
         {-1, -1, -1, -1}},
        {"Retry-After: soon\r\n", {-1, -1, -1, -1}},
        {"Retry-After: -1\r\n", {-1, -1, -1, -1}},
        {"Retry-After: 1.5\r\n", {-1, -1, -1, -1}},
        {"Retry-After:\r\n", {-1, -1, -1, -1}},
        {"Retry-After", {-1, -1, -1, -1}},
        {"Retry-Afterwards: 7\r\n", {-1, -1, -1, -1}},
        {"\r\n", {-1, -1, -1, -1}},
        {"", {-1, -1, -1, -1}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rate rate;

        rate_init(&rate);
        rate_read_header(&rate, cases[i].line, strlen(cases[i].line), 1700000000);
        if (memcmp(&rate, &cases[i].rate, sizeof(rate)) != 0) {
            fail_msg("%s: %ld %ld %ld %ld", cases[i].line, (long)rate.limit, (long)rate.remaining,
                     (long)rate.reset_s, (long)rate.retry_after_s);
        }
    }
}

/* The decision whether a call may be made again: every line of it. */
static void test_verdicts(void **state)
{
    static const struct {
        const char *facts; /* broken, whole, nonsense, long, encoded */
        int64_t request_bytes;
        int status;
        enum upstream_result result;
        const char *says; /* nothing sent, answered, token rejected */
    } cases[] = {
        {"broken", 0, 0, UPSTREAM_FAILED, "n"},
        {"broken", 1, 0, UPSTREAM_UNKNOWN, ""},
        {"broken", 500, 0, UPSTREAM_UNKNOWN, ""},
        {"broken long", 500, 0, UPSTREAM_UNKNOWN, ""},
        {"broken", 500, 100, UPSTREAM_UNKNOWN, ""},
        {"whole", 500, 0, UPSTREAM_UNKNOWN, ""},
        {"whole", 0, 0, UPSTREAM_UNKNOWN, ""},
        {"whole", 500, 101, UPSTREAM_UNKNOWN, ""},
        {"whole", 500, 200, UPSTREAM_OK, "a"},
        {"whole nonsense", 500, 200, UPSTREAM_UNKNOWN, "a"},
        {"broken", 500, 200, UPSTREAM_UNKNOWN, "a"},
        {"broken", 0, 200, UPSTREAM_UNKNOWN, "a"},
        {"broken long", 500, 200, UPSTREAM_UNKNOWN, "a"},
        {"whole encoded", 500, 200, UPSTREAM_UNKNOWN, "a"},
        {"whole", 500, 201, UPSTREAM_UNKNOWN, "a"},
        {"broken", 500, 299, UPSTREAM_UNKNOWN, "a"},
        {"whole", 500, 302, UPSTREAM_FAILED, "a"},
        {"whole", 500, 400, UPSTREAM_FAILED, "a"},
        {"broken long encoded", 500, 400, UPSTREAM_FAILED, "a"},
        {"whole", 500, 401, UPSTREAM_FAILED, "at"},
        {"broken", 500, 401, UPSTREAM_FAILED, "at"},
        {"whole", 500, 429, UPSTREAM_FAILED, "a"},
        {"whole", 500, 500, UPSTREAM_FAILED, "a"},
        {"broken", 500, 503, UPSTREAM_FAILED, "a"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *facts = cases[i].facts;
        struct verdict verdict =
            verdict_of(&(struct verdict_facts){.complete = strstr(facts, "whole") != NULL,
                                               .request_bytes = cases[i].request_bytes,
                                               .status = cases[i].status,
                                               .too_long = strstr(facts, "long") != NULL,
                                               .encoded = strstr(facts, "encoded") != NULL,
                                               .trouble = "trouble",
                                               .nonsense = strstr(facts, "nonsense")});

        if (verdict.result != cases[i].result ||
            verdict.nothing_sent != (strchr(cases[i].says, 'n') != NULL) ||
            verdict.answered != (strchr(cases[i].says, 'a') != NULL) ||
            verdict.token_rejected != (strchr(cases[i].says, 't') != NULL) ||
            verdict.status != (cases[i].status < 200 ? 0 : cases[i].status)) {
            fail_msg("case %zu: result %d: %s", i, (int)verdict.result, verdict.detail);
        }
        assert_true((verdict.detail[0] == '\0') == (verdict.result == UPSTREAM_OK));
    }
}

/* ---- calls ---- */

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

static void check_long_body(struct fixture *fixture)
{
    char *body = xcalloc(1, 2000001);

    memset(body, 'y', 2000000);
    upstream_call(fixture->upstream, body, asked, 2, false, on_outcome, &fixture->outcomes);
    WAIT_UNTIL(fixture, fixture->outcomes.count == 1);
    assert_int_equal(fixture->outcomes.last.result, UPSTREAM_OK);
    assert_string_equal(strstr(fixture->server->last_action, "\r\n\r\n") + 4, body);
    assert_null(strstr(fixture->server->last_action, "Expect"));

    fixture->server->reset_at = 100000;
    upstream_call(fixture->upstream, body, asked, 2, false, on_outcome, &fixture->outcomes);
    WAIT_UNTIL(fixture, fixture->outcomes.count == 2);
    assert_int_equal(fixture->outcomes.last.result, UPSTREAM_UNKNOWN);
    assert_int_equal(fixture->server->actions, 1);
    assert_int_equal(fixture->server->accepted, 3);
    free(body);
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

/* ---- the token ---- */

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

/* ---- TLS ---- */

/* A certificate for 127.0.0.1 that is its own CA, written to path; NULL or its server side. */
static SSL_CTX *make_tls(const char *path, const char *address)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    X509_EXTENSION *name = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, address);
    X509_EXTENSION *ca = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "CA:TRUE");
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(X509_set_version(certificate, 2));
    assert_true(ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1));
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(certificate), -60));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(certificate), 3600));
    assert_true(X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                                           (const unsigned char *)"tollgate test", -1, -1, 0));
    assert_true(X509_set_issuer_name(certificate, X509_get_subject_name(certificate)));
    assert_true(X509_add_ext(certificate, name, -1));
    assert_true(X509_add_ext(certificate, ca, -1));
    assert_true(X509_set_pubkey(certificate, key));
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    assert_int_equal(SSL_CTX_use_certificate(tls, certificate), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(tls, key), 1);
    assert_int_equal(PEM_write_X509(file, certificate), 1);
    assert_int_equal(fclose(file), 0);
    X509_EXTENSION_free(name);
    X509_EXTENSION_free(ca);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return tls;
}

static struct fixture *tls_fixture(const char *address)
{
    char path[] = "/tmp/upstream_test.ca.XXXXXX";
    int fd = mkstemp(path);
    struct fixture *fixture;

    assert_true(fd >= 0);
    (void)close(fd);
    fixture = fixture_prepare(make_tls(path, address));
    assert_int_equal(rename(path, fixture->ca_file), 0);
    fixture->options.ca_file = fixture->ca_file;
    return fixture;
}

static void test_tls_with_its_ca(void **state)
{
    struct fixture *fixture = tls_fixture("IP:127.0.0.1");

    (void)state;
    fixture_start(fixture);
    assert_int_equal(fixture->refreshed, 1);
    assert_int_equal(call(fixture, (struct step){ANSWER, KEEP})->result, UPSTREAM_OK);
    assert_int_equal(call(fixture, (struct step){RESET, NULL})->result, UPSTREAM_UNKNOWN);
    assert_int_equal(fixture->server->actions, 2);
    fixture_free(fixture);
}

/* OpenSSL goes on writing where plain sockets know better: SIGPIPE must not end the process. */
static void test_tls_with_a_long_body(void **state)
{
    struct fixture *fixture = tls_fixture("IP:127.0.0.1");

    (void)state;
    fixture_start(fixture);
    check_long_body(fixture);
    fixture_free(fixture);
}

static void test_tls_of_somebody_else_gets_nothing(void **state)
{
    struct fixture *plain = fixture_prepare(NULL); /* gives the token */
    char token_url[96];

    (void)state;
    (void)snprintf(token_url, sizeof(token_url), "%so/oauth/token", plain->url);
    for (int round = 0; round < 2; round++) {
        /* First a foreign CA, then the right CA with another name. */
        struct fixture *fixture = tls_fixture(round == 0 ? "IP:127.0.0.1" : "IP:127.0.0.2");
        const struct upstream_outcome *outcome;

        if (round == 0) {
            SSL_CTX_free(make_tls(fixture->ca_file, "IP:127.0.0.1"));
        }
        fixture->options.token_url = token_url;
        assert_int_equal(fixture_try(fixture, NULL), OK);
        while (!upstream_ready(fixture->upstream)) {
            assert_int_not_equal(event_base_loop(plain->base, EVLOOP_NONBLOCK), -1);
            assert_int_not_equal(event_base_loop(fixture->base, EVLOOP_NONBLOCK), -1);
        }
        outcome = call(fixture, (struct step){ANSWER, KEEP});
        assert_int_equal(outcome->result, UPSTREAM_FAILED);
        assert_true(outcome->nothing_sent);
        assert_int_equal(fixture->server->actions, 0);
        fixture_free(fixture);
    }
    fixture_free(plain);
}

/* ---- life ---- */

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
        cmocka_unit_test(test_urls_that_may_be_used),
        cmocka_unit_test(test_rate_headers),
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_a_good_call),
        cmocka_unit_test(test_what_becomes_of_a_call),
        cmocka_unit_test(test_a_hanging_server_is_left_after_the_timeout),
        cmocka_unit_test(test_a_connection_that_dies_before_the_request_is_read),
        cmocka_unit_test(test_a_long_body_arrives_whole_or_is_unknown),
        cmocka_unit_test(test_headers_have_a_bound),
        cmocka_unit_test(test_a_refused_connection_sends_nothing),
        cmocka_unit_test(test_rate_headers_of_a_429),
        cmocka_unit_test(test_an_echoed_secret_is_scrubbed),
        cmocka_unit_test(test_401_refreshes_the_token_once_for_all),
        cmocka_unit_test(test_a_late_401_says_nothing_about_the_new_token),
        cmocka_unit_test(test_a_call_without_a_token_sends_nothing),
        cmocka_unit_test(test_tokens_that_cannot_be_had),
        cmocka_unit_test(test_expiry_is_told),
        cmocka_unit_test(test_what_takes_a_second),
        cmocka_unit_test(test_tls_with_its_ca),
        cmocka_unit_test(test_tls_with_a_long_body),
        cmocka_unit_test(test_tls_of_somebody_else_gets_nothing),
        cmocka_unit_test(test_wrong_files_and_urls_are_told_at_start),
        cmocka_unit_test(test_free_aborts_without_calling_back),
        cmocka_unit_test(test_free_from_inside_a_callback),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
