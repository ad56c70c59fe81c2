/*
 * Sends answers. Whole ones go through evhttp; for broken ones the connection's bufferevent is
 * taken from evhttp for good, and the connection freed with its request when it is over.
 */
#include "exchange.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdlib.h>
#include <string.h>

#define ENDLESS_CHUNK_BYTES 65536
#define ENDLESS_ITEM        "{\"id\":\"normal-001\",\"status\":1,\"command_id\":\"\"},"

struct exchange {
    struct sim *sim;
    struct evhttp_request *req;
    struct evhttp_connection *taken; /* from evhttp; NULL until then */
    struct answer answer;
    struct event *timer;
    LIST_ENTRY(exchange) next;
};

static void exchange_free(struct exchange *exchange)
{
    LIST_REMOVE(exchange, next);
    if (exchange->timer) {
        event_free(exchange->timer);
    }
    answer_done(&exchange->answer);
    free(exchange);
}

/* Ends a connection that was taken; evhttp frees the request with it. */
static void exchange_close(struct exchange *exchange)
{
    struct evhttp_connection *taken = exchange->taken;

    exchange_free(exchange);
    evhttp_connection_free(taken);
}

static void exchange_send_whole(struct exchange *exchange)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(exchange->req);
    struct answer *answer = &exchange->answer;
    struct evbuffer *body = evbuffer_new();
    const char *name = NULL;
    json_t *value = NULL;

    evhttp_add_header(headers, "Content-Type", "application/json");
    json_object_foreach (answer->headers, name, value) {
        evhttp_remove_header(headers, name);
        evhttp_add_header(headers, name, json_string_value(value));
    }
    evbuffer_add(body, answer->text, answer->text_bytes);
    evhttp_send_reply(exchange->req, answer->status, NULL, body);
    evbuffer_free(body);
    exchange_free(exchange);
}

static void write_raw_head(struct evbuffer *output, const struct answer *answer)
{
    const char *name = NULL;
    json_t *value = NULL;

    evbuffer_add_printf(output, "HTTP/1.1 %d Simulated\r\nContent-Type: application/json\r\n",
                        answer->status);
    json_object_foreach (answer->headers, name, value) {
        evbuffer_add_printf(output, "%s: %s\r\n", name, json_string_value(value));
    }
    if (answer->delivery == DELIVER_HALF) {
        evbuffer_add_printf(output, "Content-Length: %zu\r\n\r\n", answer->text_bytes);
        evbuffer_add(output, answer->text, answer->text_bytes / 2);
    } else {
        evbuffer_add_printf(output, "Transfer-Encoding: chunked\r\n\r\n1\r\n[\r\n");
    }
}

static void write_endless_chunk(struct evbuffer *output)
{
    size_t items = ENDLESS_CHUNK_BYTES / strlen(ENDLESS_ITEM);

    evbuffer_add_printf(output, "%zx\r\n", items * strlen(ENDLESS_ITEM));
    for (size_t i = 0; i < items; i++) {
        evbuffer_add(output, ENDLESS_ITEM, strlen(ENDLESS_ITEM));
    }
    evbuffer_add(output, "\r\n", 2);
}

/* Whatever the client still says is not wanted. */
static void on_taken_readable(struct bufferevent *bev, void *exchange_arg)
{
    struct evbuffer *input = bufferevent_get_input(bev);

    (void)exchange_arg;
    evbuffer_drain(input, evbuffer_get_length(input));
}

static void on_taken_written(struct bufferevent *bev, void *exchange_arg)
{
    struct exchange *exchange = exchange_arg;

    if (exchange->answer.delivery == DELIVER_ENDLESS) {
        write_endless_chunk(bufferevent_get_output(bev));
    } else if (exchange->answer.delivery == DELIVER_HALF) {
        exchange_close(exchange);
    }
}

static void on_taken_event(struct bufferevent *bev, short what, void *exchange_arg)
{
    (void)bev;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR | BEV_EVENT_TIMEOUT)) {
        exchange_close(exchange_arg);
    }
}

static void exchange_take_connection(struct exchange *exchange)
{
    struct bufferevent *bev = NULL;

    exchange->taken = evhttp_request_get_connection(exchange->req);
    if (!exchange->taken) {
        /* The client is gone, and the request is ours to free. */
        evhttp_request_free(exchange->req);
        exchange_free(exchange);
        return;
    }
    if (exchange->answer.delivery == DELIVER_CLOSE) {
        exchange_close(exchange);
        return;
    }
    bev = evhttp_connection_get_bufferevent(exchange->taken);
    bufferevent_set_timeouts(bev, NULL, NULL);
    bufferevent_setcb(bev, on_taken_readable, on_taken_written, on_taken_event, exchange);
    if (exchange->answer.delivery != DELIVER_HANG) {
        write_raw_head(bufferevent_get_output(bev), &exchange->answer);
    }
    bufferevent_enable(bev, EV_READ | EV_WRITE);
}

static void exchange_deliver(struct exchange *exchange)
{
    enum delivery delivery = exchange->answer.delivery;

    if (exchange->answer.call && delivery != DELIVER_CLOSE && delivery != DELIVER_HANG) {
        calls_set_status(exchange->sim->calls, exchange->answer.call, exchange->answer.status);
    }
    if (delivery == DELIVER_WHOLE) {
        exchange_send_whole(exchange);
    } else {
        exchange_take_connection(exchange);
    }
}

static void on_delay_over(evutil_socket_t fd, short what, void *exchange_arg)
{
    (void)fd;
    (void)what;
    exchange_deliver(exchange_arg);
}

void exchange_start(struct sim *sim, struct evhttp_request *req, struct answer *answer_take)
{
    struct exchange *exchange = sim_calloc(1, sizeof(*exchange));
    const int64_t delay_ms = answer_take->delay_ms;
    const struct timeval delay = {.tv_sec = delay_ms / 1000, .tv_usec = delay_ms % 1000 * 1000};

    exchange->sim = sim;
    exchange->req = req;
    exchange->answer = *answer_take;
    memset(answer_take, 0, sizeof(*answer_take));
    answer_render(&exchange->answer);
    LIST_INSERT_HEAD(&sim->exchanges, exchange, next);
    if (delay_ms == 0 && exchange->answer.delivery == DELIVER_WHOLE) {
        exchange_deliver(exchange);
        return;
    }
    /* Broken ones always wait for the loop: evhttp must be done with the connection before it
     * is taken away. */
    exchange->timer = evtimer_new(sim->base, on_delay_over, exchange);
    evtimer_add(exchange->timer, &delay);
}

void exchange_drop_all(struct sim *sim)
{
    while (!LIST_EMPTY(&sim->exchanges)) {
        struct exchange *exchange = LIST_FIRST(&sim->exchanges);

        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it misses LIST_REMOVE in exchange_free */
        if (!exchange->taken && !evhttp_request_get_connection(exchange->req)) {
            evhttp_request_free(exchange->req);
        }
        exchange_free(exchange);
    }
}
