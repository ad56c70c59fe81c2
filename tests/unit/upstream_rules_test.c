/* Tests of upstream/: what it decides without a network: URLs, rate headers, verdicts. */
#include "common/memory.h"
#include "upstream/rate.h"
#include "upstream/upstream.h"
#include "upstream/verdict.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h> /* needs the ones above */

static void test_urls_that_may_be_used(void **state)
{
    static const struct {
        const char *url;
        enum err err;
    } cases[] = {
        {"https://gears.opswat.com", OK},
        {"https://gears.opswat.com/", OK},
        {"HTTPS://host:8443/a/b/", OK},
        {"https://10.0.0.1", OK},
        {"http://localhost:80", OK},
        {"http://LOCALHOST", OK},
        {"http://127.0.0.1:9090", OK},
        {"http://127.255.1.2", OK},
        {"http://[::1]:9090/x", OK},
        {"http://gears.opswat.com", ERR_INVALID},
        {"http://localhost.evil.example", ERR_INVALID},
        {"http://127.0.0.1.evil.example", ERR_INVALID},
        {"http://128.0.0.1", ERR_INVALID},
        {"http://0.0.0.0", ERR_INVALID},
        {"http://169.254.169.254", ERR_INVALID},
        {"http://[::2]", ERR_INVALID},
        {"http://[::ffff:127.0.0.1]", ERR_INVALID},
        {"http://127.0.0.1@evil.example/", ERR_INVALID},
        {"https://user:PASSWORD@host/", ERR_INVALID},
        {"https://host/?a=PASSWORD", ERR_INVALID},
        {"https://host?", ERR_INVALID},
        {"https://host/#x", ERR_INVALID},
        {"https://host\\@127.0.0.1", ERR_INVALID},
        {"https://ho st/", ERR_INVALID},
        {"https://host/\r\nX: y", ERR_INVALID},
        {"https://", ERR_INVALID},
        {"https://host:99999", ERR_INVALID},
        {"https:/host", ERR_INVALID},
        {"https:///host", ERR_INVALID},
        {"https:host", ERR_INVALID},
        {"https:/x://host", ERR_INVALID},
        {"gears.opswat.com", ERR_INVALID},
        {"ftp://127.0.0.1", ERR_INVALID},
        {"file:///etc/passwd", ERR_INVALID},
        {"", ERR_INVALID},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error error = {.text = ""};

        if (upstream_check_url(cases[i].url, &error) != cases[i].err) {
            fail_msg("%s: %s", cases[i].url, error.text);
        }
        assert_null(strstr(error.text, "PASSWORD"));
    }
}

static void test_rate_headers(void **state)
{
    static const struct {
        const char *line;
        struct rate rate;
    } cases[] = {
        {"X-RateLimit-Limit: 10\r\n", {10, -1, -1, -1}},
        {"x-ratelimit-remaining:0\r\n", {-1, 0, -1, -1}},
        {"X-RateLimit-Reset-Time: \t42 \r\n", {-1, -1, 42, -1}},
        {"X-RateLimit-Reset-Time: 1700000033\r\n", {-1, -1, 33, -1}},
        {"X-RateLimit-Reset-Time: 1600000000\r\n", {-1, -1, 0, -1}},
        {"X-RateLimit-Reset-Time: 999999999999\r\n", {-1, -1, RATE_MAX_WAIT_S, -1}},
        {"X-RateLimit-Reset-Time: 9999999999999999999999\r\n", {-1, -1, -1, -1}},
        {"Retry-After: 7\r\n", {-1, -1, -1, 7}},
        {"Retry-After: 999999\r\n", {-1, -1, -1, RATE_MAX_WAIT_S}},
        {"Retry-After: Tue, 14 Nov 2023 22:13:50 GMT\r\n", {-1, -1, -1, 30}},
        {"Retry-After: Tue, 14 Nov 2000 22:13:50 GMT\r\n", {-1, -1, -1, 0}},
        {"Retry-After: Tue, 14 Nov 9999 22:13:50 GMT\r\n", {-1, -1, -1, RATE_MAX_WAIT_S}},
        {"Retry-After: Tue, 14 Nov 2023 22:13:50 GMT, or later, or much much later\r\n",
         {-1, -1, -1, -1}},
        {"Retry-After: soon\r\n", {-1, -1, -1, -1}},
        {"Retry-After: -1\r\n", {-1, -1, -1, -1}},
        {"Retry-After: 1.5\r\n", {-1, -1, -1, -1}},
        {"Retry-After:\r\n", {-1, -1, -1, -1}},
        {"Retry-After", {-1, -1, -1, -1}},
        {"Retry-Afterwards: 7\r\n", {-1, -1, -1, -1}},
        {"\r\n", {-1, -1, -1, -1}},
        {"", {-1, -1, -1, -1}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rate rate;

        rate_init(&rate);
        rate_read_header(&rate, cases[i].line, strlen(cases[i].line), 1700000000);
        if (memcmp(&rate, &cases[i].rate, sizeof(rate)) != 0) {
            fail_msg("%s: %ld %ld %ld %ld", cases[i].line, (long)rate.limit, (long)rate.remaining,
                     (long)rate.reset_s, (long)rate.retry_after_s);
        }
    }
}

/* The decision whether a call may be made again: every line of it. */
static void test_verdicts(void **state)
{
    static const struct {
        const char *facts; /* broken, whole, nonsense, long, encoded */
        int64_t request_bytes;
        int status;
        enum upstream_result result;
        const char *says; /* nothing sent, answered, token rejected */
    } cases[] = {
        {"broken", 0, 0, UPSTREAM_FAILED, "n"},
        {"broken", 1, 0, UPSTREAM_UNKNOWN, ""},
        {"broken", 500, 0, UPSTREAM_UNKNOWN, ""},
        {"broken long", 500, 0, UPSTREAM_UNKNOWN, ""},
        {"broken", 500, 100, UPSTREAM_UNKNOWN, ""},
        {"whole", 500, 0, UPSTREAM_UNKNOWN, ""},
        {"whole", 0, 0, UPSTREAM_UNKNOWN, ""},
        {"whole", 500, 101, UPSTREAM_UNKNOWN, ""},
        {"whole", 500, 200, UPSTREAM_OK, "a"},
        {"whole nonsense", 500, 200, UPSTREAM_UNKNOWN, "a"},
        {"broken", 500, 200, UPSTREAM_UNKNOWN, "a"},
        {"broken", 0, 200, UPSTREAM_UNKNOWN, "a"},
        {"broken long", 500, 200, UPSTREAM_UNKNOWN, "a"},
        {"whole encoded", 500, 200, UPSTREAM_UNKNOWN, "a"},
        {"whole", 500, 201, UPSTREAM_UNKNOWN, "a"},
        {"broken", 500, 299, UPSTREAM_UNKNOWN, "a"},
        {"whole", 500, 302, UPSTREAM_FAILED, "a"},
        {"whole", 500, 400, UPSTREAM_FAILED, "a"},
        {"broken long encoded", 500, 400, UPSTREAM_FAILED, "a"},
        {"whole", 500, 401, UPSTREAM_FAILED, "at"},
        {"broken", 500, 401, UPSTREAM_FAILED, "at"},
        {"whole", 500, 429, UPSTREAM_FAILED, "a"},
        {"whole", 500, 500, UPSTREAM_FAILED, "a"},
        {"whole", 500, 502, UPSTREAM_UNKNOWN, "a"},
        {"broken", 500, 503, UPSTREAM_FAILED, "a"},
        {"broken", 500, 504, UPSTREAM_UNKNOWN, "a"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *facts = cases[i].facts;
        struct verdict verdict =
            verdict_of(&(struct verdict_facts){.complete = strstr(facts, "whole") != NULL,
                                               .request_bytes = cases[i].request_bytes,
                                               .status = cases[i].status,
                                               .too_long = strstr(facts, "long") != NULL,
                                               .encoded = strstr(facts, "encoded") != NULL,
                                               .trouble = "trouble",
                                               .nonsense = strstr(facts, "nonsense")});

        if (verdict.result != cases[i].result ||
            verdict.nothing_sent != (strchr(cases[i].says, 'n') != NULL) ||
            verdict.answered != (strchr(cases[i].says, 'a') != NULL) ||
            verdict.token_rejected != (strchr(cases[i].says, 't') != NULL) ||
            verdict.status != (cases[i].status < 200 ? 0 : cases[i].status)) {
            fail_msg("case %zu: result %d: %s", i, (int)verdict.result, verdict.detail);
        }
        assert_true((verdict.detail[0] == '\0') == (verdict.result == UPSTREAM_OK));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls_that_may_be_used),
        cmocka_unit_test(test_rate_headers),
        cmocka_unit_test(test_verdicts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
