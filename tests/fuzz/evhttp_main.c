/* evhttp, as a program: each line of stdin is a stream of bytes in hex, as for framer_main; each
 * line of stdout says as JSON which requests evhttp, set up as the gateway does, hands to its
 * callback when it gets them with nothing in front of it. Over loopback, one connection for each:
 *   {"messages":[{"method":"GET","target":"/","body":"<hex>","last":false}]}
 * last: evhttp closes the connection after it. A stream ends with a request for /end, so that it is
 * known when all of it was read; if that never comes, a connection that is silent for some seconds
 * ends it too. */
#include "hex.h"

#include "common/crypto.h"
#include "common/json.h"

#include <arpa/inet.h>
#include <assert.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/http_struct.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#define MAX_HEADER_BYTES 8192
#define MAX_BODY_BYTES   1048576

static const struct {
    enum evhttp_cmd_type command;
    const char *name;
} methods[] = {
    {EVHTTP_REQ_GET, "GET"},         {EVHTTP_REQ_HEAD, "HEAD"},     {EVHTTP_REQ_POST, "POST"},
    {EVHTTP_REQ_PUT, "PUT"},         {EVHTTP_REQ_DELETE, "DELETE"}, {EVHTTP_REQ_PATCH, "PATCH"},
    {EVHTTP_REQ_OPTIONS, "OPTIONS"},
};

struct reader {
    struct event_base *base;
    struct sockaddr_in address;
    json_t *messages;
};

static const char *method_name(enum evhttp_cmd_type command)
{
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        if (methods[i].command == command) {
            return methods[i].name;
        }
    }
    return "?";
}

/* Whether evhttp takes nothing behind that request; of a list of options it knows the first. */
static bool is_last(struct evhttp_request *http)
{
    const char *connection =
        evhttp_find_header(evhttp_request_get_input_headers(http), "Connection");

    if (connection != NULL && strcasecmp(connection, "close") == 0) {
        return true;
    }
    return http->minor == 0 &&
           (connection == NULL || strncasecmp(connection, "keep-alive", 10) != 0);
}

static void on_request(struct evhttp_request *http, void *arg)
{
    struct reader *reader = arg;
    struct evbuffer *body = evhttp_request_get_input_buffer(http);
    size_t len = evbuffer_get_length(body);
    CLEANUP(cleanup_free) char *hex = xcalloc(2 * len + 1, 1);
    struct evbuffer *answer = evbuffer_new();
    bool ends = strcmp(evhttp_request_get_uri(http), "/end") == 0;

    crypto_hex(evbuffer_pullup(body, -1), len, hex);
    (void)json_array_append_new(
        reader->messages,
        json_pack("{s:s, s:s, s:s, s:b}", "method", method_name(evhttp_request_get_command(http)),
                  "target", evhttp_request_get_uri(http), "body", hex, "last", (int)is_last(http)));
    evhttp_send_reply(http, 200, "OK", answer);
    evbuffer_free(answer);
    if (ends) {
        (void)event_base_loopbreak(reader->base);
    }
}

/* ---- The client ---- */

static void on_readable(struct bufferevent *client, void *arg)
{
    struct evbuffer *answers = bufferevent_get_input(client);

    (void)arg;
    (void)evbuffer_drain(answers, evbuffer_get_length(answers));
}

static void on_event(struct bufferevent *client, short what, void *arg)
{
    struct reader *reader = arg;

    (void)client;
    if ((what & BEV_EVENT_CONNECTED) == 0) {
        (void)event_base_loopbreak(reader->base);
    }
}

/* Sends a stream, and waits for its end. The connection is reset: closed ones would use up the
 * ports. */
static void feed(struct reader *reader, const char *data, size_t len)
{
    const struct timeval silence = {.tv_sec = 5};
    const struct linger reset = {.l_onoff = 1};
    struct bufferevent *client = bufferevent_socket_new(reader->base, -1, BEV_OPT_CLOSE_ON_FREE);

    bufferevent_setcb(client, on_readable, NULL, on_event, reader);
    (void)bufferevent_set_timeouts(client, &silence, &silence);
    if (bufferevent_socket_connect(client, (struct sockaddr *)&reader->address,
                                   sizeof(reader->address)) != 0 ||
        bufferevent_write(client, data, len) != 0 ||
        bufferevent_enable(client, EV_READ | EV_WRITE) != 0) {
        (void)fputs("the connection failed\n", stderr);
        exit(1);
    }
    (void)event_base_dispatch(reader->base);
    (void)setsockopt(bufferevent_getfd(client), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    bufferevent_free(client);
}

/* An evhttp as the gateway makes them, on a free port. */
static struct evhttp *new_server(struct reader *reader)
{
    struct evhttp *http = evhttp_new(reader->base);
    struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(http, "127.0.0.1", 0);
    socklen_t len = sizeof(reader->address);

    assert(bound != NULL);
    if (getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&reader->address, &len) !=
        0) {
        perror("getsockname");
        exit(1);
    }
    evhttp_set_gencb(http, on_request, reader);
    evhttp_set_default_content_type(http, NULL);
    evhttp_set_allowed_methods(http, UINT16_MAX);
    evhttp_set_max_headers_size(http, MAX_HEADER_BYTES + 1024);
    evhttp_set_max_body_size(http, MAX_BODY_BYTES);
    return http;
}

int main(void)
{
    struct reader reader = {.base = event_base_new()};
    struct evhttp *http = new_server(&reader);
    char *line = NULL;
    size_t capacity = 0;

    (void)signal(SIGPIPE, SIG_IGN);
    while (getline(&line, &capacity, stdin) > 0) {
        size_t len = hex_decode(line);
        reader.messages = json_array();
        feed(&reader, line, len);
        CLEANUP(cleanup_json) json_t *seen = json_pack("{s:o}", "messages", reader.messages);
        CLEANUP(cleanup_free) char *text = json_write(seen);
        (void)puts(text);
    }
    free(line);
    evhttp_free(http);
    event_base_free(reader.base);
    return 0;
}
