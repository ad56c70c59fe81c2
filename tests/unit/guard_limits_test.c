/* Guard: deadlines, the number of connections, and clients that leave or do not read. */
#include "common/clock.h"
#include "common/memory.h"
#include "guard_fixture.h"

#include <event2/bufferevent.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- Limits ---- */

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
    assert_int_equal(connections_open(server->connections), ARRAY_LEN(clients));
    close_client(clients[0]);
    for (int i = 0; connections_open(server->connections) == 3 && i < PATIENCE_MS; i++) {
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

/* The reply comes at once, the next request is read later; others do not notice. */
static void run_pause(bool with_tls)
{
    struct server *server = prepare(with_tls);

    server->pause_ms = 100;
    server->options.idle_timeout_ms = 50; /* a pause is not idling */
    start(server);
    struct client *client = open_client(server);
    for (int i = 0; i < 2; i++) {
        send_text(client, "GET /pause HTTP/1.1\r\n" HOST "\r\nGET /next HTTP/1.1\r\n" HOST "\r\n");
        expect_reply(client, "/pause ");
        int64_t paused_ms = clock_boot_ms();
        assert_int_equal(atomic_load(&server->handled), 4 * i + 1);
        struct client *other = open_client(server);
        for (int k = 0; k < 2; k++) {
            send_text(other, "GET /other HTTP/1.1\r\n" HOST "\r\n");
            expect_reply(other, "/other ");
        }
        close_client(other);
        expect_reply(client, "/next ");
        assert_true(clock_boot_ms() - paused_ms >= 95);
    }
    send_text(client, "GET /pause HTTP/1.1\r\n" HOST "\r\n");
    expect_reply(client, "/pause ");
    expect_end(client); /* idle, once the pause is over */
    close_client(client);
    stop(server);
}

static void pauses_a_connection(void **state)
{
    (void)state;
    run_pause(false);
}

static void pauses_a_connection_over_tls(void **state)
{
    (void)state;
    run_pause(true);
}

static void survives_clients_that_leave_in_a_pause(void **state)
{
    static const char *const texts[] = {
        "GET /pause HTTP/1.1\r\n" HOST "\r\n",
        "GET /pause HTTP/1.1\r\n" HOST "\r\nGET /next HTTP/1.1\r\n" HOST "\r\n",
        "GET /pause HTTP/1.1\r\n" HOST "\r\nGET /ne",
        "GET /pause HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n",
    };
    struct server *server = prepare(false);
    struct linger reset = {.l_onoff = 1, .l_linger = 0};

    (void)state;
    server->pause_ms = 30;
    start(server);
    for (size_t i = 0; i < 3 * ARRAY_LEN(texts); i++) {
        struct client *client = open_client(server);
        send_text(client, texts[i % ARRAY_LEN(texts)]);
        if (i < ARRAY_LEN(texts)) {
            shutdown(client->fd, SHUT_WR);
        }
        expect_reply(client, "/pause ");
        if (i >= 2 * ARRAY_LEN(texts)) {
            setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        }
        close_client(client);
    }
    stop(server);
}

/* Of one address that has all that it may, others do not notice; nor it, once one has left. */
static void holds_the_cap_of_an_address(void **state)
{
    struct server *server = prepare(false);
    struct client *clients[4];

    (void)state;
    server->options.max_connections = 5;
    server->options.max_connections_per_address = 2;
    start(server);
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        clients[i] = xcalloc(1, sizeof(*clients[i]));
        clients[i]->fd = dial_from(server, i < 2 ? "127.0.0.2" : "127.0.0.3");
        send_text(clients[i], "GET / HTTP/1.1\r\n" HOST "\r\n");
        expect_reply(clients[i], "/ ");
    }
    for (int i = 0; i < 50; i++) {
        struct client *more = xcalloc(1, sizeof(*more));
        more->fd = dial_from(server, i % 2 ? "127.0.0.2" : "127.0.0.3");
        expect_end(more);
        close_client(more);
    }
    assert_int_equal(drops(server, GUARD_DROP_ADDRESS), 50);
    assert_int_equal(connections_open(server->connections), 4);
    assert_int_equal(connections_origins(server->connections), 2);
    struct client *other = open_client(server); /* the last place of all */
    send_text(other, "GET / HTTP/1.1\r\n" HOST "\r\n");
    expect_reply(other, "/ ");
    struct client *more = open_client(server);
    expect_end(more);
    close_client(more);
    assert_int_equal(drops(server, GUARD_DROP_FULL), 1);
    close_client(clients[0]);
    for (int i = 0; connections_open(server->connections) == 5 && i < PATIENCE_MS; i++) {
        usleep(1000);
    }
    clients[0] = xcalloc(1, sizeof(*clients[0]));
    clients[0]->fd = dial_from(server, "127.0.0.2");
    for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
        send_text(clients[i], "GET / HTTP/1.1\r\n" HOST "\r\n");
        expect_reply(clients[i], "/ ");
        close_client(clients[i]);
    }
    close_client(other);
    assert_int_equal(drops(server, GUARD_DROP_ADDRESS), 50);
    stop(server);
}

/* ---- Life ---- */

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
    assert_int_equal(connections_open(server->connections), 0);
    connections_free(server->connections);
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
    assert_int_equal(connections_open(server->connections), 0);
    bufferevent_free(bev);
    guard_free(server->guard);
    event_base_loop(server->base, EVLOOP_NONBLOCK);
    event_base_free(server->base);
    connections_free(server->connections);
    free(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closes_dribblers_at_the_deadline),
        cmocka_unit_test(closes_silent_clients),
        cmocka_unit_test(closes_unfinished_handshakes),
        cmocka_unit_test(closes_clients_that_do_not_read),
        cmocka_unit_test(bounds_what_it_holds_back),
        cmocka_unit_test(waits_for_the_handler),
        cmocka_unit_test(holds_the_cap),
        cmocka_unit_test(holds_the_cap_over_tls),
        cmocka_unit_test(holds_the_cap_of_an_address),
        cmocka_unit_test(pauses_a_connection),
        cmocka_unit_test(pauses_a_connection_over_tls),
        cmocka_unit_test(survives_clients_that_leave_in_a_pause),
        cmocka_unit_test(survives_clients_that_leave),
        cmocka_unit_test(ends_with_connections_open),
        cmocka_unit_test(survives_a_missing_bufferevent),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("guard_limits", tests, NULL, NULL);
}
