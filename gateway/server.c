/* Server: puts the parts together, in this order: sockets, store, dispatcher (which reads back
 * what an earlier run left), workers, admin. Ends them in the reverse order. See server.h. */
#include "gateway/server.h"

#include "common/clock.h"
#include "common/log.h"
#include "gateway/admin.h"
#include "gateway/audit.h"
#include "gateway/connections.h"
#include "gateway/gateway.h"
#include "gateway/keeper.h"
#include "gateway/listener.h"
#include "gateway/metrics.h"
#include "gateway/notify.h"
#include "gateway/overload.h"
#include "gateway/process.h"
#include "gateway/reload.h"
#include "gateway/settings.h"
#include "gateway/streams.h"
#include "gateway/version.h"
#include "gateway/worker.h"

#include <event2/event.h>
#include <event2/thread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define DRAIN_POLL_MS  20
#define DRAIN_EXTRA_MS 5000  /* for outcomes and answers, beyond the longest upstream call */
#define PULSE_MS       30000 /* unless the service manager has another wish */

struct server {
    struct gateway gateway;
    const char *path;
    const struct settings *settings; /* of the start; those in force are reload's */
    struct reload *reload;
    struct event_base *base;
    struct admin *admin;
    struct keeper *keeper;
    struct streams *streams;
    struct notifier *notifier;
    bool hangs; /* as last logged */
    struct worker **workers;
    size_t worker_count;
    int *fds; /* worker_count for each listen address */
    int admin_fd;
    json_t *addresses;
    char admin_address[LISTENER_ADDRESS_SIZE];
    struct event *term;
    struct event *interrupt;
    struct event *hangup;
    struct event *poll;
    int64_t drain_deadline_ms;
};

static size_t count_workers(const struct config *config)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    return config->workers > 0 ? (size_t)config->workers : cores > 0 ? (size_t)cores : 1;
}

/* As many descriptors as the connections need, if the system lets us. */
static void raise_descriptor_limit(const struct config *config)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)config->limits.max_connections + 256;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < wanted) {
        limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        if (limit.rlim_cur < wanted) {
            log_warning("too few file descriptors for max_connections", "s:I, s:I", "wanted",
                        (json_int_t)wanted, "have", (json_int_t)limit.rlim_cur);
        }
    }
}

static enum err open_sockets(struct server *server, struct error *error)
{
    const struct config *config = server->settings->config;
    enum err err = OK;

    server->fds = xcalloc(config->listen.count * server->worker_count, sizeof(*server->fds));
    for (size_t i = 0; i < config->listen.count * server->worker_count; i++) {
        server->fds[i] = -1;
    }
    server->admin_fd = -1;
    server->addresses = json_array();
    for (size_t i = 0; err == OK && i < config->listen.count; i++) {
        char bound[LISTENER_ADDRESS_SIZE];
        err = listener_open(config_listen(config, i)->address, server->worker_count,
                            server->fds + i * server->worker_count, bound, error);
        if (err == OK) {
            (void)json_array_append_new(server->addresses, json_string(bound));
        }
    }
    if (err == OK && config->has_admin) {
        err = listener_open(config->admin.address, 1, &server->admin_fd, server->admin_address,
                            error);
        if (err == OK) {
            (void)json_array_append_new(server->addresses, json_string(server->admin_address));
        }
    }
    return err;
}

/* Records without a request: the answer is not waited for. */
static void record_event(struct server *server, const char *event, json_t *detail)
{
    struct store_write *write = store_write_new();
    json_t *record = audit_begin(event, NULL);

    audit_add(record, "detail", detail);
    store_write_add_record(write, audit_end(record));
    metrics_add(METRIC_AUDIT_RECORDS, event, NULL, 1);
    if (store_submit(server->gateway.store, write, NULL, NULL, NULL) != OK) {
        store_write_free(write);
        metrics_add(METRIC_AUDIT_FAILURES, NULL, NULL, 1);
    }
}

static void start_workers(struct server *server)
{
    const size_t listeners = server->settings->config->listen.count;
    CLEANUP(cleanup_free) int *fds = xcalloc(listeners, sizeof(*fds));

    server->workers = xcalloc(server->worker_count, sizeof(struct worker *));
    for (size_t w = 0; w < server->worker_count; w++) {
        for (size_t i = 0; i < listeners; i++) {
            fds[i] = server->fds[i * server->worker_count + w];
            server->fds[i * server->worker_count + w] = -1;
        }
        server->workers[w] = worker_new(&server->gateway, server->settings, fds);
        worker_start(server->workers[w]);
    }
}

static void start_reload(struct server *server)
{
    struct reload_parts parts = {.path = server->path,
                                 .started = server->settings->config,
                                 .notifier = server->notifier,
                                 .gateway = &server->gateway,
                                 .keeper = server->keeper,
                                 .workers = server->workers,
                                 .worker_count = server->worker_count};

    server->reload = reload_new(server->base, &parts, server->settings);
}

/* ---- Health ---- */

static void on_beat(const char *hangs, void *arg)
{
    struct server *server = arg;

    if (hangs == NULL) {
        notify_alive(server->notifier);
    } else if (!server->hangs) {
        log_error("a thread does not answer", "s:s", "thread", hangs);
    }
    server->hangs = hangs != NULL;
}

static void start_pulse(struct server *server)
{
    int64_t watchdog_ms = notifier_watchdog_ms(server->notifier);
    struct pulse *pulse =
        pulse_new(server->base, watchdog_ms > 0 ? watchdog_ms : PULSE_MS, on_beat, server);

    for (size_t w = 0; w < server->worker_count; w++) {
        pulse_watch_mailbox(pulse, "a worker", worker_mailbox(server->workers[w]));
    }
    pulse_watch_mailbox(pulse, "the dispatcher", dispatcher_mailbox(server->gateway.dispatcher));
    pulse_watch_store(pulse, server->gateway.store);
    server->gateway.pulse = pulse;
    pulse_start(pulse);
}

/* ---- Draining ---- */

static bool idle(const struct server *server)
{
    for (size_t w = 0; w < server->worker_count; w++) {
        if (worker_pending(server->workers[w]) > 0) {
            return false;
        }
    }
    return !dispatcher_busy(server->gateway.dispatcher);
}

static void on_poll(evutil_socket_t fd, short what, void *arg)
{
    struct server *server = arg;
    bool late = clock_boot_ms() > server->drain_deadline_ms;

    (void)fd;
    (void)what;
    if (idle(server) || late) {
        if (late) {
            log_warning("draining took too long: the rest is broken off", "");
        }
        (void)event_base_loopbreak(server->base);
        return;
    }
    /* Again and again: an acceptance may become durable only now. */
    if (!dispatcher_busy(server->gateway.dispatcher)) {
        for (size_t w = 0; w < server->worker_count; w++) {
            worker_finish_waiting(server->workers[w]);
        }
    }
}

static int64_t longest_call_ms(const struct config *config)
{
    int64_t longest_s = 0;

    for (size_t i = 0; i < config->accounts.count; i++) {
        int64_t timeout_s = config_account(config, i)->timeout_s;
        longest_s = timeout_s > longest_s ? timeout_s : longest_s;
    }
    return longest_s * 1000;
}

static void on_signal(evutil_socket_t signal, short what, void *arg)
{
    struct server *server = arg;
    const struct timeval interval = {.tv_usec = DRAIN_POLL_MS * 1000};

    (void)what;
    if (server->gateway.draining) {
        return;
    }
    log_info("draining", "s:s", "signal", strsignal((int)signal));
    notify_stopping(server->notifier, "draining: calls under way end");
    server->gateway.draining = true;
    server->drain_deadline_ms =
        clock_boot_ms() + longest_call_ms(reload_settings(server->reload)->config) + DRAIN_EXTRA_MS;
    reload_stop(server->reload);
    dispatcher_drain(server->gateway.dispatcher);
    for (size_t w = 0; w < server->worker_count; w++) {
        worker_drain(server->workers[w]);
    }
    (void)event_add(server->poll, &interval);
}

static void on_hangup(evutil_socket_t signal, short what, void *arg)
{
    struct server *server = arg;

    (void)signal;
    (void)what;
    reload_now(server->reload);
}

/* ---- Life ---- */

static void log_listening(const struct server *server)
{
    json_t *fields = json_pack("{s:O, s:s, s:s, s:I}", "addresses", server->addresses, "node",
                               server->settings->config->node, "version", TOLLGATE_VERSION,
                               "workers", (json_int_t)server->worker_count);

    if (server->settings->config->has_admin) {
        (void)json_object_set_new(fields, "admin", json_string(server->admin_address));
    }
    log_write(LOG_LEVEL_INFO, "listening", fields);
}

static enum err start(struct server *server, struct error *error)
{
    const struct config *config = server->settings->config;
    struct store *store = NULL;
    struct dispatcher *dispatcher = NULL;
    enum err err = open_sockets(server, error);

    if (err == OK) {
        server->keeper = keeper_new(server->settings);
        err = store_open(config->store, config->node, &store, error);
        server->gateway.store = store;
    }
    if (err != OK) {
        return err;
    }
    server->gateway.refusals = refusals_new(server->base, config, store);
    record_event(server, "node.started", json_pack("{s:s}", "version", TOLLGATE_VERSION));
    record_event(server, "config.loaded", settings_detail(server->settings));
    server->streams = streams_start(config, store, server->base);
    err = dispatcher_new(server->settings, store, &dispatcher, error);
    server->gateway.dispatcher = dispatcher;
    if (err == OK) {
        err = keeper_start(server->keeper, store, error);
    }
    if (err != OK) {
        return err;
    }
    start_workers(server);
    dispatcher_start(dispatcher);
    start_reload(server);
    if (server->admin_fd >= 0) {
        server->admin = admin_new(server->base, &server->gateway, server->admin_fd);
        server->admin_fd = -1;
    }
    metrics_set(METRIC_BUILD_INFO, TOLLGATE_VERSION, NULL, 1);
    log_listening(server);
    notify_ready(server->notifier, "serving");
    start_pulse(server);
    return OK;
}

/* The threads are gone: what they still had for one another is delivered here, until there is no
 * more, while all of them can still be asked. */
static void flush_mail(struct server *server)
{
    bool some = true;

    while (some) {
        some = server->gateway.dispatcher != NULL && dispatcher_flush(server->gateway.dispatcher);
        some =
            (server->gateway.refusals != NULL && refusals_flush(server->gateway.refusals)) || some;
        for (size_t w = 0; server->workers != NULL && w < server->worker_count; w++) {
            some = (server->workers[w] != NULL && worker_flush(server->workers[w])) || some;
        }
    }
}

static void stop(struct server *server)
{
    admin_free(server->admin);
    for (size_t w = 0; server->workers != NULL && w < server->worker_count; w++) {
        if (server->workers[w] != NULL) {
            worker_stop(server->workers[w]);
        }
    }
    if (server->gateway.dispatcher != NULL) {
        dispatcher_stop(server->gateway.dispatcher);
    }
    if (server->gateway.store != NULL) {
        refusals_end(server->gateway.refusals);
        record_event(server, "node.stopped", NULL);
        keeper_stop(server->keeper);
        streams_stop(server->streams);
        store_stop(server->gateway.store);
    }
    flush_mail(server);
    for (size_t w = 0; server->workers != NULL && w < server->worker_count; w++) {
        worker_free(server->workers[w]);
    }
    dispatcher_free(server->gateway.dispatcher);
    keeper_free(server->keeper);
    refusals_free(server->gateway.refusals);
    reload_free(server->reload);
    pulse_free(server->gateway.pulse);
    if (server->gateway.store != NULL) {
        store_free(server->gateway.store);
    }
}

static void close_sockets(struct server *server)
{
    size_t count = server->settings->config->listen.count * server->worker_count;

    for (size_t i = 0; server->fds != NULL && i < count; i++) {
        if (server->fds[i] >= 0) {
            (void)close(server->fds[i]);
        }
    }
    if (server->admin_fd >= 0) {
        (void)close(server->admin_fd);
    }
}

/* Confined first: keys are read into the heap for secrets. What is wrong now, its check found good
 * just before. */
static enum err make_settings(struct server *server, struct config *config_take,
                              struct error *error)
{
    struct problems problems = {0};
    enum err err = process_confine(config_take, error);

    if (err != OK) {
        config_free(config_take);
        return err;
    }
    err = settings_new(config_take, NULL, &server->settings, &problems);
    if (err != OK) {
        (void)error_set(error, err, "%s: %s", problems.items[0].pointer, problems.items[0].detail);
    }
    problems_done(&problems);
    return err;
}

static void set_up_loop(struct server *server)
{
    server->base = event_base_new();
    server->term = evsignal_new(server->base, SIGTERM, on_signal, server);
    server->interrupt = evsignal_new(server->base, SIGINT, on_signal, server);
    server->hangup = evsignal_new(server->base, SIGHUP, on_hangup, server);
    server->poll = event_new(server->base, -1, EV_PERSIST, on_poll, server);
    (void)event_add(server->term, NULL);
    (void)event_add(server->interrupt, NULL);
    (void)event_add(server->hangup, NULL);
}

static void free_loop(struct server *server)
{
    event_free(server->term);
    event_free(server->interrupt);
    event_free(server->hangup);
    event_free(server->poll);
    event_base_free(server->base);
}

enum err server_run(const char *path, struct config *config_take, struct error *error)
{
    struct server server = {.path = path, .admin_fd = -1};
    enum err err = make_settings(&server, config_take, error);

    if (err != OK) {
        return err;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    (void)evthread_use_pthreads();
    raise_descriptor_limit(server.settings->config);
    server.gateway.connections = connections_new();
    server.gateway.overload = overload_new();
    server.worker_count = count_workers(server.settings->config);
    server.notifier = notifier_new();
    set_up_loop(&server);
    err = start(&server, error);
    if (err == OK) {
        (void)event_base_dispatch(server.base);
    }
    stop(&server);
    close_sockets(&server);
    free_loop(&server);
    json_decref(server.addresses);
    free(server.workers);
    free(server.fds);
    settings_unref(server.settings);
    connections_free(server.gateway.connections);
    overload_free(server.gateway.overload);
    notifier_free(server.notifier);
    log_info("stopped", "");
    return err;
}
