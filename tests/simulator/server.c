/*
 * The event loop, the listeners, the signals, and the making and freeing of all parts.
 */
#include "server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "exchange.h"
#include "handlers.h"
#include "listen.h"
#include "tls.h"

#define BODY_BYTES_MAX   (16 << 20)
#define HEADER_BYTES_MAX 65536
#define IDLE_TIMEOUT_S   300

/* Called by evhttp for every connection it accepts. */
static struct bufferevent *on_connection(struct event_base *base, void *sim_arg)
{
    struct sim *sim = sim_arg;
    struct bufferevent *bev = NULL;

    sim->stats.connections++;
    bev = sim->tls ? tls_bufferevent_new(base, sim->tls)
                   : bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    if (!bev) {
        /* NULL would make evhttp serve plain HTTP. */
        fputs("tollgate-sim: cannot make a connection\n", stderr);
        abort();
    }
    return bev;
}

static bool server_listen(struct sim *sim, struct problem *problem)
{
    json_t *addresses = json_array();
    json_t *line = json_pack("{ss so}", "msg", "listening", "addresses", addresses);
    bool bound = true;

    for (size_t i = 0; bound && i < sim->options->listen_count; i++) {
        bound = listen_bind(sim->http, sim->options->listen[i], addresses, problem);
    }
    if (bound) {
        json_dumpf(line, stderr, JSON_COMPACT);
        fputc('\n', stderr);
    }
    json_decref(line);
    return bound;
}

static void server_make_http(struct sim *sim)
{
    sim->base = event_base_new();
    sim->http = sim->base ? evhttp_new(sim->base) : NULL;
    if (!sim->http) {
        fputs("tollgate-sim: cannot make the event loop\n", stderr);
        abort();
    }
    evhttp_set_allowed_methods(sim->http, EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_HEAD |
                                              EVHTTP_REQ_PUT | EVHTTP_REQ_DELETE |
                                              EVHTTP_REQ_OPTIONS | EVHTTP_REQ_PATCH);
    evhttp_set_max_body_size(sim->http, BODY_BYTES_MAX);
    evhttp_set_max_headers_size(sim->http, HEADER_BYTES_MAX);
    evhttp_set_timeout(sim->http, IDLE_TIMEOUT_S);
    evhttp_set_bevcb(sim->http, on_connection, sim);
    evhttp_set_gencb(sim->http, route_request, sim);
}

struct sim *server_new(const struct options *options, struct problem *problem)
{
    struct sim *sim = sim_calloc(1, sizeof(*sim));

    sim->options = options;
    LIST_INIT(&sim->exchanges);
    random_init(&sim->random, options->seed);
    sim->limiter = limiter_new(options->algorithm, options->limit, options->window_us);
    sim->tokens = tokens_new(options->token_ttl_s * 1000000, options->access_token);
    sim->faults = faults_new();
    sim->calls = calls_new();
    server_make_http(sim);
    sim->devices =
        options->devices ? devices_new_from_file(options->devices, problem) : devices_new_builtin();
    if (!sim->devices) {
        goto failed;
    }
    if (options->tls_certificate) {
        sim->tls = tls_context_new(options->tls_certificate, options->tls_key, problem);
        if (!sim->tls) {
            goto failed;
        }
    }
    if (!server_listen(sim, problem)) {
        goto failed;
    }
    return sim;

failed:
    server_free(sim);
    return NULL;
}

void server_free(struct sim *sim)
{
    if (!sim) {
        return;
    }
    exchange_drop_all(sim);
    evhttp_free(sim->http);
    event_base_free(sim->base);
    SSL_CTX_free(sim->tls);
    calls_free(sim->calls);
    faults_free(sim->faults);
    devices_free(sim->devices);
    tokens_free(sim->tokens);
    limiter_free(sim->limiter);
    free(sim);
}

static void on_signal(evutil_socket_t number, short what, void *sim_arg)
{
    struct sim *sim = sim_arg;

    (void)number;
    (void)what;
    event_base_loopbreak(sim->base);
}

void server_run(struct sim *sim)
{
    struct event *term = evsignal_new(sim->base, SIGTERM, on_signal, sim);
    struct event *interrupt = evsignal_new(sim->base, SIGINT, on_signal, sim);

    event_add(term, NULL);
    event_add(interrupt, NULL);
    event_base_dispatch(sim->base);
    event_free(term);
    event_free(interrupt);
}
