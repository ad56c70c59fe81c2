/* Guard: a real evhttp behind it in a thread, raw sockets in front of it. */
#include "gateway/guard.h"

#include "common/memory.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/http.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h> /* needs the ones above */

#define BIG_BYTES   ((size_t)8 << 20)
#define PATIENCE_MS 10000 /* a test fails rather than hangs */

/* --- the server --- */

struct server {
    struct guard_options options;
    struct event_base *base;
    struct evhttp *http;
    struct guard *guard;
    SSL_CTX *tls; /* NULL: plain */
    pthread_t thread;
    int stop[2];
    uint16_t port;
    atomic_size_t connections;
    atomic_int handled;
    atomic_int completed;
    atomic_int refused;
    atomic_int dropped[GUARD_DROP_NOT_READING + 1];
    struct guard_refusal last; /* texts copied below; read after the answer came */
    char remote[64];
    char request_id[GUARD_REQUEST_ID_SIZE];
};

static void make_request_id(char ret_id[GUARD_REQUEST_ID_SIZE], void *arg)
{
    struct server *server = arg;
    snprintf(ret_id, GUARD_REQUEST_ID_SIZE, "req_%d", atomic_load(&server->refused));
}

static void on_refused(const struct guard_refusal *refusal, void *arg)
{
    struct server *server = arg;

    server->last = *refusal;
    snprintf(server->remote, sizeof(server->remote), "%s", refusal->remote);
    snprintf(server->request_id, sizeof(server->request_id), "%s", refusal->request_id);
    atomic_fetch_add(&server->refused, 1);
}

static void on_dropped(enum guard_drop reason, const char *remote, void *arg)
{
    struct server *server = arg;

    assert_string_equal(remote, "127.0.0.1");
    atomic_fetch_add(&server->dropped[reason], 1);
}

static void on_complete(struct evhttp_request *req, void *arg)
{
    struct server *server = arg;
    (void)req;
    atomic_fetch_add(&server->completed, 1);
}

/* The reply is the target, then the body. */
static void reply(struct evhttp_request *req)
{
    struct evbuffer *body = evbuffer_new();

    evbuffer_add_printf(body, "%s ", evhttp_request_get_uri(req));
    evbuffer_add_buffer(body, evhttp_request_get_input_buffer(req));
    evhttp_send_reply(req, 200, "OK", body);
    evbuffer_free(body);
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    reply(arg);
}

static void reply_big(struct evhttp_request *req)
{
    struct evbuffer *body = evbuffer_new();
    struct evbuffer_iovec space = {0};

    evbuffer_reserve_space(body, BIG_BYTES, &space, 1);
    memset(space.iov_base, 'b', BIG_BYTES);
    space.iov_len = BIG_BYTES;
    evbuffer_commit_space(body, &space, 1);
    evhttp_send_reply(req, 200, "OK", body);
    evbuffer_free(body);
}

static void on_stream_more(evutil_socket_t fd, short what, void *arg)
{
    struct evbuffer *body = evbuffer_new();

    (void)fd;
    (void)what;
    evbuffer_add_printf(body, "later");
    evhttp_send_reply_chunk(arg, body);
    evhttp_send_reply_end(arg);
    evbuffer_free(body);
}

static void on_request(struct evhttp_request *req, void *arg)
{
    static const struct timeval soon = {.tv_usec = 20000};
    struct server *server = arg;
    const char *target = evhttp_request_get_uri(req);

    atomic_fetch_add(&server->handled, 1);
    evhttp_request_set_on_complete_cb(req, on_complete, server);
    if (strncmp(target, "/later", 6) == 0) {
        event_base_once(server->base, -1, EV_TIMEOUT, on_later, req, &soon);
    } else if (strncmp(target, "/big", 4) == 0) {
        reply_big(req);
    } else if (strncmp(target, "/stream", 7) == 0) {
        evhttp_send_reply_start(req, 200, "OK");
        event_base_once(server->base, -1, EV_TIMEOUT, on_stream_more, req, &soon);
    } else {
        reply(req);
    }
}

static struct bufferevent *on_connection(struct event_base *base, void *arg)
{
    struct server *server = arg;
    struct bufferevent *bev;

    if (server->tls) {
        bev = bufferevent_openssl_socket_new(base, -1, SSL_new(server->tls),
                                             BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
    } else {
        bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    }
    return guard_wrap(server->guard, bev);
}

static void on_stop(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    event_base_loopbreak(arg);
}

static void *serve(void *arg)
{
    struct server *server = arg;
    event_base_dispatch(server->base);
    return NULL;
}

static SSL_CTX *make_tls(void)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();

    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                               (const unsigned char *)"guard test", -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    X509_set_pubkey(certificate, key);
    X509_sign(certificate, key, EVP_sha256());
    assert_int_equal(SSL_CTX_use_certificate(tls, certificate), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(tls, key), 1);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return tls;
}

/* Options to change before start(). */
static struct server *prepare(bool with_tls)
{
    struct server *server = xcalloc(1, sizeof(*server));

    server->options = (struct guard_options){
        .limits = {.max_header_bytes = 8192, .max_headers = 64, .max_body_bytes = 100000},
        .header_timeout_ms = PATIENCE_MS,
        .body_timeout_ms = PATIENCE_MS,
        .idle_timeout_ms = PATIENCE_MS,
        .write_timeout_ms = PATIENCE_MS,
        .max_connections = 100,
        .connections = &server->connections,
        .make_request_id = make_request_id,
        .on_refused = on_refused,
        .on_dropped = on_dropped,
        .arg = server,
    };
    server->tls = with_tls ? make_tls() : NULL;
    return server;
}

static void start(struct server *server)
{
    struct evhttp_bound_socket *bound;
    struct sockaddr_in address = {0};
    socklen_t len = sizeof(address);

    server->base = event_base_new();
    server->guard = guard_new(server->base, &server->options);
    server->http = evhttp_new(server->base);
    evhttp_set_allowed_methods(server->http, 0xffff);
    evhttp_set_bevcb(server->http, on_connection, server);
    evhttp_set_gencb(server->http, on_request, server);
    bound = evhttp_bind_socket_with_handle(server->http, "127.0.0.1", 0);
    assert_non_null(bound);
    getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&address, &len);
    server->port = ntohs(address.sin_port);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, server->stop), 0);
    event_base_once(server->base, server->stop[0], EV_READ, on_stop, server->base, NULL);
    pthread_create(&server->thread, NULL, serve, server);
}

static struct server *start_plain(void)
{
    struct server *server = prepare(false);
    start(server);
    return server;
}

/* Waits until no connection is left, ends everything, and expects that nothing leaks. */
static void stop(struct server *server)
{
    for (int i = 0; atomic_load(&server->connections) > 0 && i < PATIENCE_MS; i++) {
        usleep(1000);
    }
    assert_int_equal(atomic_load(&server->connections), 0);
    assert_int_equal(write(server->stop[1], "", 1), 1);
    pthread_join(server->thread, NULL);
    evhttp_free(server->http);
    guard_free(server->guard);
    event_base_free(server->base);
    SSL_CTX_free(server->tls);
    close(server->stop[0]);
    close(server->stop[1]);
    free(server);
}

/* Until the counter is at least that. */
static void wait_until(atomic_int *counter, int least)
{
    for (int i = 0; atomic_load(counter) < least; i++) {
        assert_true(i < PATIENCE_MS);
        usleep(1000);
    }
}

/* --- the client --- */

struct client {
    int fd;
    SSL *ssl;    /* NULL: plain */
    bool broken; /* ended by an error: a reset, or TLS without close_notify */
    size_t len;
    char data[256 * 1024]; /* what was read and not yet taken, then a NUL */
};

static int dial(const struct server *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(server->port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return fd;
}

static struct client *open_client(const struct server *server)
{
    struct client *client = xcalloc(1, sizeof(*client));

    client->fd = dial(server);
    if (server->tls) {
        SSL_CTX *context = SSL_CTX_new(TLS_client_method());
        client->ssl = SSL_new(context);
        SSL_CTX_free(context);
        SSL_set_fd(client->ssl, client->fd);
        assert_int_equal(SSL_connect(client->ssl), 1);
    }
    return client;
}

static void close_client(struct client *client)
{
    SSL_free(client->ssl);
    close(client->fd);
    free(client);
}

/* False when the server closed. */
static bool send_bytes(struct client *client, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t sent = client->ssl ? SSL_write(client->ssl, data, (int)len)
                                   : send(client->fd, data, len, MSG_NOSIGNAL);
        if (sent <= 0) {
            return false;
        }
        data += sent;
        len -= (size_t)sent;
    }
    return true;
}

static bool send_text(struct client *client, const char *text)
{
    return send_bytes(client, text, strlen(text));
}

/* Reads once; false at the end. */
static bool receive(struct client *client)
{
    size_t room = sizeof(client->data) - 1 - client->len;
    char *to = client->data + client->len;
    ssize_t got =
        client->ssl ? SSL_read(client->ssl, to, (int)room) : recv(client->fd, to, room, 0);

    if (got <= 0) {
        int error = 0;
        socklen_t len = sizeof(error);
        getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        client->broken = got < 0 || error;
        if (client->ssl) {
            client->broken = SSL_get_error(client->ssl, (int)got) != SSL_ERROR_ZERO_RETURN;
        }
        return false;
    }
    client->len += (size_t)got;
    client->data[client->len] = '\0';
    return true;
}

static void take(struct client *client, size_t len)
{
    client->len -= len;
    memmove(client->data, client->data + len, client->len + 1);
}

struct response {
    int status;
    size_t body_len;
    char head[1024];
    char body[4096]; /* its start */
};

static void read_head(struct client *client, struct response *response)
{
    char *end;

    while (!(end = strstr(client->data, "\r\n\r\n"))) {
        if (!receive(client)) {
            fail_msg("closed instead of an answer; there is: %s", client->data);
        }
    }
    size_t len = (size_t)(end - client->data) + 4;
    assert_true(len < sizeof(response->head));
    memcpy(response->head, client->data, len);
    response->head[len] = '\0';
    assert_memory_equal(response->head, "HTTP/1.", 7);
    response->status = (int)strtol(response->head + 9, NULL, 10);
    take(client, len);
}

static void read_response(struct client *client, struct response *response)
{
    const char *declared;
    size_t total;

    read_head(client, response);
    declared = strstr(response->head, "Content-Length: ");
    /* Without one, evhttp ends an HTTP/1.0 reply by closing. */
    total = declared ? strtoul(declared + 16, NULL, 10) : SIZE_MAX;
    response->body_len = 0;
    while (response->body_len < total) {
        if (client->len == 0 && !receive(client)) {
            if (!declared) {
                return;
            }
            fail_msg("closed after %zu of %zu bytes of body", response->body_len, total);
        }
        size_t want = total - response->body_len;
        size_t len = client->len < want ? client->len : want;
        if (response->body_len + len < sizeof(response->body)) {
            memcpy(response->body + response->body_len, client->data, len);
            response->body[response->body_len + len] = '\0';
        }
        response->body_len += len;
        take(client, len);
    }
}

static void expect_reply(struct client *client, const char *body)
{
    struct response response = {0};

    read_response(client, &response);
    assert_int_equal(response.status, 200);
    assert_string_equal(response.body, body);
}

static void expect_end(struct client *client)
{
    bool more = receive(client);
    if (more) {
        fail_msg("more instead of the end: %s", client->data);
    }
    assert_int_equal(client->len, 0);
}

static void expect_problem(struct server *server, struct client *client, int status,
                           const char *problem)
{
    struct response response = {0};
    char expected[1024];

    read_response(client, &response);
    assert_true(atomic_load(&server->refused) > 0); /* and what it stored is visible here */
    if (response.status != status) {
        fail_msg("%d instead of %d: %s", response.status, status, response.body);
    }
    assert_non_null(strstr(response.head, "\r\nContent-Type: application/problem+json\r\n"));
    assert_non_null(strstr(response.head, "\r\nConnection: close\r\n"));
    snprintf(expected, sizeof(expected), "\r\nX-Request-ID: %s\r\n", server->request_id);
    assert_non_null(strstr(response.head, expected));
    snprintf(expected, sizeof(expected),
             "{\"type\":\"urn:tollgate:problem:%s\",\"title\":\"%s\",\"status\":%d,"
             "\"detail\":\"%s\",\"request_id\":\"%s\"}",
             problem,
             status == 400   ? "The request is malformed"
             : status == 413 ? "The request body is too large"
                             : "The request header is too large",
             status, server->last.detail, server->request_id);
    assert_string_equal(response.body, expected);
    assert_int_equal(server->last.status, status);
    assert_string_equal(server->last.problem, problem);
    assert_string_equal(server->remote, "127.0.0.1");
    expect_end(client);
    assert_false(client->broken);
}

/* --- the tests --- */

#define HOST    "Host: a\r\n"
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

static void survives_clients_that_leave(void **state)
{
    struct server *server = start_plain();
    struct linger reset = {.l_onoff = 1, .l_linger = 0};

    (void)state;
    for (int i = 0; i < 20; i++) {
        struct client *client = open_client(server);
        send_text(client, i % 4 < 2 ? "GET /later HTTP/1.1\r\n" HOST "\r\nGET /x HTT"
                                    : "GET /big HTTP/1.1\r\n" HOST "\r\n");
        wait_until(&server->handled, i + 1);
        if (i % 2) {
            setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        }
        close_client(client);
    }
    struct client *client = open_client(server);
    send_text(client, "GET /after HTTP/1.1\r\n" HOST "\r\n");
    expect_reply(client, "/after ");
    close_client(client);
    stop(server);
}

static int drops(struct server *server, enum guard_drop reason)
{
    return atomic_load(&server->dropped[reason]);
}

/* Sends byte after byte, so that no idle timeout would ever come, until the server closes. */
static void dribble(struct client *client, const char *text, char endless)
{
    struct pollfd wait = {.fd = client->fd, .events = POLLIN};

    send_text(client, text);
    for (int i = 0; i < PATIENCE_MS / 5; i++) {
        send(client->fd, &endless, 1, MSG_NOSIGNAL);
        if (poll(&wait, 1, 5) != 0) {
            break;
        }
    }
    assert_int_equal(recv(client->fd, client->data, 1, 0) <= 0, 1);
}

static void closes_dribblers_at_the_deadline(void **state)
{
    static const struct {
        const char *text;
        enum guard_drop reason;
    } cases[] = {
        {"", GUARD_DROP_HEADER_LATE},
        {"GET / HTTP/1.1\r\nA: ", GUARD_DROP_HEADER_LATE},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 90000\r\n\r\n", GUARD_DROP_BODY_LATE},
        {"POST / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 90000\r\n\r\na",
         GUARD_DROP_BODY_LATE},
    };
    struct server *server = prepare(false);

    (void)state;
    server->options.header_timeout_ms = 40;
    server->options.body_timeout_ms = 40;
    start(server);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (int second = 0; second < 2; second++) {
            struct client *client = open_client(server);
            int before = drops(server, cases[i].reason);
            if (second) {
                send_text(client, "GET /first HTTP/1.1\r\n" HOST "\r\n");
                expect_reply(client, "/first ");
            }
            dribble(client, cases[i].text, 'A');
            assert_int_equal(drops(server, cases[i].reason), before + 1);
            close_client(client);
        }
    }
    assert_int_equal(atomic_load(&server->handled), 4);
    stop(server);
}

static void closes_silent_clients(void **state)
{
    struct server *server = prepare(false);

    (void)state;
    server->options.header_timeout_ms = 50;
    server->options.idle_timeout_ms = 50;
    start(server);
    struct client *silent = open_client(server);
    struct client *idle = open_client(server);
    send_text(idle, "GET / HTTP/1.1\r\n" HOST "\r\n");
    expect_reply(idle, "/ ");
    expect_end(idle);
    expect_end(silent);
    assert_int_equal(drops(server, GUARD_DROP_HEADER_LATE), 1);
    close_client(silent);
    close_client(idle);
    stop(server);
}

static void closes_unfinished_handshakes(void **state)
{
    struct server *server = prepare(true);
    struct client *client = xcalloc(1, sizeof(*client));

    (void)state;
    server->options.header_timeout_ms = 60;
    start(server);
    client->fd = dial(server);
    dribble(client, "", '\x16');
    close_client(client);
    stop(server);
}

static void closes_clients_that_do_not_read(void **state)
{
    struct server *server = prepare(false);

    (void)state;
    server->options.write_timeout_ms = 60;
    start(server);
    struct client *client = open_client(server);
    struct client *other = open_client(server);
    send_text(client, "GET /big HTTP/1.1\r\n" HOST "\r\nGET /x HTTP/1.1\r\n" HOST "\r\n");
    send_text(other, "GET /other HTTP/1.1\r\n" HOST "\r\n");
    expect_reply(other, "/other ");
    wait_until(&server->dropped[GUARD_DROP_NOT_READING], 1);
    close_client(client);
    close_client(other);
    stop(server);
}

/* While a client does not take its answer, what it sends stays with the kernel. */
static void bounds_what_it_holds_back(void **state)
{
    static char flood[64 * 1024];
    struct server *server = start_plain();
    struct client *client = open_client(server);
    struct pollfd wait = {.fd = client->fd, .events = POLLOUT};
    int pieces = 0;

    (void)state;
    memset(flood, 'x', sizeof(flood));
    send_text(client, "GET /big HTTP/1.1\r\n" HOST "\r\n");
    wait_until(&server->handled, 1);
    while (poll(&wait, 1, 100) == 1) {
        assert_true(pieces++ < 2000); /* more than loopback sockets take */
        send(client->fd, flood, sizeof(flood), MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    close_client(client);
    stop(server);
}

/* A handler may take longer than any of the guard's timeouts. */
static void waits_for_the_handler(void **state)
{
    struct server *server = prepare(false);

    (void)state;
    server->options.write_timeout_ms = 5;
    start(server);
    struct client *client = open_client(server);
    for (int i = 0; i < 3; i++) {
        send_text(client, "GET /later HTTP/1.1\r\n" HOST "\r\n");
        expect_reply(client, "/later ");
    }
    close_client(client);
    stop(server);
}

static void run_cap(bool with_tls)
{
    struct server *server = prepare(with_tls);
    struct client *clients[3];

    server->options.max_connections = ARRAY_LEN(clients);
    start(server);
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        clients[i] = open_client(server);
        send_text(clients[i], "GET / HTTP/1.1\r\n" HOST "\r\n");
        expect_reply(clients[i], "/ ");
    }
    for (int i = 0; i < 50; i++) {
        struct client *more = xcalloc(1, sizeof(*more));
        more->fd = dial(server);
        expect_end(more);
        close_client(more);
    }
    assert_int_equal(drops(server, GUARD_DROP_FULL), 50);
    assert_int_equal(atomic_load(&server->connections), ARRAY_LEN(clients));
    close_client(clients[0]);
    for (int i = 0; atomic_load(&server->connections) == 3 && i < PATIENCE_MS; i++) {
        usleep(1000);
    }
    clients[0] = open_client(server);
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        send_text(clients[i], "GET / HTTP/1.1\r\n" HOST "\r\n");
        expect_reply(clients[i], "/ ");
        close_client(clients[i]);
    }
    stop(server);
}

static void holds_the_cap(void **state)
{
    (void)state;
    run_cap(false);
}

static void holds_the_cap_over_tls(void **state)
{
    (void)state;
    run_cap(true);
}

/* Everything is freed while connections are in every state. */
static void ends_with_connections_open(void **state)
{
    static const char *const texts[] = {"",
                                        "GET",
                                        "POST / HTTP/1.1\r\n" HOST "Content-Length: 9\r\n\r\nabc",
                                        "GET /later HTTP/1.1\r\n" HOST "\r\n",
                                        "GET /big HTTP/1.1\r\n" HOST "\r\n",
                                        "bad"};
    struct server *server = start_plain();
    struct client *clients[ARRAY_LEN(texts)];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        clients[i] = open_client(server);
        send_text(clients[i], texts[i]);
    }
    wait_until(&server->handled, 2);
    wait_until(&server->refused, 1);
    wait_until(&server->completed, 1); /* of /later: evhttp forbids to free before it answered */
    assert_int_equal(write(server->stop[1], "", 1), 1);
    pthread_join(server->thread, NULL);
    guard_free(server->guard);
    evhttp_free(server->http);
    event_base_free(server->base);
    assert_int_equal(atomic_load(&server->connections), 0);
    close(server->stop[0]);
    close(server->stop[1]);
    free(server);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        close_client(clients[i]);
    }
}

static void survives_a_missing_bufferevent(void **state)
{
    struct server *server = prepare(false);

    (void)state;
    server->base = event_base_new();
    server->guard = guard_new(server->base, &server->options);
    struct bufferevent *bev = guard_wrap(server->guard, NULL);
    assert_non_null(bev);
    assert_int_equal(atomic_load(&server->connections), 0);
    bufferevent_free(bev);
    guard_free(server->guard);
    event_base_loop(server->base, EVLOOP_NONBLOCK);
    event_base_free(server->base);
    free(server);
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
        cmocka_unit_test(survives_clients_that_leave),
        cmocka_unit_test(closes_dribblers_at_the_deadline),
        cmocka_unit_test(closes_silent_clients),
        cmocka_unit_test(closes_unfinished_handshakes),
        cmocka_unit_test(closes_clients_that_do_not_read),
        cmocka_unit_test(bounds_what_it_holds_back),
        cmocka_unit_test(waits_for_the_handler),
        cmocka_unit_test(holds_the_cap),
        cmocka_unit_test(holds_the_cap_over_tls),
        cmocka_unit_test(ends_with_connections_open),
        cmocka_unit_test(survives_a_missing_bufferevent),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("guard", tests, NULL, NULL);
}
