/* What the tests of the guard share: see guard_fixture.h. */
#include "guard_fixture.h"

#include "common/memory.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- The server ---- */

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

    assert_memory_equal(remote, "127.0.0.", 8);
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
    } else if (strncmp(target, "/pause", 6) == 0) {
        guard_pause(evhttp_connection_get_bufferevent(evhttp_request_get_connection(req)),
                    server->pause_ms);
        reply(req);
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

struct server *prepare(bool with_tls)
{
    struct server *server = xcalloc(1, sizeof(*server));

    server->connections = connections_new();
    server->options = (struct guard_options){
        .limits = {.max_header_bytes = 8192, .max_headers = 64, .max_body_bytes = 100000},
        .header_timeout_ms = PATIENCE_MS,
        .body_timeout_ms = PATIENCE_MS,
        .idle_timeout_ms = PATIENCE_MS,
        .write_timeout_ms = PATIENCE_MS,
        .max_connections = 100,
        .max_connections_per_address = 100,
        .connections = server->connections,
        .make_request_id = make_request_id,
        .on_refused = on_refused,
        .on_dropped = on_dropped,
        .arg = server,
    };
    server->tls = with_tls ? make_tls() : NULL;
    return server;
}

void start(struct server *server)
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

struct server *start_plain(void)
{
    struct server *server = prepare(false);
    start(server);
    return server;
}

void stop(struct server *server)
{
    for (int i = 0; connections_open(server->connections) > 0 && i < PATIENCE_MS; i++) {
        usleep(1000);
    }
    assert_int_equal(connections_open(server->connections), 0);
    assert_int_equal(write(server->stop[1], "", 1), 1);
    pthread_join(server->thread, NULL);
    evhttp_free(server->http);
    guard_free(server->guard);
    event_base_free(server->base);
    connections_free(server->connections);
    SSL_CTX_free(server->tls);
    close(server->stop[0]);
    close(server->stop[1]);
    free(server);
}

void wait_until(atomic_int *counter, int least)
{
    for (int i = 0; atomic_load(counter) < least; i++) {
        assert_true(i < PATIENCE_MS);
        usleep(1000);
    }
}

/* ---- The client ---- */

int dial_from(const struct server *server, const char *source)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(inet_pton(AF_INET, source, &address.sin_addr), 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    address.sin_port = htons(server->port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return fd;
}

int dial(const struct server *server)
{
    return dial_from(server, "127.0.0.1");
}

struct client *open_client(const struct server *server)
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

void close_client(struct client *client)
{
    SSL_free(client->ssl);
    close(client->fd);
    free(client);
}

bool send_bytes(struct client *client, const char *data, size_t len)
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

bool send_text(struct client *client, const char *text)
{
    return send_bytes(client, text, strlen(text));
}

bool receive(struct client *client)
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

void take(struct client *client, size_t len)
{
    client->len -= len;
    memmove(client->data, client->data + len, client->len + 1);
}

void read_head(struct client *client, struct response *response)
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

void read_response(struct client *client, struct response *response)
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

void expect_reply(struct client *client, const char *body)
{
    struct response response = {0};

    read_response(client, &response);
    assert_int_equal(response.status, 200);
    assert_string_equal(response.body, body);
}

void expect_end(struct client *client)
{
    bool more = receive(client);
    if (more) {
        fail_msg("more instead of the end: %s", client->data);
    }
    assert_int_equal(client->len, 0);
}

void expect_problem(struct server *server, struct client *client, int status, const char *problem)
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
