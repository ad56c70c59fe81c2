/* Tests of the headers of a request: what each says. */
#include "gateway/headers.h"

#include "common/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

struct sample {
    const char *text;
    bool good;
};

static void check(const struct sample *samples, size_t count, bool (*is_good)(const char *text))
{
    for (size_t i = 0; i < count; i++) {
        if (is_good(samples[i].text) != samples[i].good) {
            fail_msg("%s", samples[i].text != NULL ? samples[i].text : "(none)");
        }
    }
}

static void test_content_types(void **state)
{
    static const struct sample samples[] = {
        {"application/json", true},
        {"Application/JSON; charset=UTF-8", true},
        {"application/json ;charset=\"utf-8\"", true},
        {NULL, false},
        {"", false},
        {"application/jsonp", false},
        {"application/json; charset=latin1", false},
        {"application/json; charset=utf-8; x=y", false},
        {"text/json", false},
    };

    (void)state;
    check(samples, ARRAY_LEN(samples), header_is_json);
}

static void test_preferences(void **state)
{
    static const struct {
        const char *text;
        bool respond_async;
        int64_t wait_s;
    } cases[] = {
        {NULL, false, -1},
        {"", false, -1},
        {"respond-async", true, -1},
        {"Respond-Async, Wait=7", true, 7},
        {"wait=0", false, 0},
        {"wait=300, wait=5", false, 300},
        {"wait=99999999999999999999", false, HEADER_MAX_WAIT_S},
        {"wait=-1", false, -1},
        {"wait", false, -1},
        {"waits=5; respond-asynchronously", false, -1},
        {"return=minimal; wait=5", false, 5},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct header_prefer prefer = header_read_prefer(cases[i].text);
        assert_int_equal(prefer.respond_async, cases[i].respond_async);
        assert_int_equal(prefer.wait_s, cases[i].wait_s);
    }
}

static void test_priorities(void **state)
{
    static const struct {
        const char *text;
        int urgency;
    } cases[] = {
        {NULL, 3},  {"", 3},     {"u=0", 0}, {"i, u=7", 7}, {"u=1;x, u=2", 2},
        {"u=8", 3}, {"u=12", 3}, {"U=1", 3}, {"u=-1", 3},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(header_read_priority(cases[i].text), cases[i].urgency);
    }
}

static void test_reasons(void **state)
{
    char long_text[HEADER_MAX_REASON_BYTES + 2] = "";
    static const struct sample samples[] = {
        {"Ticket 4711: \xc3\xbc"
         "ber Nacht",
         true},
        {"", true},
        {"latin \xfc", false},
        {"tab\t", false},
        {"\x1b[2J", false},
        {"\xc2\x9b", false},
        {"\x7f", false},
    };

    (void)state;
    check(samples, ARRAY_LEN(samples), header_is_reason);
    memset(long_text, 'x', HEADER_MAX_REASON_BYTES);
    assert_true(header_is_reason(long_text));
    long_text[HEADER_MAX_REASON_BYTES] = 'x';
    assert_false(header_is_reason(long_text));
}

static void test_idempotency_keys(void **state)
{
    static const struct {
        const char *text;
        const char *key;
    } cases[] = {
        {"a", "a"},    {"\"a-b\"", "a-b"}, {"", NULL},     {"\"", NULL},       {"\"\"", NULL},
        {"a b", NULL}, {"\"a", NULL},      {"a\\b", NULL}, {"\xc3\xa9", NULL},
    };
    char long_text[HEADER_MAX_KEY_LEN + 2] = "";
    const char *key;
    size_t len;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool good = header_read_idempotency_key(cases[i].text, &key, &len);
        assert_int_equal(good, cases[i].key != NULL);
        if (cases[i].key != NULL) {
            assert_int_equal(len, strlen(cases[i].key));
            assert_memory_equal(key, cases[i].key, len);
        }
    }
    memset(long_text, 'k', HEADER_MAX_KEY_LEN);
    assert_true(header_read_idempotency_key(long_text, &key, &len));
    long_text[HEADER_MAX_KEY_LEN] = 'k';
    assert_false(header_read_idempotency_key(long_text, &key, &len));
}

static bool is_short_id(const char *text)
{
    return header_is_request_id(text, 8);
}

static void test_request_ids(void **state)
{
    static const struct sample samples[] = {
        {"req_1", true}, {"a.b:c-d", true}, {NULL, false},        {"", false},
        {"a b", false},  {"a/b", false},    {"123456789", false},
    };

    (void)state;
    check(samples, ARRAY_LEN(samples), is_short_id);
}

static void test_traceparents(void **state)
{
#define TRACE  "4bf92f3577b34da6a3ce929d0e0e4736"
#define PARENT "00f067aa0ba902b7"
    static const struct sample samples[] = {
        {"00-" TRACE "-" PARENT "-01", true},
        {"00-" TRACE "-" PARENT "-00", true},
        {NULL, false},
        {"", false},
        {"00-" TRACE "-" PARENT "-0", false},
        {"00-" TRACE "-" PARENT "-011", false},
        {"00-" TRACE "-" PARENT "-01-x", false},
        {"01-" TRACE "-" PARENT "-01", false},
        {"00-" TRACE PARENT "--01", false},
        {"00-4BF92F3577B34DA6A3CE929D0E0E4736-" PARENT "-01", false},
        {"00-00000000000000000000000000000000-" PARENT "-01", false},
        {"00-" TRACE "-0000000000000000-01", false},
        {"-------------------------------------------------------", false},
    };

    (void)state;
    check(samples, ARRAY_LEN(samples), header_is_traceparent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_content_types),    cmocka_unit_test(test_preferences),
        cmocka_unit_test(test_priorities),       cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_idempotency_keys), cmocka_unit_test(test_request_ids),
        cmocka_unit_test(test_traceparents),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
