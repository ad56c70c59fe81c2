/* Worker: see worker.h. */
#include "gateway/worker.h"

#include "common/log.h"
#include "gateway/guard.h"
#include "gateway/metrics.h"
#include "gateway/request.h"
#include "gateway/routes.h"

#include <assert.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_MAIL         65536
#define PARKED_BUCKETS   1024
#define WRITE_TIMEOUT_MS 30000
#define MAX_HEADERS      64

/* One evhttp for each listener of the configuration. */
struct door {
    struct worker *worker;
    size_t index; /* in the configuration */
    struct evhttp *http;
    struct evconnlistener *listener;
    struct event *resume;
};

struct worker {
    struct gateway *gateway;
    const struct settings *settings;
    struct event_base *base;
    struct mailbox *mailbox;
    struct guard *guard;
    struct door *doors;
    size_t door_count;
    pthread_t thread;
    bool started;
    atomic_size_t pending;
    uint64_t last_token;
    struct request *parked[PARKED_BUCKETS];
};

/* ---- Parked requests ---- */

void worker_park(struct worker *worker, struct request *request)
{
    struct request **bucket;

    request->token = ++worker->last_token;
    bucket = &worker->parked[request->token % PARKED_BUCKETS];
    request->next = *bucket;
    *bucket = request;
}

static struct request **find_parked(struct worker *worker, uint64_t token)
{
    struct request **link = &worker->parked[token % PARKED_BUCKETS];

    while (*link != NULL && (*link)->token != token) {
        link = &(*link)->next;
    }
    return link;
}

void worker_unpark(struct worker *worker, struct request *request)
{
    struct request **link = find_parked(worker, request->token);

    assert(*link == request);
    *link = request->next;
}

void worker_on_reply(struct mail *mail, void *receiver)
{
    struct dispatcher_reply *reply = (struct dispatcher_reply *)mail;
    struct request *request = *find_parked(receiver, reply->token);

    if (request != NULL) {
        action_call_on_reply(request, reply);
    }
    dispatcher_reply_free(reply);
}

void worker_on_answer(struct mail *mail, void *receiver)
{
    struct worker *worker = receiver;
    struct question *question = (struct question *)mail;
    struct request *request = *find_parked(worker, question->token);

    if (request == NULL) {
        question_free(question);
        return;
    }
    worker_unpark(worker, request);
    request->on_answer(request, question);
}

void worker_count(struct worker *worker, int change)
{
    worker->pending += (size_t)change;
}

struct gateway *worker_gateway(const struct worker *worker)
{
    return worker->gateway;
}

const struct settings *worker_settings(const struct worker *worker)
{
    return worker->settings;
}

struct mailbox *worker_mailbox(const struct worker *worker)
{
    return worker->mailbox;
}

struct event_base *worker_base(const struct worker *worker)
{
    return worker->base;
}

/* ---- The guard ---- */

static void make_request_id(char ret_id[GUARD_REQUEST_ID_SIZE], void *arg)
{
    (void)arg;
    request_make_id(ret_id, GUARD_REQUEST_ID_SIZE);
}

static void on_refused(const struct guard_refusal *refusal, void *arg)
{
    struct worker *worker = arg;
    struct refusals *refusals = worker->gateway->refusals;
    struct subject subject = {.request_id = (char *)refusal->request_id,
                              .remote = (char *)refusal->remote};
    char code[8];

    (void)snprintf(code, sizeof(code), "%d", refusal->status);
    metrics_add(METRIC_HTTP_REQUESTS, "none", code, 1);
    if (!refusals_add(refusals, refusal->remote, refusal->problem)) {
        return;
    }
    json_t *record = audit_begin("request.refused", &subject);
    audit_add_text(record, "decision", "deny");
    audit_add_text(record, "problem", refusal->problem);
    audit_add(record, "detail", json_pack("{s:s}", "text", refusal->detail));
    metrics_add(METRIC_AUDIT_RECORDS, "request.refused", NULL, 1);
    refusals_record(refusals, refusal->remote, refusal->problem, audit_end(record));
}

static void on_dropped(enum guard_drop reason, const char *remote, void *arg)
{
    (void)remote;
    (void)arg;
    if (reason == GUARD_DROP_FULL || reason == GUARD_DROP_ADDRESS) {
        metrics_add(METRIC_CONNECTIONS_REFUSED, reason == GUARD_DROP_FULL ? "all" : "address", NULL,
                    1);
    }
}

static struct guard_options guard_options_of(struct worker *worker)
{
    const struct config *config = worker->settings->config;

    return (struct guard_options){
        .limits = {.max_header_bytes = (size_t)config->limits.max_header_bytes,
                   .max_headers = MAX_HEADERS,
                   .max_body_bytes = (uint64_t)config->limits.max_body_bytes},
        .header_timeout_ms = config->limits.header_timeout_s * 1000,
        .body_timeout_ms = config->limits.body_timeout_s * 1000,
        .idle_timeout_ms = config->limits.idle_timeout_s * 1000,
        .write_timeout_ms = WRITE_TIMEOUT_MS,
        .max_connections = (size_t)config->limits.max_connections,
        .max_connections_per_address = (size_t)config->limits.max_connections_per_address,
        .connections = worker->gateway->connections,
        .make_request_id = make_request_id,
        .on_refused = on_refused,
        .on_dropped = on_dropped,
        .arg = worker,
    };
}

static struct bufferevent *on_connection(struct event_base *base, void *arg)
{
    struct door *door = arg;
    const struct settings *settings = door->worker->settings;
    SSL_CTX *tls = settings->tls[door->index];
    struct bufferevent *bev = NULL; /* NULL: the guard closes the connection */
    SSL *ssl;

    if (tls == NULL) {
        bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    } else if ((ssl = SSL_new(tls)) != NULL) {
        peer_set(ssl, settings, door->index);
        bev = bufferevent_openssl_socket_new(base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING,
                                             BEV_OPT_CLOSE_ON_FREE);
    }
    return guard_wrap(door->worker->guard, bev);
}

/* ---- Doors ---- */

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    struct door *door = arg;

    (void)fd;
    (void)what;
    (void)evconnlistener_enable(door->listener);
}

/* The worker of this thread: evhttp has put its own argument in the place of the listener's. */
static _Thread_local struct worker *this_worker;

/* Out of descriptors: a listener that goes on accepting would spin. */
static void on_accept_error(struct evconnlistener *listener, void *evhttp)
{
    struct timeval pause = {.tv_usec = 100000};
    size_t i = 0;

    (void)evhttp;
    while (this_worker->doors[i].listener != listener) {
        i++;
    }
    log_warning("cannot accept connections", "s:s", "error",
                evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
    (void)evconnlistener_disable(listener);
    (void)evtimer_add(this_worker->doors[i].resume, &pause);
}

/* The guard holds the limits; evhttp's own only must not be in the way. */
static void set_header_limit(const struct door *door)
{
    const struct config *config = door->worker->settings->config;

    evhttp_set_max_headers_size(door->http, (ev_ssize_t)config->limits.max_header_bytes + 1024);
}

static void open_door(struct worker *worker, size_t index, int fd)
{
    struct door *door = &worker->doors[index];

    door->worker = worker;
    door->index = index;
    door->http = evhttp_new(worker->base);
    door->listener = evconnlistener_new(worker->base, NULL, NULL,
                                        LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, -1, fd);
    door->resume = evtimer_new(worker->base, on_resume, door);
    assert(door->http != NULL && door->listener != NULL && door->resume != NULL);
    evconnlistener_set_error_cb(door->listener, on_accept_error);
    (void)evhttp_bind_listener(door->http, door->listener);
    evhttp_set_bevcb(door->http, on_connection, door);
    evhttp_set_gencb(door->http, on_http_request, worker);
    evhttp_set_default_content_type(door->http, NULL);
    evhttp_set_allowed_methods(door->http, UINT16_MAX);
    set_header_limit(door);
}

struct worker *worker_new(struct gateway *gateway, const struct settings *settings, const int *fds)
{
    struct worker *worker = xcalloc(1, sizeof(*worker));
    struct guard_options options;

    worker->gateway = gateway;
    worker->settings = settings_ref(settings);
    worker->base = event_base_new();
    worker->mailbox = mailbox_new(worker->base, MAX_MAIL, NULL, worker);
    options = guard_options_of(worker);
    worker->guard = guard_new(worker->base, &options);
    worker->door_count = settings->config->listen.count;
    worker->doors = xcalloc(worker->door_count, sizeof(*worker->doors));
    for (size_t i = 0; i < worker->door_count; i++) {
        open_door(worker, i, fds[i]);
    }
    return worker;
}

/* ---- The thread ---- */

static void *run(void *arg)
{
    struct worker *worker = arg;

    (void)pthread_setname_np(pthread_self(), "worker");
    this_worker = worker;
    (void)event_base_dispatch(worker->base);
    return NULL;
}

void worker_start(struct worker *worker)
{
    int failed = pthread_create(&worker->thread, NULL, run, worker);

    assert(failed == 0);
    worker->started = true;
}

static void drain(struct worker *worker)
{
    for (size_t i = 0; i < worker->door_count; i++) {
        (void)evconnlistener_disable(worker->doors[i].listener);
        (void)evtimer_del(worker->doors[i].resume);
    }
}

static void finish_waiting(struct worker *worker)
{
    for (size_t i = 0; i < PARKED_BUCKETS; i++) {
        struct request *next;
        for (struct request *request = worker->parked[i]; request != NULL; request = next) {
            next = request->next;
            if (request->accepted) {
                action_call_stop_waiting(request);
            }
        }
    }
}

static void stop(struct worker *worker)
{
    (void)event_base_loopbreak(worker->base);
}

struct order {
    struct mail mail;
    void (*carry_out)(struct worker *worker);
};

static void on_order(struct mail *mail, void *receiver)
{
    struct order *order = (struct order *)mail;

    order->carry_out(receiver);
    free(order);
}

static void post_order(struct worker *worker, void (*carry_out)(struct worker *worker))
{
    struct order *order = xcalloc(1, sizeof(*order));

    order->mail.deliver = on_order;
    order->carry_out = carry_out;
    mailbox_answer(worker->mailbox, &order->mail);
}

/* ---- Other settings ---- */

struct change {
    struct mail mail;
    const struct settings *settings;
    struct mailbox *reply_to;
    void (*on_done)(struct mail *mail, void *receiver);
};

static void on_change(struct mail *mail, void *receiver)
{
    struct change *change = (struct change *)mail;
    struct worker *worker = receiver;
    const struct settings *before = worker->settings;
    struct guard_options options;

    worker->settings = change->settings;
    settings_unref(before);
    options = guard_options_of(worker);
    guard_configure(worker->guard, &options);
    for (size_t i = 0; i < worker->door_count; i++) {
        set_header_limit(&worker->doors[i]);
    }
    change->mail.deliver = change->on_done;
    mailbox_answer(change->reply_to, &change->mail);
}

void worker_configure(struct worker *worker, const struct settings *settings,
                      struct mailbox *reply_to, void (*on_done)(struct mail *mail, void *receiver))
{
    struct change *change = xcalloc(1, sizeof(*change));

    *change = (struct change){.mail = {.deliver = on_change},
                              .settings = settings_ref(settings),
                              .reply_to = reply_to,
                              .on_done = on_done};
    mailbox_answer(worker->mailbox, &change->mail);
}

/* ---- Orders ---- */

void worker_drain(struct worker *worker)
{
    post_order(worker, drain);
}

void worker_finish_waiting(struct worker *worker)
{
    post_order(worker, finish_waiting);
}

size_t worker_pending(const struct worker *worker)
{
    return worker->pending;
}

void worker_stop(struct worker *worker)
{
    if (worker->started) {
        post_order(worker, stop);
        (void)pthread_join(worker->thread, NULL);
        worker->started = false;
    }
}

bool worker_flush(struct worker *worker)
{
    return mailbox_flush(worker->mailbox);
}

void worker_free(struct worker *worker)
{
    if (worker == NULL) {
        return;
    }
    mailbox_free(worker->mailbox);
    for (size_t i = 0; i < worker->door_count; i++) {
        struct door *door = &worker->doors[i];
        evhttp_free(door->http);
        event_free(door->resume);
    }
    guard_free(worker->guard);
    /* Connections end in the loop: let it turn. */
    (void)event_base_loop(worker->base, EVLOOP_NONBLOCK);
    event_base_free(worker->base);
    free(worker->doors);
    settings_unref(worker->settings);
    free(worker);
}
