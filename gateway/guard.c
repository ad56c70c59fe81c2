/* Guard: see guard.h. Runs on its worker's thread, never blocks.
 *
 * A connection is a bufferevent_filter, whose callbacks on the socket below we put ours in front
 * of. Three things about a filter under evhttp shape this file (libevent 2.1.12):
 * - bufferevent_enable() does not run a filter: a reply added while writing is off would stay, and
 *   held-back input too. So output wakes us by an event, and the end of a reply runs the input.
 * - A filter says "written" when the socket's buffer has the bytes; evhttp then frees a connection
 *   it is to close, and the reply with it. So the filter's output takes nothing by itself: we take
 *   it, and tell evhttp when the kernel has everything.
 * - evhttp ends the process if it is given input between a request and its reply. So the next
 *   request waits until evhttp reads again with writing off. */
#include "gateway/guard.h"

#include "common/clock.h"
#include "common/memory.h"
#include "gateway/connections.h"
#include "gateway/guard_priv.h"

#include <assert.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event_struct.h>
#include <stdlib.h>

#define TLS_RECORD_BYTES 16384
#define LINGER_MS        2000
#define LINGER_MAX_BYTES ((size_t)256 * 1024)

/*               ┌────────────────────────────────────────────┐
 *               ▼                                            │
 * ACCEPTED ─▶ BODY ─▶ PENDING ─▶ IDLE ─▶ HEAD ───────────────┘   (BODY is skipped without one,
 *    │          │        └─▶ PAUSED ┘      │                      HEAD if it comes whole)
 *    └──────────┴──────────────────┴───────┴─▶ REFUSED ─▶ LINGERING
 * Any may become CLOSED; DOOMED can become nothing else. */
enum phase {
    PHASE_DOOMED,    /* it could not be made */
    PHASE_ACCEPTED,  /* TLS handshake and first head */
    PHASE_IDLE,      /* between requests */
    PHASE_HEAD,      /* part of a head is here, held back */
    PHASE_BODY,      /* evhttp has the head and some of the body */
    PHASE_PENDING,   /* evhttp has the request and owes the reply; we do not read */
    PHASE_PAUSED,    /* the reply is sent; we do not read for a while */
    PHASE_REFUSED,   /* our own answer is on its way; whatever comes is thrown away */
    PHASE_LINGERING, /* it is sent; wait for the client to close, so that it can read it */
    PHASE_CLOSED,    /* evhttp was told; it frees everything */
};

#define TO(phase) (1u << (phase))
#define TO_ENDS   (TO(PHASE_PENDING) | TO(PHASE_REFUSED) | TO(PHASE_CLOSED))

static const unsigned moves[PHASE_CLOSED + 1] = {
    [PHASE_DOOMED] = TO(PHASE_CLOSED),
    [PHASE_ACCEPTED] = TO(PHASE_BODY) | TO_ENDS,
    [PHASE_IDLE] = TO(PHASE_HEAD) | TO(PHASE_BODY) | TO_ENDS,
    [PHASE_HEAD] = TO(PHASE_BODY) | TO_ENDS,
    [PHASE_BODY] = TO_ENDS,
    [PHASE_PENDING] = TO(PHASE_PAUSED) | TO(PHASE_IDLE) | TO(PHASE_CLOSED),
    [PHASE_PAUSED] = TO(PHASE_IDLE) | TO(PHASE_CLOSED),
    [PHASE_REFUSED] = TO(PHASE_LINGERING) | TO(PHASE_CLOSED),
    [PHASE_LINGERING] = TO(PHASE_CLOSED),
};

struct guard {
    struct event_base *base;
    struct guard_options options;
    size_t references; /* the owner's and one for each connection */
};

struct connection {
    struct guard *guard;
    enum phase phase;
    bool plain;         /* underlying's bytes are the socket's */
    bool unreported;    /* bytes of evhttp's were sent on, and evhttp was not told yet */
    bool end_of_input;  /* the client will send no more; it may still read */
    size_t scanned;     /* bytes at the start of the socket's input that the framer has seen */
    size_t thrown_away; /* while lingering */
    int64_t pause_ms;   /* after the reply that evhttp owes */
    struct framer framer;
    struct origin *origin;      /* in options.connections; NULL: not counted */
    struct bufferevent *filter; /* evhttp's; it frees us when it goes */
    struct bufferevent *underlying;
    struct evbuffer_cb_entry *output_cb;
    bufferevent_data_cb filter_read; /* the filter's own callbacks on underlying */
    bufferevent_event_cb filter_event;
    void *filter_arg;
    struct event wake;   /* run on_wake later in this turn of the loop */
    struct event alarm;  /* set for the deadline or earlier */
    int64_t deadline_ms; /* of the present phase */
    int64_t alarm_ms;    /* when the alarm rings; INT64_MAX: not set */
    char remote[64];     /* numeric address */
};

static enum bufferevent_filter_result filter_input(struct evbuffer *from, struct evbuffer *to,
                                                   ev_ssize_t limit,
                                                   enum bufferevent_flush_mode mode, void *arg);
static enum bufferevent_filter_result filter_output(struct evbuffer *from, struct evbuffer *to,
                                                    ev_ssize_t limit,
                                                    enum bufferevent_flush_mode mode, void *arg);
static void on_filter_freed(void *arg);
static void on_output_added(struct evbuffer *output, const struct evbuffer_cb_info *info,
                            void *arg);
static void on_wake(evutil_socket_t fd, short what, void *arg);
static void on_alarm(evutil_socket_t fd, short what, void *arg);
static void on_readable(struct bufferevent *underlying, void *arg);
static void on_written(struct bufferevent *underlying, void *arg);
static void on_event(struct bufferevent *underlying, short what, void *arg);
static void renew_deadline(struct connection *connection);

struct guard *guard_new(struct event_base *base, const struct guard_options *options)
{
    struct guard *guard = xcalloc(1, sizeof(*guard));

    assert(options->max_connections > 0 && options->max_connections_per_address > 0);
    assert(options->connections && options->make_request_id);
    guard->base = base;
    guard->options = *options;
    guard->references = 1;
    return guard;
}

void guard_configure(struct guard *guard, const struct guard_options *options)
{
    assert(options->max_connections > 0 && options->connections == guard->options.connections);
    guard->options = *options;
}

void guard_free(struct guard *guard)
{
    if (guard && --guard->references == 0) {
        free(guard);
    }
}

/* Puts our callbacks on the socket in front of the filter's. */
static void interpose(struct connection *connection)
{
    assert(connection->filter); /* NULL only without memory */
    bufferevent_getcb(connection->underlying, &connection->filter_read, NULL,
                      &connection->filter_event, &connection->filter_arg);
    bufferevent_setcb(connection->underlying, on_readable, on_written, on_event, connection);
    /* Tell us of every write, not only of the one that empties the buffer. */
    bufferevent_setwatermark(connection->underlying, EV_WRITE, SIZE_MAX, 0);
    connection->output_cb =
        evbuffer_add_cb(bufferevent_get_output(connection->filter), on_output_added, connection);
}

struct bufferevent *guard_wrap(struct guard *guard, struct bufferevent *underlying_take)
{
    struct connection *connection = xcalloc(1, sizeof(*connection));

    connection->guard = guard;
    guard->references++;
    connection->phase = underlying_take ? PHASE_ACCEPTED : PHASE_DOOMED;
    framer_init(&connection->framer, &guard->options.limits);
    if (!underlying_take) {
        underlying_take = bufferevent_socket_new(guard->base, -1, BEV_OPT_CLOSE_ON_FREE);
    }
    connection->underlying = underlying_take;
    connection->plain = !bufferevent_openssl_get_ssl(connection->underlying) &&
                        !bufferevent_get_underlying(connection->underlying);
    connection->filter = bufferevent_filter_new(connection->underlying, filter_input, filter_output,
                                                BEV_OPT_CLOSE_ON_FREE, on_filter_freed, connection);
    interpose(connection);
    event_assign(&connection->wake, guard->base, -1, 0, on_wake, connection);
    event_assign(&connection->alarm, guard->base, -1, 0, on_alarm, connection);
    connection->alarm_ms = INT64_MAX;
    renew_deadline(connection);
    event_active(&connection->wake, EV_TIMEOUT, 0);
    return connection->filter;
}

static void on_filter_freed(void *arg)
{
    struct connection *connection = arg;

    evbuffer_remove_cb_entry(bufferevent_get_output(connection->filter), connection->output_cb);
    event_del(&connection->wake);
    event_del(&connection->alarm);
    if (connection->origin) {
        connections_leave(connection->guard->options.connections, connection->origin);
    }
    guard_free(connection->guard);
    free(connection);
}

/* True once evhttp let go of the filter; its memory, and ours, stay a little longer. */
static bool is_gone(const struct connection *connection)
{
    bufferevent_event_cb on_error;

    bufferevent_getcb(connection->filter, NULL, NULL, &on_error, NULL);
    return connection->phase == PHASE_CLOSED || !on_error;
}

static int64_t timeout_ms(const struct connection *connection)
{
    const struct guard_options *options = &connection->guard->options;
    enum phase phase = connection->phase;

    return phase == PHASE_IDLE                                  ? options->idle_timeout_ms
           : phase == PHASE_BODY                                ? options->body_timeout_ms
           : phase == PHASE_PENDING                             ? options->write_timeout_ms
           : phase == PHASE_PAUSED                              ? connection->pause_ms
           : phase == PHASE_REFUSED || phase == PHASE_LINGERING ? LINGER_MS
                                                                : options->header_timeout_ms;
}

static void set_alarm(struct connection *connection, int64_t in_ms)
{
    struct timeval in = {.tv_sec = in_ms / 1000, .tv_usec = in_ms % 1000 * 1000};

    event_add(&connection->alarm, &in);
    connection->alarm_ms = connection->deadline_ms;
}

/* Starts the time of the present phase again. The alarm is only ever moved forward; one that rings
 * early sets itself again. */
static void renew_deadline(struct connection *connection)
{
    int64_t in_ms = timeout_ms(connection);

    connection->deadline_ms = clock_boot_ms() + in_ms;
    if (connection->deadline_ms < connection->alarm_ms) {
        set_alarm(connection, in_ms);
    }
}

static void move_to(struct connection *connection, enum phase phase)
{
    assert(moves[connection->phase] & TO(phase));
    connection->phase = phase;
    if (phase != PHASE_CLOSED) {
        renew_deadline(connection);
    }
}

/* evhttp frees the filter (and so us, later) when it sees this event, whatever it is doing. */
static void close_connection(struct connection *connection)
{
    move_to(connection, PHASE_CLOSED);
    connection->filter_event(connection->underlying, BEV_EVENT_READING | BEV_EVENT_EOF,
                             connection->filter_arg);
}

static void drop(struct connection *connection, enum guard_drop reason)
{
    const struct guard_options *options = &connection->guard->options;

    if (options->on_dropped) {
        options->on_dropped(reason, connection->remote, options->arg);
    }
    close_connection(connection);
}

/* What the new socket allows only now: evhttp sets it after guard_wrap(). The address is noted
 * since a client that is refused later may be gone when we would ask. Nothing was read yet. False:
 * it was closed, since there are too many. */
static bool begin(struct connection *connection)
{
    const struct guard_options *options = &connection->guard->options;
    struct sockaddr_storage address;

    guard_greet(bufferevent_getfd(connection->underlying), &address, connection->remote,
                sizeof(connection->remote));
    if (connection->phase == PHASE_DOOMED) {
        close_connection(connection);
        return false;
    }
    switch (connections_enter(options->connections, (struct sockaddr *)&address,
                              options->max_connections, options->max_connections_per_address,
                              &connection->origin)) {
    case OK:
        return true;
    case ERR_FULL:
        drop(connection, GUARD_DROP_FULL);
        return false;
    default:
        drop(connection, GUARD_DROP_ADDRESS);
        return false;
    }
}

/* Answers in evhttp's place. evhttp waits for the rest of a request, which never comes. */
static void refuse(struct connection *connection)
{
    const struct guard_options *options = &connection->guard->options;
    char request_id[GUARD_REQUEST_ID_SIZE] = "";
    struct guard_refusal refusal = {.status = connection->framer.status,
                                    .detail = connection->framer.detail,
                                    .remote = connection->remote,
                                    .request_id = request_id};

    options->make_request_id(request_id, options->arg);
    refusal.problem = guard_answer(bufferevent_get_output(connection->underlying), refusal.status,
                                   refusal.detail, request_id);
    move_to(connection, PHASE_REFUSED);
    if (options->on_refused) {
        options->on_refused(&refusal, options->arg);
    }
}

/* Shows the framer what is new; connection->scanned moves on. */
static enum framer_verdict scan(struct connection *connection, struct evbuffer *from)
{
    enum framer_verdict verdict = FRAMER_MORE;
    struct evbuffer_iovec piece;
    struct evbuffer_ptr at;

    while (verdict == FRAMER_MORE && connection->scanned < evbuffer_get_length(from)) {
        size_t consumed = 0;
        evbuffer_ptr_set(from, &at, connection->scanned, EVBUFFER_PTR_SET);
        evbuffer_peek(from, -1, &at, &piece, 1);
        verdict = framer_feed(&connection->framer, piece.iov_base, piece.iov_len, &consumed);
        connection->scanned += consumed;
    }
    return verdict;
}

/* Gives evhttp heads that are whole and bodies as they come, and stops at the end of a request. */
static enum bufferevent_filter_result filter_input(struct evbuffer *from, struct evbuffer *to,
                                                   ev_ssize_t limit,
                                                   enum bufferevent_flush_mode mode, void *arg)
{
    struct connection *connection = arg;
    enum framer_verdict verdict;

    (void)limit;
    (void)mode;
    if (connection->phase >= PHASE_PENDING || connection->scanned == evbuffer_get_length(from)) {
        return BEV_NEED_MORE;
    }
    verdict = scan(connection, from);
    if (verdict == FRAMER_REFUSED) {
        refuse(connection);
        return BEV_NEED_MORE;
    }
    if (verdict == FRAMER_MORE && framer_place(&connection->framer) == FRAMER_IN_HEAD) {
        if (connection->phase == PHASE_IDLE) {
            move_to(connection, PHASE_HEAD);
        }
        return BEV_NEED_MORE;
    }
    if (verdict == FRAMER_DONE) {
        move_to(connection, PHASE_PENDING);
        bufferevent_disable(connection->underlying, EV_READ);
    } else if (connection->phase != PHASE_BODY) {
        move_to(connection, PHASE_BODY);
    }
    evbuffer_remove_buffer(from, to, connection->scanned);
    connection->scanned = 0;
    return BEV_OK;
}

/* Takes nothing: what evhttp writes waits for on_wake. */
static enum bufferevent_filter_result filter_output(struct evbuffer *from, struct evbuffer *to,
                                                    ev_ssize_t limit,
                                                    enum bufferevent_flush_mode mode, void *arg)
{
    (void)from;
    (void)to;
    (void)limit;
    (void)mode;
    (void)arg;
    return BEV_NEED_MORE;
}

/* Sends on what evhttp wrote. Most replies fit into the kernel at once; the rest, and errors, are
 * left to the bufferevent. Over TLS each piece would become a record. */
static void send_output(struct connection *connection)
{
    struct evbuffer *from = bufferevent_get_output(connection->filter);
    struct evbuffer *to = bufferevent_get_output(connection->underlying);

    if (evbuffer_get_length(from) == 0 || connection->phase >= PHASE_REFUSED) {
        return;
    }
    connection->unreported = true;
    if (connection->plain && evbuffer_get_length(to) == 0) {
        evbuffer_write(from, bufferevent_getfd(connection->underlying));
    } else if (!connection->plain && evbuffer_get_length(from) <= TLS_RECORD_BYTES) {
        evbuffer_pullup(from, -1);
    }
    evbuffer_add_buffer(to, from);
    if (connection->phase == PHASE_PENDING && evbuffer_get_length(to) > 0) {
        renew_deadline(connection);
    }
}

/* evhttp reads with writing off only when it waits for a request; while a handler works, reading
 * is off, and while a reply is written, writing is on. */
static bool reply_is_done(const struct connection *connection)
{
    short enabled = bufferevent_get_enabled(connection->filter);

    return connection->phase == PHASE_PENDING && !connection->unreported && (enabled & EV_READ) &&
           !(enabled & EV_WRITE);
}

/* After a reply: takes up the requests that were held back, or reads again. */
static void resume(struct connection *connection)
{
    move_to(connection, PHASE_IDLE);
    if (evbuffer_get_length(bufferevent_get_input(connection->underlying)) > 0) {
        connection->filter_read(connection->underlying, connection->filter_arg);
    }
    if (is_gone(connection) || connection->phase == PHASE_PENDING) {
        return;
    }
    if (!connection->end_of_input) {
        bufferevent_enable(connection->underlying, EV_READ);
    } else if (connection->phase < PHASE_PENDING) {
        close_connection(connection);
    }
}

/* evhttp's reply is with the kernel, and it waits for the next request. */
static void end_reply(struct connection *connection)
{
    if (connection->pause_ms > 0 && !connection->end_of_input) {
        move_to(connection, PHASE_PAUSED);
        connection->pause_ms = 0;
    } else {
        resume(connection);
    }
}

void guard_pause(struct bufferevent *wrapped, int64_t pause_ms)
{
    struct bufferevent *underlying = bufferevent_get_underlying(wrapped);
    void *connection;

    bufferevent_getcb(underlying, NULL, NULL, NULL, &connection); /* see interpose() */
    ((struct connection *)connection)->pause_ms = pause_ms;
}

/* Tells evhttp once the kernel has all that it wrote. */
static void report_written(struct connection *connection)
{
    if (!connection->unreported ||
        evbuffer_get_length(bufferevent_get_output(connection->underlying)) > 0 ||
        evbuffer_get_length(bufferevent_get_output(connection->filter)) > 0) {
        return;
    }
    connection->unreported = false;
    bufferevent_trigger(connection->filter, EV_WRITE, BEV_TRIG_IGNORE_WATERMARKS);
    if (!is_gone(connection) && reply_is_done(connection)) {
        end_reply(connection);
    }
}

static void on_output_added(struct evbuffer *output, const struct evbuffer_cb_info *info, void *arg)
{
    struct connection *connection = arg;

    (void)output;
    if (info->n_added > 0) {
        event_active(&connection->wake, EV_TIMEOUT, 0);
    }
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    struct connection *connection = arg;

    (void)fd;
    (void)what;
    if (is_gone(connection)) {
        return;
    }
    if (!connection->remote[0] && !begin(connection)) {
        return;
    }
    if (connection->end_of_input && connection->phase < PHASE_PENDING) {
        close_connection(connection);
    } else {
        send_output(connection);
        report_written(connection);
    }
}

/* Our answer is in the kernel: say that nothing follows, and let the client close first. If we
 * closed with input unread, the kernel would send a reset, and that can overtake the answer. */
static void linger(struct connection *connection)
{
    guard_end_output(connection->underlying);
    move_to(connection, PHASE_LINGERING);
    if (connection->end_of_input) {
        close_connection(connection);
    }
}

static void on_readable(struct bufferevent *underlying, void *arg)
{
    struct connection *connection = arg;
    struct evbuffer *input = bufferevent_get_input(underlying);

    if (is_gone(connection)) {
        return;
    }
    if (connection->phase < PHASE_REFUSED) {
        connection->filter_read(underlying, connection->filter_arg);
        return;
    }
    connection->thrown_away += evbuffer_get_length(input);
    evbuffer_drain(input, evbuffer_get_length(input));
    if (connection->thrown_away > LINGER_MAX_BYTES) {
        close_connection(connection);
    }
}

static void on_written(struct bufferevent *underlying, void *arg)
{
    struct connection *connection = arg;
    bool empty = evbuffer_get_length(bufferevent_get_output(underlying)) == 0;

    if (is_gone(connection)) {
        return;
    }
    if (connection->phase == PHASE_REFUSED && empty) {
        linger(connection);
    } else if (connection->phase == PHASE_PENDING && !empty) {
        renew_deadline(connection);
    } else {
        report_written(connection);
    }
}

static void on_event(struct bufferevent *underlying, short what, void *arg)
{
    struct connection *connection = arg;

    (void)underlying;
    if (is_gone(connection) || what == BEV_EVENT_CONNECTED) {
        return;
    }
    if (what != (BEV_EVENT_READING | BEV_EVENT_EOF) || connection->phase == PHASE_LINGERING) {
        close_connection(connection);
        return;
    }
    /* A client may close its side and still read. TLS reports this before the input that was read
     * with it, so decide when that was seen. */
    connection->end_of_input = true;
    event_active(&connection->wake, EV_TIMEOUT, 0);
}

static void expire(struct connection *connection)
{
    switch (connection->phase) {
    case PHASE_ACCEPTED:
    case PHASE_HEAD:
        drop(connection, GUARD_DROP_HEADER_LATE);
        break;
    case PHASE_BODY:
        drop(connection, GUARD_DROP_BODY_LATE);
        break;
    case PHASE_PENDING:
        if (connection->unreported) {
            drop(connection, GUARD_DROP_NOT_READING);
        } else if (reply_is_done(connection)) {
            end_reply(connection); /* a streamed reply ended without a last byte */
        } else {
            renew_deadline(connection); /* the handler's time is not ours to judge */
        }
        break;
    case PHASE_PAUSED:
        resume(connection);
        break;
    default:
        close_connection(connection);
    }
}

static void on_alarm(evutil_socket_t fd, short what, void *arg)
{
    struct connection *connection = arg;
    int64_t left_ms = connection->deadline_ms - clock_boot_ms();

    (void)fd;
    (void)what;
    connection->alarm_ms = INT64_MAX;
    if (is_gone(connection)) {
        return;
    }
    if (left_ms > 0) {
        set_alarm(connection, left_ms);
    } else {
        expire(connection);
    }
}
