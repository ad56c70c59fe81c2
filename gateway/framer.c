/* Framer: see framer.h. A table of steps; each step runs over as many bytes as it can, and a class
 * table says which bytes may stand where. What evhttp and we could read differently is refused. */
#include "gateway/framer.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#define MAX_LENGTH_DIGITS 18 /* fits 64 bits */
#define MAX_CHUNK_DIGITS  8

enum step { /* in the order of a message; the steps of a head come first */
            STEP_METHOD,
            STEP_TARGET,
            STEP_VERSION,
            STEP_LINE,
            STEP_NAME,
            STEP_BEFORE_VALUE,
            STEP_VALUE,
            STEP_VALUE_LF,
            STEP_HEAD_LF,
            STEP_BODY,
            STEP_CHUNK_SIZE,
            STEP_CHUNK_SIZE_LF,
            STEP_CHUNK_DATA,
            STEP_CHUNK_CR,
            STEP_CHUNK_LF,
            STEP_TRAILER_CR,
            STEP_TRAILER_LF,
            STEP_DONE,
            STEP_REFUSED,
};

enum class {
    IN_TOKEN = 1,   /* header names */
    IN_TARGET = 2,  /* visible ASCII but '#', which evhttp would cut off */
    IN_VALUE = 4,   /* header values: no control bytes but HTAB */
    IN_VISIBLE = 8, /* values with exactly one spelling */
    IN_HOST = 16,
    IN_DIGIT = 32,
};

#define MARK  (IN_TARGET | IN_VALUE | IN_VISIBLE)
#define ALNUM (MARK | IN_TOKEN | IN_HOST)

static const unsigned char classes[256] = {
    ['\t'] = IN_VALUE,
    [' '] = IN_VALUE,
    ['A' ... 'Z'] = ALNUM,
    ['a' ... 'z'] = ALNUM,
    ['0' ... '9'] = ALNUM | IN_DIGIT,
    ['!'] = MARK | IN_TOKEN | IN_HOST,
    ['"'] = MARK,
    ['#'] = IN_VALUE | IN_VISIBLE | IN_TOKEN,
    ['$'] = MARK | IN_TOKEN | IN_HOST,
    ['%'] = MARK | IN_TOKEN | IN_HOST,
    ['&'] = MARK | IN_TOKEN | IN_HOST,
    ['\''] = MARK | IN_TOKEN | IN_HOST,
    ['('] = MARK | IN_HOST,
    [')'] = MARK | IN_HOST,
    ['*'] = MARK | IN_TOKEN | IN_HOST,
    ['+'] = MARK | IN_TOKEN | IN_HOST,
    [','] = MARK,
    ['-'] = MARK | IN_TOKEN | IN_HOST,
    ['.'] = MARK | IN_TOKEN | IN_HOST,
    ['/'] = MARK,
    [':'] = MARK | IN_HOST,
    [';'] = MARK | IN_HOST,
    ['<'] = MARK,
    ['='] = MARK | IN_HOST,
    ['>'] = MARK,
    ['?'] = MARK,
    ['@'] = MARK,
    ['['] = MARK | IN_HOST,
    ['\\'] = MARK,
    [']'] = MARK | IN_HOST,
    ['^'] = MARK | IN_TOKEN,
    ['_'] = MARK | IN_TOKEN | IN_HOST,
    ['`'] = MARK | IN_TOKEN,
    ['{'] = MARK,
    ['|'] = MARK | IN_TOKEN,
    ['}'] = MARK,
    ['~'] = MARK | IN_TOKEN | IN_HOST,
    [0x80 ... 0xff] = IN_VALUE,
};

/* The headers that decide where a message ends or who sends it: each at most once. */
enum seen { SEEN_HOST = 1, SEEN_LENGTH = 2, SEEN_CODING = 4, SEEN_EXPECT = 8, SEEN_KEY = 16 };

struct framer_header {
    const char *name;
    size_t name_len;
    enum seen bit;
    enum class value;   /* bytes allowed in the value */
    const char *only;   /* the only value allowed, in any case; NULL: no such rule */
    const char *twice;  /* detail when it comes again */
    const char *detail; /* detail when the value is wrong */
};

#define NAMED(text) .name = (text), .name_len = sizeof(text) - 1

static const struct framer_header interesting[] = {
    {NAMED("Host"), .bit = SEEN_HOST, .value = IN_HOST, .twice = "Send exactly one Host header.",
     .detail = "Host must be one host name or address, with a port or without."},
    {NAMED("Content-Length"), .bit = SEEN_LENGTH, .value = IN_DIGIT,
     .twice = "Send Content-Length only once.",
     .detail = "Content-Length must be plain decimal digits, at most 18."},
    {NAMED("Transfer-Encoding"), .bit = SEEN_CODING, .value = IN_VISIBLE, .only = "chunked",
     .twice = "Send Transfer-Encoding only once.",
     .detail = "Transfer-Encoding must be chunked and nothing else."},
    {NAMED("Expect"), .bit = SEEN_EXPECT, .value = IN_VISIBLE, .only = "100-continue",
     .twice = "Send Expect only once.", .detail = "Expect must be exactly 100-continue."},
    {NAMED("Authorization"), .bit = SEEN_KEY, .value = IN_VALUE,
     .twice = "Send Authorization only once.",
     .detail = "Authorization may not hold control characters."},
};

static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"};

#define LINE_DETAIL "End every line of the head with CR LF, and use neither byte elsewhere."

typedef const unsigned char *(*step_function)(struct framer *framer, const unsigned char *at,
                                              const unsigned char *end);
static const step_function steps[STEP_DONE];

static const unsigned char *feed_head(struct framer *framer, const unsigned char *at,
                                      const unsigned char *end);

void framer_init(struct framer *framer, const struct framer_limits *limits)
{
    assert(limits->max_header_bytes > 0);
    *framer = (struct framer){.limits = *limits, .step = STEP_METHOD};
}

enum framer_verdict framer_feed(struct framer *framer, const void *data, size_t len,
                                size_t *ret_consumed)
{
    const unsigned char *start = data;
    const unsigned char *at = start;
    const unsigned char *end = start + len;

    while (at < end && framer->step < STEP_DONE) {
        at = framer->step <= STEP_HEAD_LF ? feed_head(framer, at, end)
                                          : steps[framer->step](framer, at, end);
    }
    *ret_consumed = (size_t)(at - start);
    if (framer->step == STEP_REFUSED) {
        return FRAMER_REFUSED;
    }
    if (framer->step == STEP_DONE) {
        struct framer_limits limits = framer->limits;
        framer_init(framer, &limits);
        return FRAMER_DONE;
    }
    return FRAMER_MORE;
}

enum framer_place framer_place(const struct framer *framer)
{
    if (framer->step > STEP_HEAD_LF) {
        return FRAMER_IN_BODY;
    }
    return framer->head_bytes == 0 ? FRAMER_BETWEEN : FRAMER_IN_HEAD;
}

/* The byte at the returned position is the first one not taken. */
static const unsigned char *refuse(struct framer *framer, const unsigned char *at, int status,
                                   const char *detail)
{
    framer->step = STEP_REFUSED;
    framer->status = status;
    framer->detail = detail;
    return at;
}

static const unsigned char *refuse_line(struct framer *framer, const unsigned char *at,
                                        const char *detail)
{
    return refuse(framer, at, 400, *at == '\r' || *at == '\n' ? LINE_DETAIL : detail);
}

static const unsigned char *skip(const unsigned char *at, const unsigned char *end, unsigned mask)
{
    while (at < end && (classes[*at] & mask)) {
        at++;
    }
    return at;
}

/* Appends to the present word; what does not fit is only counted, no word of ours is so long. */
static void add_token(struct framer *framer, const unsigned char *at, size_t len)
{
    if (framer->token_len + len <= sizeof(framer->token)) {
        memcpy(framer->token + framer->token_len, at, len);
    }
    framer->token_len += len;
}

static bool token_is(const struct framer *framer, const char *word, size_t len)
{
    return framer->token_len == len && strncasecmp(framer->token, word, len) == 0;
}

/* One step within a head, never beyond the bytes a head may have. */
static const unsigned char *feed_head(struct framer *framer, const unsigned char *at,
                                      const unsigned char *end)
{
    size_t room = framer->limits.max_header_bytes - framer->head_bytes;
    const unsigned char *next;

    if ((size_t)(end - at) > room) {
        end = at + room;
    }
    next = steps[framer->step](framer, at, end);
    framer->head_bytes += (size_t)(next - at);
    if (framer->step <= STEP_HEAD_LF && framer->head_bytes == framer->limits.max_header_bytes) {
        return refuse(framer, next, 431, "Send fewer or shorter headers, or a shorter path.");
    }
    return next;
}

static bool known_method(struct framer *framer)
{
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        size_t len = strlen(methods[i]);
        if (framer->token_len == len && memcmp(framer->token, methods[i], len) == 0) {
            framer->bodiless = i < 2; /* GET and HEAD */
            return true;
        }
    }
    return false;
}

static const unsigned char *read_method(struct framer *framer, const unsigned char *at,
                                        const unsigned char *end)
{
    for (; at < end && *at >= 'A' && *at <= 'Z'; at++) {
        if (framer->token_len == FRAMER_TOKEN_SIZE) {
            break;
        }
        framer->token[framer->token_len++] = (char)*at;
    }
    if (at == end) {
        return at;
    }
    if (*at != ' ' || !known_method(framer)) {
        return refuse(framer, at, 400,
                      "Begin with a method in capitals: GET, HEAD, POST, PUT, DELETE, PATCH or "
                      "OPTIONS, then one space.");
    }
    framer->step = STEP_TARGET;
    framer->token_len = 0;
    return at + 1;
}

static const unsigned char *read_target(struct framer *framer, const unsigned char *at,
                                        const unsigned char *end)
{
    if (framer->token_len == 0) {
        if (*at != '/') {
            return refuse_line(framer, at, "The target must be a path that begins with one '/'.");
        }
        framer->token_len = 1;
        at++;
    }
    if (framer->token_len == 1 && at < end) {
        if (*at == '/') {
            return refuse(framer, at, 400, "The target must be a path that begins with one '/'.");
        }
        framer->token_len = 2; /* enough to know; the rest is not counted */
    }
    at = skip(at, end, IN_TARGET);
    if (at == end) {
        return at;
    }
    if (*at != ' ') {
        return refuse_line(framer, at,
                           "Percent-encode everything but visible ASCII in the target, and send no "
                           "fragment.");
    }
    framer->step = STEP_VERSION;
    framer->token_len = 0;
    return at + 1;
}

static const unsigned char *read_version(struct framer *framer, const unsigned char *at,
                                         const unsigned char *end)
{
    static const char expected[] = "HTTP/1.?\r\n";

    for (; at < end; at++) {
        char want = expected[framer->token_len];
        if (want == '?' && (*at == '0' || *at == '1')) {
            framer->minor = (unsigned char)(*at - '0');
        } else if (*at != (unsigned char)want || want == '?') {
            return refuse(framer, at, 400,
                          want == '\r' || want == '\n'
                              ? LINE_DETAIL
                              : "Use HTTP/1.1 (or HTTP/1.0), one space after the target.");
        }
        framer->token_len++;
        if (want == '\n') {
            framer->step = STEP_LINE;
            return at + 1;
        }
    }
    return at;
}

static const unsigned char *begin_line(struct framer *framer, const unsigned char *at,
                                       const unsigned char *end)
{
    (void)end;
    if (*at == '\r') {
        framer->step = STEP_HEAD_LF;
        return at + 1;
    }
    if (*at == ' ' || *at == '\t') {
        return refuse(framer, at, 400, "Send each header on one line; folding is not allowed.");
    }
    if (framer->headers == framer->limits.max_headers) {
        return refuse(framer, at, 431, "Send fewer headers.");
    }
    framer->headers++;
    framer->token_len = 0;
    framer->step = STEP_NAME;
    return at;
}

static const struct framer_header *find_header(const struct framer *framer)
{
    for (size_t i = 0; i < sizeof(interesting) / sizeof(interesting[0]); i++) {
        if (token_is(framer, interesting[i].name, interesting[i].name_len)) {
            return &interesting[i];
        }
    }
    return NULL;
}

static const unsigned char *read_name(struct framer *framer, const unsigned char *at,
                                      const unsigned char *end)
{
    const unsigned char *run_end = skip(at, end, IN_TOKEN);

    add_token(framer, at, (size_t)(run_end - at));
    at = run_end;
    if (at == end) {
        return at;
    }
    if (*at != ':' || framer->token_len == 0) {
        return refuse_line(framer, at,
                           "Each header is a name of token characters, then at once ':'.");
    }
    framer->header = find_header(framer);
    framer->value = IN_VALUE;
    if (framer->header) {
        if (framer->seen & framer->header->bit) {
            return refuse(framer, at, 400, framer->header->twice);
        }
        framer->seen |= (unsigned char)framer->header->bit;
        framer->value = (unsigned char)framer->header->value;
    }
    framer->step = STEP_BEFORE_VALUE;
    framer->token_len = 0;
    return at + 1;
}

/* Skips spaces, as evhttp does; a tab is part of the value to it, and to us. */
static const unsigned char *read_before_value(struct framer *framer, const unsigned char *at,
                                              const unsigned char *end)
{
    while (at < end && *at == ' ') {
        at++;
    }
    if (at < end) {
        framer->step = STEP_VALUE;
    }
    return at;
}

/* The value ended: is it one that this header may have? */
static bool value_fits(const struct framer *framer)
{
    const struct framer_header *header = framer->header;

    if (!header) {
        return true;
    }
    if (header->only) {
        return token_is(framer, header->only, strlen(header->only));
    }
    if (header->bit == SEEN_LENGTH) {
        return framer->token_len > 0 && framer->token_len <= MAX_LENGTH_DIGITS;
    }
    return header->bit != SEEN_HOST || framer->token_len > 0;
}

static const unsigned char *read_value(struct framer *framer, const unsigned char *at,
                                       const unsigned char *end)
{
    const unsigned char *run_end = skip(at, end, framer->value);

    if (framer->header) {
        add_token(framer, at, (size_t)(run_end - at));
        if (framer->header->bit == SEEN_LENGTH && framer->token_len <= MAX_LENGTH_DIGITS) {
            for (; at < run_end; at++) {
                framer->content_length = framer->content_length * 10 + (uint64_t)(*at - '0');
            }
        }
    }
    at = run_end;
    if (at == end) {
        return at;
    }
    if (*at != '\r') {
        return refuse_line(framer, at,
                           framer->header ? framer->header->detail
                                          : "Header values may not hold control characters.");
    }
    if (!value_fits(framer)) {
        return refuse(framer, at, 400, framer->header->detail);
    }
    framer->step = STEP_VALUE_LF;
    return at + 1;
}

/* Why a head that is well formed so far cannot be let through; NULL when it can. */
static const char *judge_head(const struct framer *framer)
{
    bool chunked = (framer->seen & SEEN_CODING) != 0;

    if (framer->minor == 1 && !(framer->seen & SEEN_HOST)) {
        return "Send exactly one Host header.";
    }
    if (chunked && (framer->seen & SEEN_LENGTH)) {
        return "Send Content-Length or Transfer-Encoding, not both.";
    }
    if (chunked && framer->minor == 0) {
        return "Use HTTP/1.1 to send a chunked body.";
    }
    if (framer->bodiless && (chunked || framer->content_length > 0)) {
        return "Send no body with GET or HEAD.";
    }
    return NULL;
}

static const unsigned char *end_head(struct framer *framer, const unsigned char *at,
                                     const unsigned char *end)
{
    const char *problem = *at == '\n' ? judge_head(framer) : LINE_DETAIL;

    (void)end;
    if (problem) {
        return refuse(framer, at, 400, problem);
    }
    if (framer->content_length > framer->limits.max_body_bytes) {
        return refuse(framer, at, 413, "Send a smaller body.");
    }
    framer->token_len = 0;
    framer->left = framer->content_length;
    if (framer->seen & SEEN_CODING) {
        framer->step = STEP_CHUNK_SIZE;
    } else {
        framer->step = framer->left > 0 ? STEP_BODY : STEP_DONE;
    }
    return at + 1;
}

static const unsigned char *read_data(struct framer *framer, const unsigned char *at,
                                      const unsigned char *end)
{
    if ((uint64_t)(end - at) < framer->left) {
        framer->left -= (uint64_t)(end - at);
        return end;
    }
    at += framer->left;
    framer->left = 0;
    framer->step = framer->step == STEP_BODY ? STEP_DONE : STEP_CHUNK_CR;
    return at;
}

static int hex_digit(unsigned char byte)
{
    if (byte >= '0' && byte <= '9') {
        return byte - '0';
    }
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

static const unsigned char *read_chunk_size(struct framer *framer, const unsigned char *at,
                                            const unsigned char *end)
{
    for (; at < end; at++) {
        int digit = hex_digit(*at);
        if (digit < 0 || framer->token_len == MAX_CHUNK_DIGITS) {
            break;
        }
        framer->token_len++;
        framer->left = framer->left * 16 + (uint64_t)digit;
        if (framer->left > framer->limits.max_body_bytes - framer->body_bytes) {
            return refuse(framer, at, 413, "Send a smaller body.");
        }
    }
    if (at == end) {
        return at;
    }
    if (*at != '\r' || framer->token_len == 0) {
        return refuse(framer, at, 400,
                      "A chunk begins with its size, 1 to 8 hex digits, then CR LF; chunk "
                      "extensions are not allowed.");
    }
    framer->step = STEP_CHUNK_SIZE_LF;
    return at + 1;
}

static const unsigned char *end_chunk_size(struct framer *framer, const unsigned char *at,
                                           const unsigned char *end)
{
    (void)end;
    if (*at != '\n') {
        return refuse(framer, at, 400, "End a chunk size with CR LF.");
    }
    framer->body_bytes += framer->left;
    framer->token_len = 0;
    framer->step = framer->left > 0 ? STEP_CHUNK_DATA : STEP_TRAILER_CR;
    return at + 1;
}

/* Steps that want one certain byte and nothing else. */
static const struct {
    unsigned char byte;
    unsigned char next;
    const char *detail;
} certain[STEP_DONE] = {
    [STEP_VALUE_LF] = {'\n', STEP_LINE, LINE_DETAIL},
    [STEP_CHUNK_CR] = {'\r', STEP_CHUNK_LF, "End the data of a chunk with CR LF."},
    [STEP_CHUNK_LF] = {'\n', STEP_CHUNK_SIZE, "End the data of a chunk with CR LF."},
    [STEP_TRAILER_CR] = {'\r', STEP_TRAILER_LF, "Send no trailers after the last chunk."},
    [STEP_TRAILER_LF] = {'\n', STEP_DONE, "End the last chunk with CR LF CR LF."},
};

static const unsigned char *read_certain(struct framer *framer, const unsigned char *at,
                                         const unsigned char *end)
{
    (void)end;
    if (*at != certain[framer->step].byte) {
        return refuse(framer, at, 400, certain[framer->step].detail);
    }
    framer->step = certain[framer->step].next;
    return at + 1;
}

static const step_function steps[STEP_DONE] = {
    [STEP_METHOD] = read_method,
    [STEP_TARGET] = read_target,
    [STEP_VERSION] = read_version,
    [STEP_LINE] = begin_line,
    [STEP_NAME] = read_name,
    [STEP_BEFORE_VALUE] = read_before_value,
    [STEP_VALUE] = read_value,
    [STEP_VALUE_LF] = read_certain,
    [STEP_HEAD_LF] = end_head,
    [STEP_BODY] = read_data,
    [STEP_CHUNK_SIZE] = read_chunk_size,
    [STEP_CHUNK_SIZE_LF] = end_chunk_size,
    [STEP_CHUNK_DATA] = read_data,
    [STEP_CHUNK_CR] = read_certain,
    [STEP_CHUNK_LF] = read_certain,
    [STEP_TRAILER_CR] = read_certain,
    [STEP_TRAILER_LF] = read_certain,
};
