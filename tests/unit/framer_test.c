/* Framer: what is let through, what is refused and why, and that cutting the input changes
 * nothing: each case is fed whole, byte by byte and in random pieces. */
#include "gateway/framer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* needs the ones above */

#define TEXT(literal) (literal), sizeof(literal) - 1
#define HOST          "Host: a.example\r\n"

static const struct framer_limits limits = {
    .max_header_bytes = 512, .max_headers = 64, .max_body_bytes = 100};

struct outcome {
    enum framer_verdict verdict;
    size_t position; /* all bytes consumed, up to the verdict */
    size_t messages; /* ended before it */
    int status;
    const char *detail;
    enum framer_place place;
};

static size_t whole(size_t left)
{
    return left;
}

static size_t one_byte(size_t left)
{
    (void)left;
    return 1;
}

static size_t random_piece(size_t left)
{
    size_t most = left < 40 ? left : 40;
    return 1 + (size_t)rand() % most;
}

static struct outcome run(const char *data, size_t len, size_t (*piece)(size_t))
{
    struct framer framer;
    struct outcome outcome = {.verdict = FRAMER_MORE};

    framer_init(&framer, &limits);
    while (outcome.position < len && outcome.verdict != FRAMER_REFUSED) {
        size_t consumed = 0;
        size_t give = piece(len - outcome.position);
        /* A copy of its own size lets a sanitizer see a read beyond the piece. */
        char *copy = malloc(give);
        memcpy(copy, data + outcome.position, give);
        outcome.verdict = framer_feed(&framer, copy, give, &consumed);
        free(copy);
        assert_true(consumed <= give);
        assert_true(outcome.verdict != FRAMER_MORE || consumed == give);
        outcome.position += consumed;
        outcome.messages += outcome.verdict == FRAMER_DONE;
    }
    outcome.status = framer.status;
    outcome.detail = framer.detail;
    outcome.place = framer_place(&framer);
    return outcome;
}

/* The outcome, after checking that it is the same for any cut. */
static struct outcome run_all_ways(const char *data, size_t len)
{
    struct outcome expected = run(data, len, whole);

    for (int i = 0; i < 50; i++) {
        struct outcome outcome = run(data, len, i == 0 ? one_byte : random_piece);
        assert_int_equal(outcome.verdict, expected.verdict);
        assert_int_equal(outcome.position, expected.position);
        assert_int_equal(outcome.messages, expected.messages);
        assert_int_equal(outcome.status, expected.status);
        assert_ptr_equal(outcome.detail, expected.detail);
        assert_int_equal(outcome.place, expected.place);
    }
    return expected;
}

struct sample {
    const char *name;
    const char *data;
    size_t len;
};

static const struct sample good[] = {
    {"plain", TEXT("GET / HTTP/1.1\r\n" HOST "\r\n")},
    {"port", TEXT("GET / HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n")},
    {"query", TEXT("GET /a/b?c=d&e=%20{}|\"<>\\^` HTTP/1.1\r\n" HOST "\r\n")},
    {"1.0 without host", TEXT("GET / HTTP/1.0\r\n\r\n")},
    {"1.0 with body", TEXT("POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nab")},
    {"head", TEXT("HEAD /x HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n")},
    {"length", TEXT("POST / HTTP/1.1\r\n" HOST "content-length:3\r\n\r\nabc")},
    {"leading zeros", TEXT("PUT / HTTP/1.1\r\n" HOST "Content-Length: 003\r\n\r\n\r\n\r")},
    {"empty post", TEXT("POST / HTTP/1.1\r\n" HOST "\r\n")},
    {"delete with body", TEXT("DELETE / HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\nx")},
    {"patch", TEXT("PATCH / HTTP/1.1\r\n" HOST "\r\n")},
    {"options", TEXT("OPTIONS /x HTTP/1.1\r\n" HOST "\r\n")},
    {"chunked", TEXT("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked\r\n\r\n"
                     "3\r\nabc\r\n0A\r\n0123\r\n6789\r\n0\r\n\r\n")},
    {"chunked empty", TEXT("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                           "000\r\n\r\n")},
    {"expect", TEXT("POST / HTTP/1.1\r\n" HOST "Expect: 100-Continue\r\n"
                    "Content-Length: 1\r\n\r\nx")},
    {"odd but fine headers", TEXT("GET / HTTP/1.1\r\n" HOST "Empty:\r\nTab: \ta\tb \r\n!#$%&'*+-.^_"
                                  "`|~9:\xc3\xa9\r\nAuthorization: Bearer a b\r\n"
                                  "Upgrade: h2c\r\nX-Content-Length: zz\r\nHostess: \r\n\r\n")},
    {"body of the cap", TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: 100\r\n\r\n"
                             "01234567890123456789012345678901234567890123456789"
                             "01234567890123456789012345678901234567890123456789")},
    {"chunks of the cap", TEXT("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                               "32\r\n01234567890123456789012345678901234567890123456789\r\n"
                               "32\r\n01234567890123456789012345678901234567890123456789\r\n"
                               "0\r\n\r\n")},
};

static void lets_good_requests_through(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct outcome outcome = run_all_ways(good[i].data, good[i].len);
        if (outcome.verdict != FRAMER_DONE || outcome.position != good[i].len ||
            outcome.messages != 1) {
            fail_msg("%s: verdict %d at %zu of %zu: %s", good[i].name, outcome.verdict,
                     outcome.position, good[i].len, outcome.detail ? outcome.detail : "");
        }
        assert_int_equal(outcome.place, FRAMER_BETWEEN);
    }
}

static void finds_the_boundaries_of_pipelined_requests(void **state)
{
    char data[8192];
    size_t len = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        memcpy(data + len, good[i].data, good[i].len);
        len += good[i].len;
    }
    struct outcome outcome = run_all_ways(data, len);
    assert_int_equal(outcome.messages, sizeof(good) / sizeof(good[0]));
    assert_int_equal(outcome.position, len);
}

static void wants_more_for_every_true_prefix(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        for (size_t len = 1; len < good[i].len; len++) {
            struct outcome outcome = run(good[i].data, len, whole);
            assert_int_equal(outcome.verdict, FRAMER_MORE);
            assert_int_not_equal(outcome.place, FRAMER_BETWEEN);
        }
    }
}

static const struct sample malformed[] = {
    /* abuse case 1 */
    {"two lengths, equal",
     TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc")},
    {"two lengths, different",
     TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-length: 30\r\n\r\nabc")},
    {"length list", TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: 3, 3\r\n\r\nabc")},
    {"length and coding", TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\n"
                               "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")},
    {"coding and length", TEXT("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n"
                               "Content-Length: 3\r\n\r\n0\r\n\r\n")},
    {"coding and length 0", TEXT("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n"
                                 "Content-Length: 0\r\n\r\n0\r\n\r\n")},
    {"xchunked", TEXT("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n")},
    {"gzip, chunked", TEXT("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n")},
    {"chunked, chunked",
     TEXT("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, chunked\r\n\r\n")},
    {"coding empty", TEXT("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding:\r\n\r\n")},
    {"coding after tab",
     TEXT("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n")},
    {"two codings", TEXT("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n"
                         "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")},
    {"space before colon", TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length : 3\r\n\r\nabc")},
    {"tab before colon", TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length\t: 3\r\n\r\nabc")},
    {"+3", TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: +3\r\n\r\nabc")},
    {"-3", TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: -3\r\n\r\nabc")},
    {"0x3", TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: 0x3\r\n\r\nabc")},
    {"3 with space", TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: 3 \r\n\r\nabc")},
    {"length empty", TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: \r\n\r\n")},
    {"length overflow",
     TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: 18446744073709551619\r\n\r\nabc")},
    {"length of many zeros",
     TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: 0000000000000000003\r\n\r\nabc")},
    /* abuse case 2 */
    {"bare LF", TEXT("GET / HTTP/1.1\nHost: a\n\n")},
    {"bare LF in headers", TEXT("GET / HTTP/1.1\r\n" HOST "A: b\nC: d\r\n\r\n")},
    {"bare LF at the end", TEXT("GET / HTTP/1.1\r\n" HOST "\n")},
    {"bare LF after name", TEXT("GET / HTTP/1.1\r\n" HOST "A\n: b\r\n\r\n")},
    {"bare CR", TEXT("GET / HTTP/1.1\r\n" HOST "A: b\rC: d\r\n\r\n")},
    {"bare CR at the end", TEXT("GET / HTTP/1.1\r\n" HOST "\rX: y\r\n\r\n")},
    {"CR CR LF", TEXT("GET / HTTP/1.1\r\n" HOST "A: b\r\r\n\r\n")},
    {"obs-fold", TEXT("GET / HTTP/1.1\r\n" HOST "A: b\r\n c\r\n\r\n")},
    {"obs-fold, tab", TEXT("GET / HTTP/1.1\r\n" HOST "A: b\r\n\tc\r\n\r\n")},
    {"fold first", TEXT("GET / HTTP/1.1\r\n " HOST "\r\n")},
    {"NUL in value", TEXT("GET / HTTP/1.1\r\n" HOST "A: b\0c\r\n\r\n")},
    {"NUL in name", TEXT("GET / HTTP/1.1\r\n" HOST "A\0: b\r\n\r\n")},
    {"NUL in target", TEXT("GET /\0 HTTP/1.1\r\n" HOST "\r\n")},
    {"ESC in value", TEXT("GET / HTTP/1.1\r\n" HOST "A: \x1b[2J\r\n\r\n")},
    {"DEL in value", TEXT("GET / HTTP/1.1\r\n" HOST "A: \x7f\r\n\r\n")},
    {"tab in target", TEXT("GET /a\tb HTTP/1.1\r\n" HOST "\r\n")},
    {"UTF-8 in target", TEXT("GET /\xc3\xa9 HTTP/1.1\r\n" HOST "\r\n")},
    {"fragment", TEXT("GET /a#b HTTP/1.1\r\n" HOST "\r\n")},
    {"empty name", TEXT("GET / HTTP/1.1\r\n" HOST ": b\r\n\r\n")},
    {"name not a token", TEXT("GET / HTTP/1.1\r\n" HOST "A(b): c\r\n\r\n")},
    {"name not ASCII", TEXT("GET / HTTP/1.1\r\n" HOST "\xc3\xa9: c\r\n\r\n")},
    {"no colon", TEXT("GET / HTTP/1.1\r\n" HOST "nonsense\r\n\r\n")},
    /* abuse case 3 */
    {"no host", TEXT("GET / HTTP/1.1\r\n\r\n")},
    {"two hosts", TEXT("GET / HTTP/1.1\r\n" HOST HOST "\r\n")},
    {"two hosts in 1.0", TEXT("GET / HTTP/1.0\r\n" HOST HOST "\r\n")},
    {"host empty", TEXT("GET / HTTP/1.1\r\nHost: \r\n\r\n")},
    {"host list", TEXT("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n")},
    {"host with user", TEXT("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n")},
    {"host with space", TEXT("GET / HTTP/1.1\r\nHost: a b\r\n\r\n")},
    {"two authorizations",
     TEXT("GET / HTTP/1.1\r\n" HOST "Authorization: a\r\nAUTHORIZATION: a\r\n\r\n")},
    {"absolute target", TEXT("GET http://evil/ HTTP/1.1\r\n" HOST "\r\n")},
    {"//evil", TEXT("GET //evil HTTP/1.1\r\n" HOST "\r\n")},
    {"asterisk", TEXT("OPTIONS * HTTP/1.1\r\n" HOST "\r\n")},
    {"authority", TEXT("CONNECT a:443 HTTP/1.1\r\n" HOST "\r\n")},
    {"empty target", TEXT("GET  HTTP/1.1\r\n" HOST "\r\n")},
    {"two spaces", TEXT("GET /  HTTP/1.1\r\n" HOST "\r\n")},
    {"space in target", TEXT("GET /a b HTTP/1.1\r\n" HOST "\r\n")},
    {"0.9", TEXT("GET /\r\n")},
    {"1.9", TEXT("GET / HTTP/1.9\r\n" HOST "\r\n")},
    {"1.10", TEXT("GET / HTTP/1.10\r\n" HOST "\r\n")},
    {"2.0", TEXT("GET / HTTP/2.0\r\n" HOST "\r\n")},
    {"lower-case version", TEXT("GET / http/1.1\r\n" HOST "\r\n")},
    {"2.0 preface", TEXT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")},
    {"unknown method", TEXT("BREW / HTTP/1.1\r\n" HOST "\r\n")},
    {"lower-case method", TEXT("get / HTTP/1.1\r\n" HOST "\r\n")},
    {"endless method", TEXT("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\n" HOST "\r\n")},
    {"leading empty line", TEXT("\r\nGET / HTTP/1.1\r\n" HOST "\r\n")},
    {"TLS hello", TEXT("\x16\x03\x01\x02\x00\x01")},
    {"GET with body", TEXT("GET / HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\nx")},
    {"GET chunked", TEXT("GET / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")},
    {"HEAD with body", TEXT("HEAD / HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\nx")},
    {"chunked in 1.0",
     TEXT("POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")},
    {"expect other", TEXT("POST / HTTP/1.1\r\n" HOST "Expect: 200-ok\r\n\r\n")},
/* chunks */
#define CHUNKED "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
    {"chunk extension", TEXT(CHUNKED "1;a=b\r\nx\r\n0\r\n\r\n")},
    {"chunk size space", TEXT(CHUNKED "1 \r\nx\r\n0\r\n\r\n")},
    {"chunk size 0x", TEXT(CHUNKED "0x1\r\nx\r\n0\r\n\r\n")},
    {"chunk size sign", TEXT(CHUNKED "+1\r\nx\r\n0\r\n\r\n")},
    {"chunk size empty", TEXT(CHUNKED "\r\nx\r\n0\r\n\r\n")},
    {"chunk size of many zeros", TEXT(CHUNKED "000000001\r\nx\r\n0\r\n\r\n")},
    {"chunk size bare LF", TEXT(CHUNKED "1\nx\r\n0\r\n\r\n")},
    {"chunk size CR", TEXT(CHUNKED "1\rx\r\n0\r\n\r\n")},
    {"chunk too long", TEXT(CHUNKED "1\r\nxy\r\n0\r\n\r\n")},
    {"chunk end bare LF", TEXT(CHUNKED "1\r\nx\n0\r\n\r\n")},
    {"chunk end CR", TEXT(CHUNKED "1\r\nx\r0\r\n\r\n")},
    {"trailer", TEXT(CHUNKED "0\r\nA: b\r\n\r\n")},
    {"end bare LF", TEXT(CHUNKED "0\r\n\n")},
    {"end CR", TEXT(CHUNKED "0\r\n\rx")},
};

static void expect_refusal(const struct sample *sample, int status)
{
    struct outcome outcome = run_all_ways(sample->data, sample->len);

    if (outcome.verdict != FRAMER_REFUSED || outcome.status != status || outcome.messages > 0) {
        fail_msg("%s: verdict %d status %d after %zu messages", sample->name, outcome.verdict,
                 outcome.status, outcome.messages);
    }
    /* The detail goes into a JSON string as it is. */
    assert_true(strlen(outcome.detail) > 10);
    assert_null(strpbrk(outcome.detail, "\"\\\r\n"));
}

static void refuses_malformed_requests(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        expect_refusal(&malformed[i], 400);
    }
}

static void refuses_large_bodies_as_soon_as_known(void **state)
{
    static const struct sample samples[] = {
        {"declared", TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: 101\r\n\r\n")},
        {"declared huge",
         TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: 999999999999999999\r\n\r\n")},
        {"one chunk", TEXT(CHUNKED "65")},
        {"huge chunk", TEXT(CHUNKED "FFFFFFFFFFFFFFFFF")},
        {"sum", TEXT(CHUNKED "32\r\n01234567890123456789012345678901234567890123456789\r\n33")},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        expect_refusal(&samples[i], 413);
    }
}

static size_t put_headers(char *data, size_t count)
{
    size_t len = (size_t)sprintf(data, "GET / HTTP/1.1\r\nHost: a\r\n");

    for (size_t i = 1; i < count; i++) {
        len += (size_t)sprintf(data + len, "A:\r\n");
    }
    return len + (size_t)sprintf(data + len, "\r\n");
}

static void bounds_the_number_of_headers(void **state)
{
    char data[1024];
    size_t len = put_headers(data, 64);

    (void)state;
    assert_int_equal(run_all_ways(data, len).verdict, FRAMER_DONE);
    len = put_headers(data, 65);
    expect_refusal(&(struct sample){"65 headers", data, len}, 431);
}

static void bounds_the_bytes_of_the_head(void **state)
{
    static const char *const starts[] = {"GET /", "GET / HTTP/1.1\r\n",
                                         "GET / HTTP/1.1\r\nHost: a\r\nA: "};
    char data[1024];

    (void)state;
    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        snprintf(data, sizeof(data), "%s%0900d", starts[i], 0);
        expect_refusal(&(struct sample){starts[i], data, strlen(data)}, 431);
    }
    for (int value = 470; value < 485; value++) {
        int len = snprintf(data, sizeof(data), "%s%0*d\r\n\r\n", starts[2], value, 0);
        if ((size_t)len <= limits.max_header_bytes) {
            assert_int_equal(run_all_ways(data, (size_t)len).verdict, FRAMER_DONE);
        } else {
            expect_refusal(&(struct sample){"long value", data, (size_t)len}, 431);
        }
    }
}

/* Random damage to good requests: nothing is asserted but that cutting changes nothing. */
static void judges_noise_the_same_for_any_cut(void **state)
{
    static const char alphabet[] = "\r\n\r\n :\t0aA/\0\x80;GHTP1.";
    char data[512];

    (void)state;
    for (int round = 0; round < 2000; round++) {
        const struct sample *sample = &good[(size_t)rand() % (sizeof(good) / sizeof(good[0]))];
        memcpy(data, sample->data, sample->len);
        for (int i = rand() % 3; i >= 0; i--) {
            data[(size_t)rand() % sample->len] = alphabet[(size_t)rand() % (sizeof(alphabet) - 1)];
        }
        run_all_ways(data, sample->len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lets_good_requests_through),
        cmocka_unit_test(finds_the_boundaries_of_pipelined_requests),
        cmocka_unit_test(wants_more_for_every_true_prefix),
        cmocka_unit_test(refuses_malformed_requests),
        cmocka_unit_test(refuses_large_bodies_as_soon_as_known),
        cmocka_unit_test(bounds_the_number_of_headers),
        cmocka_unit_test(bounds_the_bytes_of_the_head),
        cmocka_unit_test(judges_noise_the_same_for_any_cut),
    };

    return cmocka_run_group_tests_name("framer", tests, NULL, NULL);
}
