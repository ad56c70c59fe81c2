/* Tests of common/: the small things that everything stands on. */
#include "common/buffer.h"
#include "common/clock.h"
#include "common/crypto.h"
#include "common/file.h"
#include "common/json.h"
#include "common/mac.h"
#include "common/problems.h"
#include "common/secret.h"
#include "common/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

static void test_buffer_holds_its_bound(void **state)
{
    struct buffer buffer;
    CLEANUP(cleanup_free) char *text = NULL;

    (void)state;
    buffer_init(&buffer, 8);
    assert_int_equal(buffer_add(&buffer, "12345", 5), OK);
    assert_int_equal(buffer_add(&buffer, "6789", 4), ERR_FULL);
    assert_int_equal(buffer_printf(&buffer, "%d", 678), OK);
    assert_int_equal(buffer_printf(&buffer, "%d", 9), ERR_FULL);
    text = buffer_take(&buffer);
    assert_string_equal(text, "12345678");
    assert_int_equal(buffer.len, 0);
}

static void test_clock_formats_and_parses(void **state)
{
    char text[CLOCK_TEXT_SIZE];
    int64_t ms = -1;

    (void)state;
    assert_string_equal(clock_format(1795341600123, text), "2026-11-22T10:00:00.123Z");
    assert_int_equal(clock_parse("2026-11-22T10:00:00.123Z", &ms), OK);
    assert_true(ms == 1795341600123);
    assert_int_equal(clock_parse("2026-11-22T12:00:00+02:00", &ms), OK);
    assert_true(ms == 1795341600000);
    assert_int_equal(clock_parse("2026-11-22T08:30:00-01:30", &ms), OK);
    assert_true(ms == 1795341600000);
    assert_int_equal(clock_parse("2026-11-22T10:00:00.12399Z", &ms), OK);
    assert_true(ms == 1795341600123);
    assert_string_equal(clock_format(-1, text), "1969-12-31T23:59:59.999Z");
    assert_int_equal(clock_parse(text, &ms), OK);
    assert_true(ms == -1);
    assert_int_equal(clock_parse("0001-01-01T00:00:00Z", &ms), OK);
    assert_string_equal(clock_format(ms, text), "0001-01-01T00:00:00.000Z");
}

static void test_clock_refuses(void **state)
{
    static const char *const bad[] = {"",
                                      "2026-11-22",
                                      "2026-11-22T10:00:00",
                                      "tomorrow",
                                      "2026-02-30T10:00:00Z",
                                      "2026-11-22T10:00:00Zx",
                                      "2026-11-22T10:00:00+2:00",
                                      "2026-11-22T10:00:00+99:00",
                                      "2026- 1- 1T 1: 1: 1Z",
                                      "26-1-1T1:1:1Z",
                                      "+2026-11-22T10:00:00Z",
                                      " 2026-11-22T10:00:00Z",
                                      "2026-11-22T10:00:00.Z",
                                      "2026-11-22T24:00:00Z",
                                      "2026-11-22T10:60:00Z",
                                      "2026-11-22T10:00:60Z",
                                      "2026-13-22T10:00:00Z",
                                      "2026-00-22T10:00:00Z",
                                      "2023-02-29T10:00:00Z"};
    int64_t ms = 7;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(clock_parse(bad[i], &ms), ERR_MALFORMED);
        assert_true(ms == 7);
    }
}

static void test_boot_clock_only_goes_on(void **state)
{
    int64_t before = clock_boot_us();

    (void)state;
    assert_true(clock_boot_us() >= before);
    assert_true(strlen(clock_boot_id()) > 8);
    assert_ptr_equal(clock_boot_id(), clock_boot_id());
}

static void test_sha256_and_hex(void **state)
{
    uint8_t digest[SHA256_BYTES];
    uint8_t back[SHA256_BYTES];
    char hex[SHA256_HEX_SIZE];

    (void)state;
    crypto_sha256("abc", 3, digest); /* FIPS 180-4, example */
    crypto_hex(digest, sizeof(digest), hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(crypto_unhex(hex, back, sizeof(back)), OK);
    assert_memory_equal(digest, back, sizeof(back));
    assert_true(crypto_equal(digest, back, sizeof(back)));
    back[31] ^= 1;
    assert_false(crypto_equal(digest, back, sizeof(back)));
    hex[3] = 'g';
    assert_int_equal(crypto_unhex(hex, back, sizeof(back)), ERR_MALFORMED);
    assert_int_equal(crypto_unhex("ab", back, sizeof(back)), ERR_MALFORMED);
}

static void test_random_text_differs(void **state)
{
    char a[53];
    char b[53];

    (void)state;
    crypto_random_text(a, 52);
    crypto_random_text(b, 52);
    assert_int_equal(strlen(a), 52);
    assert_string_not_equal(a, b);
    assert_int_equal(strspn(a, "0123456789abcdefghjkmnpqrstvwxyz"), 52);
}

static void test_checksum_sees_every_single_change(void **state)
{
    char text[] = "tg_0123456789";
    char right[8];
    char other[8];

    (void)state;
    crypto_checksum_text(text, strlen(text), right);
    assert_int_equal(strlen(right), 7);
    for (size_t i = 0; i < strlen(text); i++) {
        text[i] ^= 1;
        crypto_checksum_text(text, strlen(text), other);
        assert_string_not_equal(right, other);
        text[i] ^= 1;
    }
}

static void test_secret_is_scrubbed_from_what_a_peer_echoes(void **state)
{
    struct secret *secret = secret_new("TOKEN", 5);
    struct secret *same = secret_new("TOKEN", 5);
    struct secret *other = secret_new("TOKEM", 5);
    char text[] = "xTOKENyTOKENTOKENzTOKE";

    (void)state;
    assert_true(secret_equal(secret, same));
    assert_false(secret_equal(secret, other));
    assert_int_equal(secret_scrub(secret, text, strlen(text)), 3);
    assert_string_equal(text, "x*****y**********zTOKE");
    secret_free(secret);
    secret_free(same);
    secret_free(other);
    secret_free(NULL);
}

static char *write_file(const char *content, mode_t mode)
{
    char *path = xstrdup("/tmp/tollgate-unit-XXXXXX");
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    assert_int_equal(fchmod(fd, mode), 0);
    (void)close(fd);
    return path;
}

static void test_secret_files_must_be_private(void **state)
{
    static const struct {
        mode_t mode;
        const char *content;
        enum err expected;
    } cases[] = {
        {0600, " s3cret\n", OK},      {0400, "s3cret", OK},         {0640, "s3cret", ERR_DENIED},
        {0604, "s3cret", ERR_DENIED}, {0601, "s3cret", ERR_DENIED}, {0600, " \n\t", ERR_INVALID},
    };
    struct error error;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(cleanup_free) char *path = write_file(cases[i].content, cases[i].mode);
        struct secret *secret = NULL;
        assert_int_equal(file_read_secret(path, &secret, &error), cases[i].expected);
        if (cases[i].expected == OK) {
            assert_string_equal(secret_reveal(secret, NULL), "s3cret");
        } else {
            assert_null(secret);
            assert_non_null(strstr(error.text, path));
        }
        secret_free(secret);
        (void)unlink(path);
    }
}

static void test_files_are_bounded(void **state)
{
    CLEANUP(cleanup_free) char *path = write_file("12345", 0600);
    CLEANUP(cleanup_free) char *data = NULL;
    struct error error;
    size_t len = 0;

    (void)state;
    assert_int_equal(file_read(path, 4, &data, &len, &error), ERR_FULL);
    assert_null(data);
    assert_int_equal(file_read(path, 5, &data, &len, &error), OK);
    assert_int_equal(len, 5);
    assert_string_equal(data, "12345");
    (void)unlink(path);
    assert_int_equal(file_read(path, 5, &data, &len, &error), ERR_NOT_FOUND);
    assert_int_equal(file_read("/", 5, &data, &len, &error), ERR_INVALID);
}

static void test_json_is_read_strictly(void **state)
{
    static const char *const bad[] = {"",
                                      "{",
                                      "{\"a\":1,\"a\":2}",
                                      "{} x",
                                      "\xEF\xBB\xBF{}",
                                      "[1e400]",
                                      "[01]",
                                      "['a']",
                                      "{\"a\":\"\xff\"}",
                                      "[\"\\ud800\"]",
                                      "{\"a\":nan}",
                                      "[\"\\u0000\"]",
                                      "\"text\"",
                                      "7"};
    struct error error;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        json_t *value = NULL;
        assert_int_equal(json_read(bad[i], strlen(bad[i]), &value, &error), ERR_MALFORMED);
        assert_null(value);
        assert_non_null(strstr(error.text, "line"));
    }
    CLEANUP(cleanup_json) json_t *good = NULL;
    assert_int_equal(json_read("{\"a\":[1]}", 9, &good, &error), OK);
    CLEANUP(cleanup_free) char *text = json_write(good);
    assert_string_equal(text, "{\"a\":[1]}");
}

/* Byte for byte what jansson writes, as long as there is no control beyond ASCII. */
static void test_json_is_written_as_jansson_does(void **state)
{
    static const char *const texts[] = {
        "{}",
        "[]",
        "[[],{},[{}],\"\",null,true,false]",
        "{\"b\":1,\"a\":{\"z\":[1,-2,9223372036854775807,-9223372036854775808]}}",
        "[0.5,-1.25e300,1e-7,3.0,0.1]",
        "[\"\\u0001\\u001f\\b\\f\\n\\r\\t\\\"\\\\/\", \" plain \"]",
        "{\"k\\n\\\"\":\"gr\u00fc\u00df \U0001f600 \u00a0 \u00bf\"}",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        CLEANUP(cleanup_json) json_t *value = NULL;
        struct error error;
        assert_int_equal(json_read(texts[i], strlen(texts[i]), &value, &error), OK);
        CLEANUP(cleanup_free) char *text = json_write(value);
        CLEANUP(cleanup_free)
        char *expected = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        assert_string_equal(text, expected);
    }
}

static void test_json_that_is_long(void **state)
{
    CLEANUP(cleanup_json) json_t *list = json_array();

    (void)state;
    for (int i = 0; i < 2000; i++) {
        (void)json_array_append_new(list, json_sprintf("%*s\n", i % 700, "x"));
    }
    CLEANUP(cleanup_free) char *text = json_write(list);
    CLEANUP(cleanup_free) char *expected = json_dumps(list, JSON_COMPACT);
    assert_string_equal(text, expected);
}

static void test_json_has_no_controls(void **state)
{
    CLEANUP(cleanup_json)
    json_t *value = json_pack("[s, s]", "\x7f\xc2\x80\xc2\x9f\xc2\xa0", "\xc3\x80");

    (void)state;
    CLEANUP(cleanup_free) char *text = json_write(value);
    assert_string_equal(text, "[\"\\u007f\\u0080\\u009f\xc2\xa0\",\"\xc3\x80\"]");
    CLEANUP(cleanup_free) char *none = json_write(NULL);
    assert_string_equal(none, "null");
}

static void test_json_pointers_are_escaped(void **state)
{
    CLEANUP(cleanup_free) char *pointer = json_pointer_append("/a", "b/c~d");

    (void)state;
    assert_string_equal(pointer, "/a/b~1c~0d"); /* RFC 6901 */
}

static void test_macs(void **state)
{
    static const struct {
        const char *text;
        const char *canonical; /* NULL: refused */
    } cases[] = {
        {"00:0C:29:cd:c7:B2", "00:0c:29:cd:c7:b2"},
        {"00-0c-29-cd-c7-b2", "00:0c:29:cd:c7:b2"},
        {"000C29CDC7B2", "00:0c:29:cd:c7:b2"},
        {"", NULL},
        {"00:0c:29:cd:c7", NULL},
        {"00:0c-29:cd:c7:b2", NULL},
        {"00:0c:29:cd:c7:bg", NULL},
        {"000c29cdc7b", NULL},
        {"00:0c:29:cd:c7:b2:", NULL},
        {"00.0c.29.cd.c7.b2", NULL},
        {"0:00c:29:cd:c7:b2", NULL},
        {"000c:29cd:c7b2", NULL},
    };
    char canonical[MAC_TEXT_SIZE];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        enum err err = mac_canonical(cases[i].text, canonical);
        assert_int_equal(err, cases[i].canonical != NULL ? OK : ERR_INVALID);
        if (err == OK) {
            assert_string_equal(canonical, cases[i].canonical);
        }
    }
}

static void test_problems_are_bounded(void **state)
{
    struct problems problems = {0};

    (void)state;
    for (int i = 0; i < PROBLEMS_MAX + 10; i++) {
        problems_add(&problems, "/x", "number %d", i);
    }
    assert_int_equal(problems.count, PROBLEMS_MAX);
    CLEANUP(cleanup_json) json_t *json = problems_json(&problems);
    assert_int_equal(json_array_size(json), PROBLEMS_MAX);
    problems_done(&problems);
    assert_int_equal(problems.count, 0);
}

static void test_problems_stay_utf8(void **state)
{
    struct problems problems = {0};
    char text[600];

    (void)state;
    problems_add(&problems, "/x", "is \"%.4s\"; expected x", "ab\xe2\x82\xac");
    memset(text, 'x', sizeof(text));
    memcpy(text + 509, "\xe2\x82\xac", 4); /* the end of the longest detail */
    problems_add(&problems, "/y", "%s", text);
    assert_string_equal(problems.items[0].detail, "is \"ab\"; expected x");
    assert_int_equal(strlen(problems.items[1].detail), 509);
    CLEANUP(cleanup_json) json_t *json = problems_json(&problems);
    assert_int_equal(json_array_size(json), 2);
    problems_done(&problems);
}

static void test_utf8(void **state)
{
    static const struct {
        const char *text;
        const char *mended;
    } cases[] = {
        {"", ""},
        {"ab", "ab"},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"a\xe2\x82", "a"},
        {"\xe2\x82\"b", "\"b"},
        {"\x80z\xff", "z"},
        {"\xc0\x80\xed\xa0\x80\xf4\x90\x80\x80.", "."},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[32];
        (void)snprintf(text, sizeof(text), "%s", cases[i].text);
        utf8_mend(text);
        assert_string_equal(text, cases[i].mended);
    }
}

static void test_errors_take_context(void **state)
{
    char text[600] = "";
    struct error error;

    (void)state;
    assert_int_equal(error_set(&error, ERR_IO, "no %s", "disk"), ERR_IO);
    assert_int_equal(error_prefix(&error, "file %d", 7), ERR_IO);
    assert_string_equal(error.text, "file 7: no disk");
    assert_int_equal(error_set(NULL, ERR_IO, "nobody reads this"), ERR_IO);
    assert_int_equal(error_set(&error, ERR_IO, "near '%s'", "\\ude0\xd0"), ERR_IO);
    assert_string_equal(error.text, "near '\\ude0'");
    memset(text, 'x', sizeof(text) - 1);
    memcpy(text + sizeof(error.text) - 3, "\xe2\x82\xac", 3);
    assert_int_equal(error_set(&error, ERR_IO, "%s", text), ERR_IO);
    assert_int_equal(strlen(error.text), sizeof(error.text) - 3);
    memcpy(text + 253, "\xe2\x82\xac", 3);
    assert_int_equal(error_prefix(&error, "%s", text), ERR_IO);
    assert_int_equal(strncmp(error.text + 252, "x: x", 4), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buffer_holds_its_bound),
        cmocka_unit_test(test_clock_formats_and_parses),
        cmocka_unit_test(test_clock_refuses),
        cmocka_unit_test(test_boot_clock_only_goes_on),
        cmocka_unit_test(test_sha256_and_hex),
        cmocka_unit_test(test_random_text_differs),
        cmocka_unit_test(test_checksum_sees_every_single_change),
        cmocka_unit_test(test_secret_is_scrubbed_from_what_a_peer_echoes),
        cmocka_unit_test(test_secret_files_must_be_private),
        cmocka_unit_test(test_files_are_bounded),
        cmocka_unit_test(test_json_is_read_strictly),
        cmocka_unit_test(test_json_is_written_as_jansson_does),
        cmocka_unit_test(test_json_that_is_long),
        cmocka_unit_test(test_json_has_no_controls),
        cmocka_unit_test(test_json_pointers_are_escaped),
        cmocka_unit_test(test_macs),
        cmocka_unit_test(test_problems_are_bounded),
        cmocka_unit_test(test_problems_stay_utf8),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_errors_take_context),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
