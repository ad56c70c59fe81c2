/* Streams: see streams.h. The thread, what is remembered, and the end. */
#include "gateway/streams_priv.h"

#include "common/clock.h"
#include "common/log.h"
#include "gateway/metrics.h"
#include "store/store.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS      200
#define SAVE_MS      1000 /* what was sent is remembered so often, */
#define SAVE_RECORDS 1000 /* or, with the next tick, when it is so many records */
#define STOP_MS      2000
#define MAX_MAIL     16

struct order {
    struct mail mail;
    void (*carry_out)(struct streams *streams);
};

static void add_outlet(struct streams *streams, const struct stream_config *config);
static void give_order(struct streams *streams, void (*carry_out)(struct streams *streams));
static void on_rotate(evutil_socket_t signal, short what, void *arg);
static void on_tick(evutil_socket_t fd, short what, void *arg);
static void begin_to_stop(struct streams *streams);
static void *run(void *arg);

/* ---- Main thread ---- */

struct streams *streams_start(const struct config *config, struct store *store,
                              struct event_base *base)
{
    static const struct timeval interval = {.tv_usec = TICK_MS * 1000L};
    struct streams *streams = xcalloc(1, sizeof(*streams));
    size_t count = config->audit.streams.count;
    int failed = 0;

    streams->config = config;
    streams->store = store;
    streams->target = -1;
    streams->rotate = evsignal_new(base, SIGUSR1, on_rotate, streams);
    (void)event_add(streams->rotate, NULL);
    if (count == 0) {
        return streams;
    }
    streams->base = event_base_new();
    streams->mailbox = mailbox_new(streams->base, MAX_MAIL, NULL, streams);
    streams->outlets = xcalloc(count, sizeof(*streams->outlets));
    for (size_t i = 0; i < count; i++) {
        add_outlet(streams, config_stream(config, i));
    }
    streams->tick = event_new(streams->base, -1, EV_PERSIST, on_tick, streams);
    (void)event_add(streams->tick, &interval);
    event_active(streams->tick, 0, 0);
    failed = pthread_create(&streams->thread, NULL, run, streams);
    assert(failed == 0);
    return streams;
}

static void free_outlet(struct outlet *outlet)
{
    int64_t left = store_audit_size(outlet->streams->store) - outlet->done;

    if (left > 0) {
        log_warning("an audit stream has records left: they are sent after the next start",
                    "s:s, s:I", "stream", outlet->config->name, "records", (json_int_t)left);
    }
    outlet->stream->kind->free(outlet->stream);
    event_free(outlet->turn);
}

void streams_stop(struct streams *streams)
{
    if (streams == NULL) {
        return;
    }
    event_free(streams->rotate);
    if (streams->count > 0) {
        give_order(streams, begin_to_stop);
        (void)pthread_join(streams->thread, NULL);
        for (size_t i = 0; i < streams->count; i++) {
            free_outlet(&streams->outlets[i]);
        }
        store_audit_close(streams->audit);
        event_free(streams->tick);
        mailbox_free(streams->mailbox);
        event_base_free(streams->base);
        free(streams->outlets);
    }
    free(streams);
}

static void deliver_order(struct mail *mail, void *receiver)
{
    void (*carry_out)(struct streams * streams) = ((struct order *)mail)->carry_out;

    free(mail);
    carry_out(receiver);
}

static void give_order(struct streams *streams, void (*carry_out)(struct streams *streams))
{
    struct order *order = xcalloc(1, sizeof(*order));

    *order = (struct order){.mail.deliver = deliver_order, .carry_out = carry_out};
    mailbox_answer(streams->mailbox, &order->mail);
}

static void reopen(struct streams *streams)
{
    for (size_t i = 0; i < streams->count; i++) {
        struct stream *stream = streams->outlets[i].stream;
        if (stream->state == STREAM_OPEN) {
            stream->kind->reopen(stream);
        }
        outlet_take_turn(&streams->outlets[i]);
    }
}

static void on_rotate(evutil_socket_t signal, short what, void *arg)
{
    struct streams *streams = arg;

    (void)signal;
    (void)what;
    if (streams->count > 0) {
        log_info("opening the files of the audit streams anew", "");
        give_order(streams, reopen);
    }
}

/* ---- The thread ---- */

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    outlet_take_turn(arg);
}

static void add_outlet(struct streams *streams, const struct stream_config *config)
{
    static const struct stream_kind *const kinds[] = {&stream_kind_file, &stream_kind_syslog};
    struct outlet *outlet = &streams->outlets[streams->count++];
    const struct stream_setup setup = {
        .config = config, .base = streams->base, .wake = outlet_wake, .arg = outlet};

    outlet->streams = streams;
    outlet->config = config;
    outlet->turn = evtimer_new(streams->base, on_turn, outlet);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (strcmp(kinds[i]->type, config->type) == 0) {
            outlet->stream = kinds[i]->new (&setup);
        }
    }
    assert(outlet->stream != NULL && outlet->turn != NULL);
    metrics_set(METRIC_AUDIT_STREAM_LAG, config->name, NULL, 0);
    metrics_add(METRIC_AUDIT_STREAM_ERRORS, config->name, NULL, 0);
}

static void *run(void *arg)
{
    struct streams *streams = arg;

    (void)pthread_setname_np(pthread_self(), "streams");
    (void)event_base_dispatch(streams->base);
    return NULL;
}

/* ---- Remembering ---- */

static void submit(struct streams *streams, struct store_write *write, store_write_cb on_done)
{
    if (store_submit(streams->store, write, streams->mailbox, on_done, streams) == OK) {
        streams->waiting++;
    } else {
        store_write_free(write);
    }
}

static void on_saved(enum err result, void *arg)
{
    struct streams *streams = arg;

    streams->waiting--;
    for (size_t i = 0; i < streams->count && result == OK; i++) {
        streams->outlets[i].saved = streams->outlets[i].saving;
    }
    if (streams->ended) {
        (void)event_base_loopbreak(streams->base);
    }
}

static void save(struct streams *streams)
{
    struct store_write *write = store_write_new();
    bool some = false;

    for (size_t i = 0; i < streams->count; i++) {
        struct outlet *outlet = &streams->outlets[i];
        outlet->saving = outlet->done;
        if (outlet->loaded && outlet->done != outlet->saved) {
            store_write_set_stream(write, outlet->config->name, streams->config->node,
                                   outlet->done);
            some = true;
        }
    }
    streams->saved_ms = clock_boot_ms();
    if (some) {
        submit(streams, write, on_saved);
    } else {
        store_write_free(write);
    }
}

static void save_in_time(struct streams *streams)
{
    bool due = clock_boot_ms() - streams->saved_ms >= SAVE_MS;

    for (size_t i = 0; i < streams->count; i++) {
        due = due || streams->outlets[i].next - streams->outlets[i].saved >= SAVE_RECORDS;
    }
    if (due && streams->waiting == 0) {
        for (size_t i = 0; i < streams->count; i++) {
            outlet_settle(&streams->outlets[i]);
        }
        save(streams);
    }
}

/* ---- Stopping ---- */

/* Everything that was given to the store before is in it now. */
static void on_barrier(enum err result, void *arg)
{
    struct streams *streams = arg;

    (void)result;
    streams->waiting--;
    streams->target = store_audit_size(streams->store);
    on_tick(-1, 0, streams);
}

static void begin_to_stop(struct streams *streams)
{
    streams->stop_ms = clock_boot_ms() + STOP_MS;
    submit(streams, store_write_new(), on_barrier);
    if (streams->waiting == 0) {
        streams->target = store_audit_size(streams->store);
    }
}

static void end_in_time(struct streams *streams)
{
    bool finished = streams->target >= 0 || clock_boot_ms() >= streams->stop_ms;

    for (size_t i = 0; i < streams->count && finished; i++) {
        finished = streams->outlets[i].finished || !streams->outlets[i].loaded ||
                   clock_boot_ms() >= streams->stop_ms;
    }
    /* The store always answers; and nobody would be here for an answer that comes later. */
    if (!finished || streams->waiting > 0 || streams->ended) {
        return;
    }
    streams->ended = true;
    for (size_t i = 0; i < streams->count; i++) {
        outlet_close(&streams->outlets[i]);
    }
    save(streams);
    if (streams->waiting == 0) {
        (void)event_base_loopbreak(streams->base);
    }
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct streams *streams = arg;

    (void)fd;
    (void)what;
    for (size_t i = 0; i < streams->count && !streams->ended; i++) {
        outlet_take_turn(&streams->outlets[i]);
        outlet_publish(&streams->outlets[i]);
    }
    if (streams->stop_ms > 0) {
        end_in_time(streams);
    } else {
        save_in_time(streams);
    }
}
