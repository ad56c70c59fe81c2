/* Tests of streams to syslog receivers: what is sent, and where it goes on when they go away. */
#include "gateway/stream.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

#define PADDING 4000 /* bytes of a long record */

struct fixture {
    char path[64];
    char address[80];
    int listener; /* or the datagrams' socket */
    int peer;     /* what was accepted */
    struct event_base *base;
    struct stream_config config;
    struct stream *stream;
};

static void on_wake(void *arg)
{
    (void)arg;
}

static void listen_unix(struct fixture *fixture, int type)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};

    (void)snprintf(name.sun_path, sizeof(name.sun_path), "%s", fixture->path);
    (void)unlink(fixture->path);
    fixture->listener = socket(AF_UNIX, type | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fixture->listener, (struct sockaddr *)&name, sizeof(name)), 0);
    if (type == SOCK_STREAM) {
        assert_int_equal(listen(fixture->listener, 4), 0);
    }
}

static void listen_tcp(struct fixture *fixture)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(name);

    fixture->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fixture->listener, (struct sockaddr *)&name, sizeof(name)), 0);
    assert_int_equal(getsockname(fixture->listener, (struct sockaddr *)&name, &len), 0);
    assert_int_equal(listen(fixture->listener, 4), 0);
    (void)snprintf(fixture->address, sizeof(fixture->address), "tcp://127.0.0.1:%d",
                   ntohs(name.sin_port));
}

static int set_up(void **state)
{
    struct fixture *fixture = xcalloc(1, sizeof(*fixture));

    (void)snprintf(fixture->path, sizeof(fixture->path), "/tmp/tollgate-syslog-test.%d", getpid());
    (void)snprintf(fixture->address, sizeof(fixture->address), "unix:%s", fixture->path);
    fixture->listener = fixture->peer = -1;
    fixture->base = event_base_new();
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    fixture->stream->kind->free(fixture->stream);
    event_base_free(fixture->base);
    (void)close(fixture->listener);
    (void)close(fixture->peer);
    (void)unlink(fixture->path);
    free(fixture);
    return 0;
}

static void turn(struct fixture *fixture)
{
    (void)event_base_loop(fixture->base, EVLOOP_NONBLOCK);
    fixture->stream->kind->check(fixture->stream);
}

/* Opens the stream, and accepts what came if it is not datagrams. */
static void open_at(struct fixture *fixture, int64_t seq)
{
    if (fixture->stream == NULL) {
        struct stream_setup setup = {
            .config = &fixture->config, .base = fixture->base, .wake = on_wake};
        fixture->config = (struct stream_config){.name = "s",
                                                 .type = "syslog",
                                                 .address = fixture->address,
                                                 .facility = "authpriv",
                                                 .app_name = "tollgate"};
        fixture->stream = stream_kind_syslog.new(&setup);
    }
    fixture->stream->kind->open(fixture->stream, seq);
    while (fixture->stream->state == STREAM_OPENING) {
        turn(fixture);
    }
}

static void accept_peer(struct fixture *fixture)
{
    do {
        fixture->peer = accept(fixture->listener, NULL, NULL);
    } while (fixture->peer < 0);
}

static enum err send_record(struct fixture *fixture, int64_t seq, size_t padding)
{
    CLEANUP(cleanup_free) char *filler = xcalloc(1, padding + 1);
    struct store_record record = {.node = "gw", .seq = seq};
    enum err err;

    memset(filler, 'x', padding);
    CLEANUP(cleanup_free)
    char *bytes =
        xasprintf("{\"v\":1,\"node\":\"gw\",\"seq\":%lld,\"time\":\"2026-11-24T22:00:00.000Z\","
                  "\"event\":\"node.started\",\"reason\":\"%s\"}",
                  (long long)seq, filler);
    record.bytes = bytes;
    record.len = strlen(bytes);
    err = fixture->stream->kind->send(fixture->stream, &record);
    if (err == OK) {
        fixture->stream->kind->flush(fixture->stream);
    }
    return err;
}

/* Sends until it is full; the seq of the first that was not taken. */
static int64_t fill(struct fixture *fixture, int64_t seq)
{
    for (int idle = 0; idle < 100;) {
        if (fixture->stream->state == STREAM_OPEN && send_record(fixture, seq, PADDING) == OK) {
            seq++;
            idle = 0;
        } else {
            turn(fixture);
            idle++;
        }
        assert_true(seq < 100000);
    }
    return seq;
}

static void settle_at(struct fixture *fixture, int64_t seq)
{
    for (int i = 0; i < 100000 && fixture->stream->kind->settle(fixture->stream) < seq; i++) {
        turn(fixture);
    }
    assert_int_equal(fixture->stream->kind->settle(fixture->stream), seq);
}

static void test_datagrams(void **state)
{
    struct fixture *fixture = *state;
    char message[1000];
    ssize_t len;

    listen_unix(fixture, SOCK_DGRAM);
    open_at(fixture, 3);
    assert_int_equal(fixture->stream->state, STREAM_OPEN);
    assert_int_equal(send_record(fixture, 3, 10), OK);
    assert_int_equal(fixture->stream->kind->settle(fixture->stream), 3); /* not read yet */
    len = recv(fixture->listener, message, sizeof(message), 0);
    assert_true(len > 0);
    assert_memory_equal(message, "<86>1 2026-11-24T22:00:00.000Z ", 31);
    assert_memory_equal(message + len - 2, "\"}", 2);
    assert_int_equal(fixture->stream->kind->settle(fixture->stream), 4);
}

static void test_a_full_queue_of_datagrams_waits(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(cleanup_free) char *message = xcalloc(1, PADDING * 2);
    int64_t taken;

    listen_unix(fixture, SOCK_DGRAM);
    open_at(fixture, 0);
    taken = fill(fixture, 0);
    assert_true(taken > 0);
    assert_int_equal(fixture->stream->state, STREAM_OPEN);
    for (int64_t i = 0; i < taken; i++) {
        assert_true(recv(fixture->listener, message, PADDING * 2, 0) > PADDING);
    }
    settle_at(fixture, taken);
    turn(fixture);
    assert_int_equal(send_record(fixture, taken, PADDING), OK);
}

/* What the receiver had in its queue when it died is sent again. */
static void test_a_receiver_of_datagrams_dies(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(cleanup_free) char *message = xcalloc(1, PADDING * 2);

    listen_unix(fixture, SOCK_DGRAM);
    open_at(fixture, 0);
    for (int64_t seq = 0; seq < 5; seq++) {
        assert_int_equal(send_record(fixture, seq, PADDING), OK);
        if (seq < 2) {
            assert_true(recv(fixture->listener, message, PADDING * 2, 0) > PADDING);
        }
    }
    (void)close(fixture->listener);
    (void)fixture->stream->kind->settle(fixture->stream);
    assert_int_equal(send_record(fixture, 5, PADDING), ERR_FULL);
    assert_int_equal(fixture->stream->state, STREAM_FAILED);
    assert_true(fixture->stream->from <= 2);
    assert_true(fixture->stream->from >= 1);
    fixture->stream->kind->close(fixture->stream);
    listen_unix(fixture, SOCK_DGRAM);
    open_at(fixture, fixture->stream->from);
    assert_int_equal(fixture->stream->state, STREAM_OPEN);
}

static void test_a_datagram_that_is_too_long_is_cut(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(cleanup_free) char *message = xcalloc(1, 1 << 21);
    ssize_t len;

    listen_unix(fixture, SOCK_DGRAM);
    open_at(fixture, 0);
    assert_int_equal(send_record(fixture, 0, 3 << 20), OK);
    assert_int_equal(fixture->stream->cut_count, 1);
    len = recv(fixture->listener, message, 1 << 21, 0);
    assert_true(len > 4000);
    assert_non_null(strstr(message, " cut=\"3145"));
    settle_at(fixture, 1);
}

static void check_counted(struct fixture *fixture, int64_t count)
{
    char *data = xcalloc(1, 1 << 20);
    size_t len = 0;
    size_t at = 0;

    while (len == 0 || at < len) {
        ssize_t got = recv(fixture->peer, data + len, ((size_t)1 << 20) - len, MSG_DONTWAIT);
        len += got > 0 ? (size_t)got : 0;
        char *end = NULL;
        unsigned long size = strtoul(data + at, &end, 10);
        if (size > 0 && *end == ' ' &&
            at + (size_t)(end - data - (ptrdiff_t)at) + 1 + size <= len) {
            assert_int_equal(end[1], '<');
            assert_int_equal(end[size], '}');
            at = (size_t)(end - data) + 1 + size;
            count--;
        }
        turn(fixture);
    }
    assert_int_equal(count, 0);
    free(data);
}

static void test_octets_are_counted(void **state)
{
    struct fixture *fixture = *state;

    for (int round = 0; round < 2; round++) {
        int64_t seq = round * 10;
        if (round == 0) {
            listen_unix(fixture, SOCK_STREAM);
        } else {
            fixture->stream->kind->free(fixture->stream);
            fixture->stream = NULL;
            (void)close(fixture->listener);
            listen_tcp(fixture);
        }
        open_at(fixture, seq);
        accept_peer(fixture);
        for (int i = 0; i < 10; i++) {
            assert_int_equal(send_record(fixture, seq++, 100), OK);
        }
        turn(fixture);
        check_counted(fixture, 10);
        settle_at(fixture, seq);
        if (round == 0) {
            (void)close(fixture->peer);
        }
    }
    /* It says goodbye, and ends when the receiver does. */
    fixture->stream->kind->finish(fixture->stream);
    turn(fixture);
    assert_int_equal(fixture->stream->state, STREAM_OPEN);
    (void)shutdown(fixture->peer, SHUT_RDWR);
    while (fixture->stream->state == STREAM_OPEN) {
        turn(fixture);
    }
    assert_int_equal(fixture->stream->state, STREAM_ENDED);
    assert_int_equal(fixture->stream->from, 20);
}

/* What it did not read is sent again, although its system had taken it: even if it said that it
 * would send nothing before it went. */
static void test_a_receiver_goes_with_unread_data(void **state)
{
    struct fixture *fixture = *state;
    char some[100];

    listen_tcp(fixture);
    for (int round = 0; round < 2; round++) {
        open_at(fixture, 100);
        accept_peer(fixture);
        assert_int_equal(send_record(fixture, 100, 100), OK);
        assert_int_equal(send_record(fixture, 101, 100), OK);
        settle_at(fixture, 102);
        assert_int_equal(recv(fixture->peer, some, sizeof(some), 0), (ssize_t)sizeof(some));
        if (round == 1) {
            assert_int_equal(shutdown(fixture->peer, SHUT_RDWR), 0);
            turn(fixture);
            assert_int_equal(send_record(fixture, 102, 100), ERR_FULL);
        }
        (void)close(fixture->peer);
        while (fixture->stream->state == STREAM_OPEN) {
            turn(fixture);
        }
        assert_int_equal(fixture->stream->state, STREAM_FAILED);
        assert_int_equal(fixture->stream->from, 100);
        fixture->stream->kind->close(fixture->stream);
    }
}

/* What it read is not. */
static void test_a_receiver_goes_in_order(void **state)
{
    struct fixture *fixture = *state;
    char some[1000];

    listen_tcp(fixture);
    open_at(fixture, 100);
    accept_peer(fixture);
    assert_int_equal(send_record(fixture, 100, 100), OK);
    settle_at(fixture, 101);
    assert_true(recv(fixture->peer, some, sizeof(some), 0) > 100);
    (void)close(fixture->peer);
    while (fixture->stream->state == STREAM_OPEN) {
        turn(fixture);
    }
    assert_int_equal(fixture->stream->state, STREAM_ENDED);
    assert_int_equal(fixture->stream->from, 101);
}

static void test_a_receiver_that_does_not_read_bounds_what_is_taken(void **state)
{
    struct fixture *fixture = *state;
    int64_t taken;

    listen_unix(fixture, SOCK_STREAM);
    open_at(fixture, 0);
    accept_peer(fixture);
    taken = fill(fixture, 0);
    /* Our buffer, and the system's. */
    assert_in_range(taken, 262144 / PADDING, (262144 + (4 << 20)) / PADDING);
    assert_int_equal(fixture->stream->kind->settle(fixture->stream), 0);
}

static void test_nobody_listens(void **state)
{
    struct fixture *fixture = *state;

    open_at(fixture, 9);
    assert_int_equal(fixture->stream->state, STREAM_FAILED);
    assert_int_equal(fixture->stream->from, 9);
    assert_non_null(strstr(fixture->stream->why.text, "connecting"));
    fixture->stream->kind->close(fixture->stream);
    listen_tcp(fixture);
    (void)close(fixture->listener);
    open_at(fixture, 9);
    assert_int_equal(fixture->stream->state, STREAM_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(test_datagrams),
        TEST(test_a_full_queue_of_datagrams_waits),
        TEST(test_a_receiver_of_datagrams_dies),
        TEST(test_a_datagram_that_is_too_long_is_cut),
        TEST(test_octets_are_counted),
        TEST(test_a_receiver_goes_with_unread_data),
        TEST(test_a_receiver_goes_in_order),
        TEST(test_a_receiver_that_does_not_read_bounds_what_is_taken),
        TEST(test_nobody_listens),
#undef TEST
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
