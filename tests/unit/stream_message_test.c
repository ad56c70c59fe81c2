/* Tests of what a syslog message looks like, and of the addresses that they go to. */
#include "gateway/stream_address.h"
#include "gateway/syslog.h"
#include "store/audit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

#define START "{\"v\":1,\"node\":\"gw\",\"seq\":3,\"time\":\"2026-11-24T22:00:00.000Z\",\"event\":"

static const struct syslog_origin origin = {
    .facility = 10, .app_name = "tollgate", .host = "h1", .pid = 42};

/* The message of a record, which the caller frees. */
static char *message_of(const char *bytes, size_t max, bool *ret_cut)
{
    const struct store_record record = {
        .node = "gw", .seq = 3, .bytes = bytes, .len = strlen(bytes)};
    struct buffer buffer;

    buffer_init(&buffer, 1 << 20);
    *ret_cut = syslog_write(&origin, &record, max, &buffer);
    return buffer_take(&buffer);
}

static void check(const char *record, const char *head)
{
    bool cut;
    CLEANUP(cleanup_free) char *message = message_of(record, SIZE_MAX, &cut);
    CLEANUP(cleanup_free) char *expected = xasprintf("%s %s", head, record);

    assert_string_equal(message, expected);
    assert_false(cut);
}

static void test_messages(void **state)
{
    (void)state;
    check(START "\"node.started\"}", "<86>1 2026-11-24T22:00:00.000Z h1 tollgate 42 node.started "
                                     "[tollgate@32473 node=\"gw\" seq=\"3\"]");
    check(START "\"call.outcome\",\"call_id\":\"c1\",\"account\":\"main\",\"outcome\":\"unknown\"}",
          "<84>1 2026-11-24T22:00:00.000Z h1 tollgate 42 call.outcome [tollgate@32473 node=\"gw\" "
          "seq=\"3\" call_id=\"c1\" account=\"main\" outcome=\"unknown\"]");
    check(START "\"call.outcome\",\"outcome\":\"ok\"}",
          "<86>1 2026-11-24T22:00:00.000Z h1 tollgate 42 call.outcome [tollgate@32473 node=\"gw\" "
          "seq=\"3\" outcome=\"ok\"]");
    check(START "\"action.finished\",\"detail\":{\"state\":\"failed\"}}",
          "<84>1 2026-11-24T22:00:00.000Z h1 tollgate 42 action.finished "
          "[tollgate@32473 node=\"gw\" seq=\"3\"]");
    check(START "\"request.refused\",\"problem\":\"policy-denied\"}",
          "<84>1 2026-11-24T22:00:00.000Z h1 tollgate 42 request.refused [tollgate@32473 "
          "node=\"gw\" seq=\"3\" problem=\"policy-denied\"]");
}

static void test_what_is_special_is_escaped(void **state)
{
    (void)state;
    check(START "\"action.accepted\",\"client\":\"a]b\",\"team\":\"q\\\"\\n\"}",
          "<86>1 2026-11-24T22:00:00.000Z h1 tollgate 42 action.accepted [tollgate@32473 "
          "node=\"gw\" seq=\"3\" client=\"a\\]b\" team=\"q\\\\\\\"\\\\n\"]");
    check(START "\"two words\"}", "<86>1 2026-11-24T22:00:00.000Z h1 tollgate 42 - "
                                  "[tollgate@32473 node=\"gw\" seq=\"3\"]");
}

static void test_what_is_no_record_is_sent_all_the_same(void **state)
{
    (void)state;
    check("damaged", "<84>1 - h1 tollgate 42 - [tollgate@32473 node=\"gw\" seq=\"3\"]");
    check(START "\"token.failed\",\"detail\":\"text\"}",
          "<84>1 2026-11-24T22:00:00.000Z h1 tollgate 42 token.failed "
          "[tollgate@32473 node=\"gw\" seq=\"3\"]");
}

static void test_too_long_is_cut_and_says_so(void **state)
{
    const char *record = START "\"call.outcome\",\"reason\":\"\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\"}";
    bool cut;
    CLEANUP(cleanup_free) char *whole = message_of(record, SIZE_MAX, &cut);
    size_t len = strlen(whole);

    (void)state;
    assert_false(cut);
    for (size_t max = len + 20; max > 200; max--) {
        CLEANUP(cleanup_free) char *message = message_of(record, max, &cut);
        assert_int_equal(cut, max < len);
        assert_true(strlen(message) <= max);
        if (cut) {
            CLEANUP(cleanup_free) char *said = xasprintf(" cut=\"%zu\"] ", strlen(record));
            const char *text = strstr(message, said);
            assert_non_null(text);
            text += strlen(said);
            assert_memory_equal(text, record, strlen(text));
            /* Never half a character. */
            assert_true(((unsigned char)record[strlen(text)] & 0xC0U) != 0x80U);
        }
    }
}

static void test_facilities(void **state)
{
    struct syslog_origin made;

    (void)state;
    syslog_origin_init(&made, "authpriv", "gate");
    assert_int_equal(made.facility, 10);
    assert_string_equal(made.app_name, "gate");
    assert_true(made.host[0] != '\0' && made.pid > 0);
    syslog_origin_init(&made, "local7", "gate");
    assert_int_equal(made.facility, 23);
}

static void test_addresses(void **state)
{
    static const char *const bad[] = {
        "",
        "tls://",
        "tls://h",
        "tls://h:",
        "tls://h:0",
        "tls://h:x",
        "tls://h:65536",
        "tls://:6514",
        "tls://h:65 ",
        "tls://u@h:6514",
        "tls://[h]:1",
        "tls://2001::1:1",
        "tcp://h:601",
        "tcp://10.0.0.1:601",
        "udp://h:514",
        "unix:log",
        "unix:",
        "h:514",
        "tls://[::1:6514",
    };
    struct stream_address address;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_non_null(stream_address_read(bad[i], NULL));
    }
    assert_null(stream_address_read("tls://logs.example.com:6514", &address));
    assert_int_equal(address.transport, STREAM_TLS);
    assert_string_equal(address.host, "logs.example.com");
    assert_string_equal(address.port, "6514");
    assert_false(address.host_is_ip);
    assert_null(stream_address_read("tcp://[::1]:601", &address));
    assert_int_equal(address.transport, STREAM_TCP);
    assert_string_equal(address.host, "::1");
    assert_true(address.host_is_ip);
    assert_null(stream_address_read("tcp://127.1.2.3:601", NULL));
    assert_null(stream_address_read("unix:/dev/log", &address));
    assert_int_equal(address.transport, STREAM_UNIX);
    assert_string_equal(address.path, "/dev/log");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_what_is_special_is_escaped),
        cmocka_unit_test(test_what_is_no_record_is_sent_all_the_same),
        cmocka_unit_test(test_too_long_is_cut_and_says_so),
        cmocka_unit_test(test_facilities),
        cmocka_unit_test(test_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
