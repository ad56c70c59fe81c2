/* What the tests of the upstream client share: see upstream_fixture.h. */
#include "upstream_fixture.h"

#include "common/memory.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/listener.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *const asked[] = {"a", "b"};

/* ---- The server ---- */

struct connection {
    TAILQ_ENTRY(connection) entry;
    struct server *server;
    struct bufferevent *stream;
    struct event *pulse;
    size_t wanted;    /* length of the request, 0 = not known yet */
    const char *rest; /* BYTES: what is still to be sent */
    bool held;
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

void stop_listening(struct server *server)
{
    if (server->listener != NULL) {
        evconnlistener_free(TAKE(server->listener));
    }
}

void release(struct server *server, const char *text)
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

/* ---- The fixture ---- */

void write_file(const char *path, const char *text, mode_t mode)
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

void on_outcome(const struct upstream_outcome *outcome, void *arg)
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

struct fixture *fixture_prepare(SSL_CTX *tls)
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

enum err fixture_try(struct fixture *fixture, struct error *error)
{
    return upstream_new(fixture->base, &fixture->options,
                        &(struct upstream_callbacks){.on_token = on_token, .arg = fixture},
                        &fixture->upstream, error);
}

void fixture_start(struct fixture *fixture)
{
    struct error error = {.text = ""};

    if (fixture_try(fixture, &error) != OK) {
        fail_msg("%s", error.text);
    }
    assert_false(upstream_ready(fixture->upstream));
    WAIT_UNTIL(fixture, fixture->refreshed + fixture->failed > 0);
}

struct fixture *fixture_new(void)
{
    struct fixture *fixture = fixture_prepare(NULL);

    fixture_start(fixture);
    assert_int_equal(fixture->refreshed, 1);
    assert_true(upstream_ready(fixture->upstream));
    return fixture;
}

void fixture_free(struct fixture *fixture)
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

void start_call(struct fixture *fixture)
{
    upstream_call(fixture->upstream, BODY, asked, 2, false, on_outcome, &fixture->outcomes);
}

const struct upstream_outcome *call(struct fixture *fixture, struct step step)
{
    int before = fixture->outcomes.count;

    fixture->server->action = step;
    start_call(fixture);
    assert_int_equal(fixture->outcomes.count, before);
    WAIT_UNTIL(fixture, fixture->outcomes.count > before);
    assert_int_equal(fixture->outcomes.count, before + 1);
    return &fixture->outcomes.last;
}

void check_long_body(struct fixture *fixture)
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
