/* Admin: see admin.h. */
#include "gateway/admin.h"

#include "common/json.h"
#include "gateway/connections.h"
#include "gateway/guard.h"
#include "gateway/metrics.h"
#include "gateway/request.h"

#include <assert.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CONNECTIONS  256
#define TIMEOUT_MS       10000
#define IDLE_TIMEOUT_MS  120000
#define MAX_HEADER_BYTES 16384
#define MAX_HEADERS      64

struct admin {
    struct gateway *gateway;
    struct evhttp *http;
    struct guard *guard;
    struct evconnlistener *listener;
    struct event *resume;
    struct connections *connections;
};

/* The one of this process: evhttp has put its own argument in the place of the listener's. */
static struct admin *only;

static void reply(struct evhttp_request *http, int status, const char *type, const char *text)
{
    struct evbuffer *buffer = evbuffer_new();

    char length[24];

    if (evhttp_request_get_command(http) == EVHTTP_REQ_HEAD) {
        (void)snprintf(length, sizeof(length), "%zu", strlen(text));
        (void)evhttp_add_header(evhttp_request_get_output_headers(http), "Content-Length", length);
    } else {
        (void)evbuffer_add(buffer, text, strlen(text));
    }
    (void)evhttp_add_header(evhttp_request_get_output_headers(http), "Content-Type", type);
    (void)evhttp_add_header(evhttp_request_get_output_headers(http), "Cache-Control", "no-store");
    evhttp_send_reply(http, status, NULL, buffer);
    evbuffer_free(buffer);
}

/* Live: the main thread is the one that answers; the others must have answered it. */
static void on_livez(struct admin *admin, struct evhttp_request *http)
{
    const char *hangs = pulse_hangs(admin->gateway->pulse);
    CLEANUP(cleanup_free) char *text = NULL;

    if (hangs == NULL) {
        reply(http, 200, "application/json", "{\"live\":true}\n");
        return;
    }
    text = xasprintf("{\"live\":false,\"problems\":[\"%s does not answer\"]}\n", hangs);
    reply(http, 503, "application/json", text);
}

/* Ready: would an action sent now be taken? One account without a token does not take the whole
 * gateway out of service. */
static void on_readyz(struct admin *admin, struct evhttp_request *http)
{
    struct gateway *gateway = admin->gateway;
    json_t *problems = json_array();
    bool ready;

    if (gateway->draining) {
        (void)json_array_append_new(problems, json_string("shutting down"));
    }
    if (!store_healthy(gateway->store)) {
        (void)json_array_append_new(problems, json_string("the store cannot be written"));
    }
    if (!dispatcher_has_token(gateway->dispatcher)) {
        (void)json_array_append_new(problems,
                                    json_string("no account has got a token from its upstream"));
    }
    ready = json_array_size(problems) == 0;
    CLEANUP(cleanup_json)
    json_t *body = json_pack("{s:b, s:o}", "ready", (int)ready, "problems", problems);
    CLEANUP(cleanup_free) char *text = json_write(body);
    reply(http, ready ? 200 : 503, "application/json", text);
}

static void on_metrics(struct admin *admin, struct evhttp_request *http)
{
    CLEANUP(cleanup_free) char *text = NULL;

    metrics_set(METRIC_CONNECTIONS, NULL, NULL,
                (double)connections_open(admin->gateway->connections));
    text = metrics_text();
    reply(http, 200, "text/plain; version=0.0.4; charset=utf-8", text);
}

static const struct {
    const char *path;
    void (*handle)(struct admin *admin, struct evhttp_request *http);
} pages[] = {{"/livez", on_livez}, {"/readyz", on_readyz}, {"/metrics", on_metrics}};

static void reply_problem(struct evhttp_request *http, enum problem_type type, const char *detail)
{
    char id[REQUEST_ID_SIZE];
    CLEANUP(cleanup_json) json_t *problem = NULL;
    CLEANUP(cleanup_free) char *text = NULL;

    request_make_id(id, sizeof(id));
    problem = problem_json(type, detail, id);
    text = json_write(problem);
    reply(http, problem_status(type), "application/problem+json", text);
}

static void on_request(struct evhttp_request *http, void *arg)
{
    const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(http));

    for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
        if (path != NULL && strcmp(path, pages[i].path) == 0) {
            if (evhttp_request_get_command(http) == EVHTTP_REQ_GET) {
                pages[i].handle(arg, http);
                return;
            }
            (void)evhttp_add_header(evhttp_request_get_output_headers(http), "Allow", "GET");
            reply_problem(http, PROBLEM_METHOD_NOT_ALLOWED, "Only GET is.");
            return;
        }
    }
    reply_problem(http, PROBLEM_NOT_FOUND, "Here are /livez, /readyz and /metrics.");
}

static struct bufferevent *on_connection(struct event_base *base, void *arg)
{
    struct admin *admin = arg;

    return guard_wrap(admin->guard, bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE));
}

static void make_request_id(char ret_id[GUARD_REQUEST_ID_SIZE], void *arg)
{
    (void)arg;
    request_make_id(ret_id, GUARD_REQUEST_ID_SIZE);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    struct admin *admin = arg;

    (void)fd;
    (void)what;
    (void)evconnlistener_enable(admin->listener);
}

/* Out of descriptors: a listener that goes on accepting would spin. */
static void on_accept_error(struct evconnlistener *listener, void *evhttp)
{
    static const struct timeval pause = {.tv_usec = 100000};

    (void)evhttp;
    (void)evconnlistener_disable(listener);
    (void)evtimer_add(only->resume, &pause);
}

struct admin *admin_new(struct event_base *base, struct gateway *gateway, int fd)
{
    struct admin *admin = xcalloc(1, sizeof(*admin));
    struct guard_options options = {
        .limits = {.max_header_bytes = MAX_HEADER_BYTES,
                   .max_headers = MAX_HEADERS,
                   .max_body_bytes = 1024},
        .header_timeout_ms = TIMEOUT_MS,
        .body_timeout_ms = TIMEOUT_MS,
        .idle_timeout_ms = IDLE_TIMEOUT_MS,
        .write_timeout_ms = TIMEOUT_MS,
        .max_connections = MAX_CONNECTIONS,
        .max_connections_per_address = MAX_CONNECTIONS,
        .connections = connections_new(),
        .make_request_id = make_request_id,
    };

    assert(only == NULL);
    only = admin;
    admin->gateway = gateway;
    admin->connections = options.connections;
    admin->guard = guard_new(base, &options);
    admin->http = evhttp_new(base);
    admin->listener =
        evconnlistener_new(base, NULL, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, -1, fd);
    admin->resume = evtimer_new(base, on_resume, admin);
    assert(admin->http != NULL && admin->listener != NULL && admin->resume != NULL);
    evconnlistener_set_error_cb(admin->listener, on_accept_error);
    (void)evhttp_bind_listener(admin->http, admin->listener);
    evhttp_set_bevcb(admin->http, on_connection, admin);
    evhttp_set_gencb(admin->http, on_request, admin);
    evhttp_set_default_content_type(admin->http, NULL);
    evhttp_set_allowed_methods(admin->http, UINT16_MAX);
    evhttp_set_max_headers_size(admin->http, MAX_HEADER_BYTES + 1024);
    return admin;
}

void admin_free(struct admin *admin)
{
    if (admin != NULL) {
        evhttp_free(admin->http);
        event_free(admin->resume);
        only = NULL;
        guard_free(admin->guard);
        connections_free(admin->connections);
        free(admin);
    }
}
