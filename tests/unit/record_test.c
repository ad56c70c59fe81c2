/* Tests of the reader of audit records: by example, and random damage against jansson. */
#include "common/record.h"

#include "common/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

#define HEAD                                                                                       \
    "{\"v\":1,\"node\":\"gw-1\",\"seq\":7,\"time\":\"2026-11-24T22:00:00.000Z\",\"event\":\"e\""

static const char accepted[] =
    "{\"v\":1,\"node\":\"gw-1\",\"seq\":12,\"time\":\"2026-11-24T22:00:00.000Z\","
    "\"event\":\"action.accepted\",\"request_id\":\"r-1\",\"client\":\"nightly\",\"key_id\":\"k1\","
    "\"team\":\"helpdesk\",\"remote\":\"127.0.0.1\",\"traceparent\":\"00-4b\",\"action_id\":\"act_"
    "1\","
    "\"account\":\"main\",\"action\":\"exempt\",\"devices\":[\"a\",\"b\\u00fc\"],"
    "\"params\":{\"exempt_time\":24},\"reason\":\"ticket \\\"5\\\" "
    "\xc3\xbc\",\"decision\":\"allow\","
    "\"rule\":\"helpdesk/0\",\"upstream_status\":200,\"results\":[{\"id\":\"a\",\"status\":1},{},"
    "{\"x\":{\"id\":\"no\"},\"id\":\"b\"}],\"detail\":{\"n\":-1.5e3,\"t\":[true,false,null],"
    "\"actions\":[\"act_1\"],\"clock\":{\"boot_id\":\"b0\",\"ms\":123456}}}";

static enum err read_text(const char *text, struct record *record)
{
    return record_read(text, strlen(text), record);
}

static void check_piece(struct record_piece piece, const char *text)
{
    assert_non_null(piece.at);
    assert_int_equal(piece.len, strlen(text));
    assert_memory_equal(piece.at, text, piece.len);
}

static void test_a_whole_record(void **state)
{
    struct record record;
    struct record_piece clock;

    (void)state;
    assert_int_equal(read_text(accepted, &record), OK);
    assert_int_equal(record.v, 1);
    assert_int_equal(record.seq, 12);
    check_piece(record.node, "gw-1");
    check_piece(record.time, "2026-11-24T22:00:00.000Z");
    check_piece(record.event, "action.accepted");
    check_piece(record.request_id, "r-1");
    check_piece(record.client, "nightly");
    check_piece(record.key_id, "k1");
    check_piece(record.team, "helpdesk");
    check_piece(record.remote, "127.0.0.1");
    check_piece(record.action_id, "act_1");
    check_piece(record.account, "main");
    check_piece(record.action, "exempt");
    check_piece(record.devices, "[\"a\",\"b\\u00fc\"]");
    check_piece(record.params, "{\"exempt_time\":24}");
    check_piece(record.reason, "ticket \\\"5\\\" \xc3\xbc");
    check_piece(record.decision, "allow");
    check_piece(record.rule, "helpdesk/0");
    assert_null(record.call_id.at);
    assert_null(record.outcome.at);
    assert_null(record.problem.at);
    assert_true(record_equals(record.reason, "ticket \"5\" \xc3\xbc"));
    clock = record_member(record.detail, "clock");
    check_piece(record_member(clock, "boot_id"), "b0");
    assert_int_equal(record_integer(record_member(clock, "ms"), -1), 123456);
    assert_int_equal(record_integer(record_member(record.detail, "n"), -1), -1);
    assert_null(record_member(record.detail, "ms").at);
    assert_null(record_member(record.params, "clock").at);
}

static void test_going_through_arrays(void **state)
{
    struct record record;
    struct record_piece piece;
    const char *at = NULL;

    (void)state;
    assert_int_equal(read_text(accepted, &record), OK);
    assert_true(record_next_string(record.devices, &at, &piece));
    assert_true(record_equals(piece, "a"));
    assert_true(record_next_string(record.devices, &at, &piece));
    assert_true(record_equals(piece, "b\xc3\xbc"));
    assert_false(record_next_string(record.devices, &at, &piece));
    at = NULL;
    assert_true(record_next_member(record.results, "id", &at, &piece));
    check_piece(piece, "a");
    assert_true(record_next_member(record.results, "id", &at, &piece));
    check_piece(piece, "b");
    assert_false(record_next_member(record.results, "id", &at, &piece));
    at = NULL;
    assert_false(record_next_string(record.outcome, &at, &piece));
}

static void test_what_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        HEAD,
        HEAD "}x",
        HEAD "} ",
        " " HEAD "}",
        HEAD ", \"x\":1}",
        HEAD ",\"x\" :1}",
        HEAD ",}",
        HEAD ",\"x\"}",
        HEAD ",\"x\":}",
        HEAD ",\"x\":01}",
        HEAD ",\"x\":1.}",
        HEAD ",\"x\":-}",
        HEAD ",\"x\":+1}",
        HEAD ",\"x\":1e}",
        HEAD ",\"x\":tru}",
        HEAD ",\"x\":[1,]}",
        HEAD ",\"x\":[,1]}",
        HEAD ",\"x\":[1}",
        HEAD ",\"x\":{\"a\":1]}",
        HEAD ",\"x\":{\"a\":1,}}",
        HEAD ",\"x\":{1:2}}",
        HEAD ",\"x\":\"\\x\"}",
        HEAD ",\"x\":\"\\u12g4\"}",
        HEAD ",\"x\":\"\\u0000\"}",
        HEAD ",\"x\":\"\\ud800\"}",
        HEAD ",\"x\":\"\\ud800\\u0041\"}",
        HEAD ",\"x\":\"\\udc00\"}",
        HEAD ",\"x\":\"\x01\"}",
        HEAD ",\"x\":\"\xff\"}",
        HEAD ",\"x\":\"\xc0\xaf\"}",
        HEAD ",\"x\":\"\xe0\x80\xaf\"}",
        HEAD ",\"x\":\"\xed\xa0\x80\"}",
        HEAD ",\"x\":\"\xf4\x90\x80\x80\"}",
        HEAD ",\"x\":\"\xc3\"}",
        HEAD ",\"seq\":7}",
        HEAD ",\"s\\u0065q\":7}",
        HEAD ",\"x\":1,\"x\":1}",
        HEAD ",\"x\":1,\"\\u0078\":1}",
        HEAD ",\"team\":1}",
        HEAD ",\"devices\":[1]}",
        HEAD ",\"devices\":\"a\"}",
        HEAD ",\"results\":[\"a\"]}",
        HEAD ",\"detail\":[]}",
        HEAD ",\"params\":null}",
        "{\"v\":1.0,\"node\":\"n\",\"seq\":0,\"time\":\"\",\"event\":\"\"}",
        "{\"v\":1,\"node\":\"n\",\"seq\":\"0\",\"time\":\"\",\"event\":\"\"}",
        "{\"v\":1,\"node\":\"n\",\"seq\":9223372036854775808,\"time\":\"\",\"event\":\"\"}",
        "{\"v\":1,\"node\":\"n\",\"time\":\"\",\"event\":\"\"}",
    };
    struct record record;

    (void)state;
    assert_int_equal(read_text(HEAD "}", &record), OK);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (read_text(bad[i], &record) == OK) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
}

static void test_what_is_accepted(void **state)
{
    static const char *const good[] = {
        HEAD ",\"x\":{}}",
        HEAD ",\"x\":[]}",
        HEAD ",\"x\":[[],{},[{}],\"\"]}",
        HEAD ",\"x\":-0.5E+10}",
        HEAD ",\"x\":0}",
        HEAD ",\"devices\":[]}",
        HEAD ",\"results\":[]}",
        HEAD ",\"x\":{\"seq\":1,\"seq\":2}}",
        HEAD ",\"s\\u0065\":7}",
        HEAD ",\"t\\u0065am\":\"a\"}",
        HEAD ",\"\":1}",
        "{\"event\":\"\",\"time\":\"\",\"seq\":-9223372036854775808,\"node\":\"\",\"v\":1}",
    };
    struct record record;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        if (read_text(good[i], &record) != OK) {
            fail_msg("refused: %s", good[i]);
        }
    }
    assert_int_equal(read_text(good[9], &record), OK);
    check_piece(record.team, "a");
    assert_int_equal(read_text(good[ARRAY_LEN(good) - 1], &record), OK);
    assert_true(record.seq == INT64_MIN);
}

static void test_depth_and_names_are_bounded(void **state)
{
    char text[4096];
    struct record record;

    (void)state;
    for (int depth = 30; depth <= 33; depth++) { /* the record itself is one more */
        (void)snprintf(text, sizeof(text), "%s,\"x\":%.*s%.*s}", HEAD, depth,
                       "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", depth,
                       "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");
        assert_int_equal(read_text(text, &record), depth <= 31 ? OK : ERR_MALFORMED);
    }
    for (int names = 64; names <= 65; names++) {
        size_t len = (size_t)snprintf(text, sizeof(text), "%s", HEAD);
        for (int i = 0; i < names; i++) {
            len += (size_t)snprintf(text + len, sizeof(text) - len, ",\"x%d\":0", i);
        }
        (void)snprintf(text + len, sizeof(text) - len, "}");
        assert_int_equal(read_text(text, &record), names == 64 ? OK : ERR_MALFORMED);
    }
}

static bool equals(const char *piece, const char *text)
{
    return record_equals((struct record_piece){piece, strlen(piece)}, text);
}

static void test_equals_resolves_escapes(void **state)
{
    (void)state;
    assert_true(equals("", ""));
    assert_true(equals("abc", "abc"));
    assert_false(equals("abc", "ab"));
    assert_false(equals("ab", "abc"));
    assert_false(equals("abd", "abc"));
    assert_true(equals("\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t"));
    assert_true(equals("\\u0041\\u00e4\\u20AC", "A\xc3\xa4\xe2\x82\xac"));
    assert_true(equals("x\\ud83d\\ude00y", "x\xf0\x9f\x98\x80y"));
    assert_true(equals("x\xf0\x9f\x98\x80y", "x\xf0\x9f\x98\x80y"));
    assert_false(equals("x\\ud83d\\ude00y", "x\xf0\x9f\x98\x80"));
    assert_false(equals("\\u0041", "B"));
    assert_false(equals("a\\b", "a\\b")); /* a backspace */
    assert_false(equals("\\ud83d", "?"));
    assert_false(equals("\\", "\\"));
    assert_false(record_equals((struct record_piece){NULL, 0}, ""));
}

static bool is_array_of(const json_t *array, json_type type)
{
    size_t i;
    const json_t *value;

    json_array_foreach (array, i, value) {
        if (json_typeof(value) != type) {
            return false;
        }
    }
    return json_is_array(array);
}

/* What jansson says, and the types of record.h. It refuses two things that are well formed: a name
 * twice further in, and numbers out of range. */
static bool jansson_accepts(const char *text, size_t len)
{
    static const char *const strings[] = {"node",    "time",   "event",  "request_id", "client",
                                          "key_id",  "team",   "remote", "action_id",  "call_id",
                                          "account", "action", "reason", "decision",   "rule",
                                          "problem", "outcome"};
    json_error_t error;
    json_t *value = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
    const json_t *member;
    bool good = json_is_object(value) && json_is_integer(json_object_get(value, "v")) &&
                json_is_integer(json_object_get(value, "seq"));

    if (value == NULL) {
        return json_error_code(&error) == json_error_duplicate_key ||
               json_error_code(&error) == json_error_numeric_overflow;
    }
    for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
        member = json_object_get(value, strings[i]);
        good = good && (member == NULL ? i > 2 : json_is_string(member));
    }
    member = json_object_get(value, "devices");
    good = good && (member == NULL || is_array_of(member, JSON_STRING));
    member = json_object_get(value, "results");
    good = good && (member == NULL || is_array_of(member, JSON_OBJECT));
    member = json_object_get(value, "params");
    good = good && (member == NULL || json_is_object(member));
    member = json_object_get(value, "detail");
    good = good && (member == NULL || json_is_object(member));
    json_decref(value);
    return good;
}

/* Random changes of bytes: what is accepted, jansson accepts too, and the other way round, but for
 * white space. */
static void test_random_damage(void **state)
{
    const size_t len = sizeof(accepted) - 1;
    unsigned seed = 1;
    size_t kept = 0;

    (void)state;
    for (int round = 0; round < 60000; round++) {
        /* A copy of its own size, so that a sanitizer sees a byte too far. */
        size_t cut = rand_r(&seed) % 10 == 0 ? (size_t)rand_r(&seed) % len : len;
        char *text = malloc(cut + 1);
        struct record record;
        int changes = rand_r(&seed) % 3;
        bool space = false;

        assert_non_null(text);
        text = realloc(text, cut > 0 ? cut : 1);
        assert_non_null(text);
        memcpy(text, accepted, cut);
        for (int i = 0; i < changes && cut > 0; i++) {
            static const char likely[] = "{}[]\",:\\u0189aeE+-. \x7f\xc3\x80tn";
            char to = (char)(unsigned char)rand_r(&seed);
            if (rand_r(&seed) % 2 == 0) {
                to = likely[(size_t)rand_r(&seed) % (sizeof(likely) - 1)];
            }
            text[(size_t)rand_r(&seed) % cut] = to;
            space = space || to == ' ' || to == '\n' || to == '\t' || to == '\r';
        }
        if (record_read(text, cut, &record) == OK) {
            kept++;
            assert_true(jansson_accepts(text, cut));
            (void)record_equals(record.reason, "ticket");
            (void)record_member(record.detail, "clock");
        } else if (!space) {
            json_t *value = json_loadb(text, cut, JSON_REJECT_DUPLICATES, NULL);
            assert_true(value == NULL || !jansson_accepts(text, cut));
            json_decref(value);
        }
        free(text);
    }
    assert_true(kept > 10000);
}

/* Pieces of anything: nothing reads past them. */
static void test_random_pieces(void **state)
{
    unsigned seed = 2;

    (void)state;
    for (int round = 0; round < 60000; round++) {
        static const char likely[] = "[]{}\",:\\uda0f";
        size_t len = (size_t)rand_r(&seed) % 12;
        char *bytes = malloc(len > 0 ? len : 1);
        struct record_piece piece = {bytes, len};
        struct record_piece found;
        const char *at = NULL;

        assert_non_null(bytes);
        for (size_t i = 0; i < len; i++) {
            bytes[i] = likely[(size_t)rand_r(&seed) % (sizeof(likely) - 1)];
        }
        while (record_next_string(piece, &at, &found)) {
            assert_true(at > bytes && at <= bytes + len);
        }
        at = NULL;
        while (record_next_member(piece, "a", &at, &found)) {
            assert_true(at > bytes && at <= bytes + len);
        }
        (void)record_member(piece, "a");
        (void)record_equals(piece, "aaaa");
        (void)record_integer(piece, 0);
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_whole_record),
        cmocka_unit_test(test_going_through_arrays),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_what_is_accepted),
        cmocka_unit_test(test_depth_and_names_are_bounded),
        cmocka_unit_test(test_equals_resolves_escapes),
        cmocka_unit_test(test_random_damage),
        cmocka_unit_test(test_random_pieces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
