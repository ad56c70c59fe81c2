/* Framer: any bytes, as a client sends them. However they are cut (whole, byte by byte, at places
 * that depend on them), verdicts and positions are the same. What is refused has a status and a
 * text that can stand in JSON. What is let through is read again by a second, simple reader that
 * wants CR LF, one Host, one length or chunked, and must find the end at the same place; it is let
 * through alone, too, and with wider limits. Nothing goes on after a refusal. */
#include "fuzz.h"

#include "common/memory.h"
#include "gateway/framer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_MESSAGES 64

static const struct framer_limits narrow = {
    .max_header_bytes = 256, .max_headers = 8, .max_body_bytes = 64};
static const struct framer_limits wide = {
    .max_header_bytes = 16384, .max_headers = 64, .max_body_bytes = 1048576};

struct outcome {
    enum framer_verdict verdict;
    size_t position;
    size_t messages;
    size_t ends[MAX_MESSAGES];
    int status;
    const char *detail;
    enum framer_place place;
};

enum cut { WHOLE, BYTES, RANDOM };

static size_t piece_len(enum cut cut, size_t left, struct fuzz_random *random)
{
    if (cut == WHOLE) {
        return left;
    }
    return cut == BYTES ? 1 : 1 + fuzz_random_below(random, left < 40 ? left : 40);
}

static struct outcome run(const uint8_t *data, size_t size, const struct framer_limits *limits,
                          enum cut cut)
{
    struct fuzz_random random = fuzz_random_of(data, size);
    struct outcome outcome = {.verdict = FRAMER_MORE};
    struct framer framer;

    framer_init(&framer, limits);
    while (outcome.position < size && outcome.verdict != FRAMER_REFUSED &&
           outcome.messages < MAX_MESSAGES) {
        size_t give = piece_len(cut, size - outcome.position, &random);
        size_t consumed = SIZE_MAX;
        CLEANUP(cleanup_free)
        char *copy = fuzz_copy((struct fuzz_piece){(const char *)data + outcome.position, give});
        outcome.verdict = framer_feed(&framer, copy, give, &consumed);
        assert(consumed <= give);
        assert(outcome.verdict != FRAMER_MORE || consumed == give);
        outcome.position += consumed;
        if (outcome.verdict == FRAMER_DONE) {
            outcome.ends[outcome.messages++] = outcome.position;
        }
    }
    outcome.status = framer.status;
    outcome.detail = framer.detail;
    outcome.place = framer_place(&framer);
    return outcome;
}

static void check_same(const struct outcome *a, const struct outcome *b)
{
    assert(a->verdict == b->verdict && a->position == b->position);
    assert(a->messages == b->messages);
    assert(memcmp(a->ends, b->ends, a->messages * sizeof(a->ends[0])) == 0);
    assert(a->status == b->status && a->detail == b->detail && a->place == b->place);
}

static void check_refusal(const struct outcome *outcome)
{
    if (outcome->verdict == FRAMER_REFUSED) {
        assert(outcome->status == 400 || outcome->status == 413 || outcome->status == 431);
        assert(strlen(outcome->detail) > 10);
        assert(strpbrk(outcome->detail, "\"\\\r\n") == NULL);
    } else {
        assert(outcome->status == 0 && outcome->detail == NULL);
    }
}

/* ---- The second reader ---- */

struct head {
    size_t hosts;
    size_t keys;
    size_t lengths;
    size_t codings;
    unsigned long long length;
};

static bool is_name(const char *line, const char *name)
{
    return strncasecmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':';
}

static void read_line(const char *line, struct head *head)
{
    const char *colon = strchr(line, ':');
    size_t bare = strspn(line, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ");

    assert(colon != NULL && colon > line && line + bare == colon);
    for (const char *at = line; *at != '\0'; at++) {
        assert((unsigned char)*at >= ' ' ? *at != 0x7f : *at == '\t');
    }
    head->hosts += is_name(line, "host") ? 1 : 0;
    head->keys += is_name(line, "authorization") ? 1 : 0;
    if (is_name(line, "content-length")) {
        const char *digits = colon + 1 + strspn(colon + 1, " ");
        assert(*digits != '\0' && strspn(digits, "0123456789") == strlen(digits));
        head->lengths++;
        head->length = strtoull(digits, NULL, 10);
    }
    if (is_name(line, "transfer-encoding")) {
        assert(strcasecmp(colon + 1 + strspn(colon + 1, " "), "chunked") == 0);
        head->codings++;
    }
}

/* METHOD SP path SP HTTP/1.x; gives x. */
static int read_request_line(const char *line)
{
    const char *target = strchr(line, ' ');
    const char *version = target != NULL ? strchr(target + 1, ' ') : NULL;

    assert(version != NULL);
    assert(target[1] == '/' && target[2] != '/');
    for (const char *at = target + 1; at < version; at++) {
        assert(*at > ' ' && *at < 0x7f && *at != '#');
    }
    assert(strcmp(version + 1, "HTTP/1.1") == 0 || strcmp(version + 1, "HTTP/1.0") == 0);
    return version[8] - '0';
}

/* The bytes of a chunked body. */
static size_t chunked_len(const char *body, const char *end)
{
    const char *at = body;
    unsigned long long len;

    do {
        char *after;
        assert(end - at >= 5); /* 0 CR LF CR LF */
        len = strtoull(at, &after, 16);
        assert(after > at && after - at <= 8 && after + 2 <= end && memcmp(after, "\r\n", 2) == 0);
        assert(len <= (unsigned long long)(end - after - 4));
        at = after + 2 + len;
        assert(memcmp(at, "\r\n", 2) == 0);
        at += 2;
    } while (len > 0);
    return (size_t)(at - body);
}

/* The message ends in a NUL that size does not count. */
static void check_message(char *message, size_t size)
{
    char *blank = memmem(message, size, "\r\n\r\n", 4);
    const char *body = blank + 4;
    struct head head = {0};
    char *line = message;
    int minor;

    assert(blank != NULL);
    assert(memchr(message, '\0', (size_t)(blank - message)) == NULL);
    blank[2] = '\0';
    line = strstr(message, "\r\n");
    *line = '\0';
    minor = read_request_line(message);
    for (line += 2; *line != '\0';) {
        char *end = strstr(line, "\r\n");
        assert(end != NULL);
        *end = '\0';
        read_line(line, &head);
        line = end + 2;
    }
    assert(head.hosts == 1 || (minor == 0 && head.hosts == 0));
    assert(head.keys <= 1 && head.lengths + head.codings <= 1);
    assert(head.codings == 0 || minor == 1);
    if (head.codings > 0) {
        assert(chunked_len(body, message + size) == (size_t)(message + size - body));
    } else {
        assert(head.length == (unsigned long long)(message + size - body));
    }
    assert((strncmp(message, "GET ", 4) != 0 && strncmp(message, "HEAD ", 5) != 0) ||
           (size_t)(message + size - body) == 0);
}

static void check_messages(const uint8_t *data, const struct outcome *outcome)
{
    size_t from = 0;

    for (size_t i = 0; i < outcome->messages; i++) {
        size_t size = outcome->ends[i] - from;
        struct outcome alone = run(data + from, size, &wide, WHOLE);
        CLEANUP(cleanup_free) char *copy = xcalloc(1, size + 1);
        assert(alone.verdict == FRAMER_DONE && alone.messages == 1 && alone.position == size);
        assert(alone.place == FRAMER_BETWEEN);
        memcpy(copy, data + from, size);
        check_message(copy, size);
        from = outcome->ends[i];
    }
}

static struct outcome run_all_ways(const uint8_t *data, size_t size,
                                   const struct framer_limits *limits)
{
    struct outcome outcome = run(data, size, limits, WHOLE);

    for (enum cut cut = BYTES; cut <= RANDOM; cut++) {
        struct outcome other = run(data, size, limits, cut);
        check_same(&outcome, &other);
    }
    check_refusal(&outcome);
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct outcome strict = run_all_ways(data, size, &narrow);
    struct outcome outcome = run_all_ways(data, size, &wide);

    assert(outcome.messages >= strict.messages);
    assert(memcmp(outcome.ends, strict.ends, strict.messages * sizeof(size_t)) == 0);
    if (strict.verdict == FRAMER_REFUSED && strict.status == 400) {
        assert(outcome.verdict == FRAMER_REFUSED && outcome.status == 400);
        assert(outcome.position == strict.position && outcome.detail == strict.detail);
    }
    check_messages(data, &outcome);
    return 0;
}
