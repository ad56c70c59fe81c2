/* Scan: see scan.h. Never behind the last byte, no recursion. */
#include "common/scan.h"

#include "common/utf8.h"

#include <stdint.h>
#include <string.h>

/* ---- Strings ---- */

/* What a byte inside a string is. */
enum byte { PLAIN, QUOTE, BACKSLASH, CONTROL, HIGH };

static const uint8_t byte_kinds[256] = {
    [0x00 ... 0x1f] = CONTROL,
    ['"'] = QUOTE,
    ['\\'] = BACKSLASH,
    [0x80 ... 0xff] = HIGH,
};

static enum byte byte_of(char byte)
{
    return (enum byte)byte_kinds[(unsigned char)byte];
}

/* Four hex digits; -1: they are none. */
static long hex4(const struct scan *scan)
{
    long value = 0;

    if (scan->end - scan->at < 4) {
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        char digit = scan->at[i];
        if (digit >= '0' && digit <= '9') {
            value = value * 16 + digit - '0';
        } else if (digit >= 'a' && digit <= 'f') {
            value = value * 16 + digit - 'a' + 10;
        } else if (digit >= 'A' && digit <= 'F') {
            value = value * 16 + digit - 'A' + 10;
        } else {
            return -1;
        }
    }
    return value;
}

/* The code point that \uXXXX, or two of them (RFC 8259 §7), stands for; scan is behind the first
 * "\u", and then behind it all. -1: none, NUL, or half a pair. */
static long read_code_point(struct scan *scan)
{
    long code = hex4(scan);
    long low;

    if (code <= 0 || (code >= 0xdc00 && code <= 0xdfff)) {
        return -1;
    }
    scan->at += 4;
    if (code < 0xd800 || code > 0xdfff) {
        return code;
    }
    if (scan->end - scan->at < 2 || scan->at[0] != '\\' || scan->at[1] != 'u') {
        return -1;
    }
    scan->at += 2;
    low = hex4(scan);
    if (low < 0xdc00 || low > 0xdfff) {
        return -1;
    }
    scan->at += 4;
    return 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
}

/* The code point of an escape, whose backslash comes next; -1: it is none. */
static long read_escape(struct scan *scan)
{
    static const char letters[] = "\"\\/bfnrt";
    static const char codes[] = "\"\\/\b\f\n\r\t";
    const char *letter;

    scan->at++;
    if (scan->at == scan->end || *scan->at == '\0') {
        return -1;
    }
    if (*scan->at == 'u') {
        scan->at++;
        return read_code_point(scan);
    }
    letter = strchr(letters, *scan->at++);
    return letter != NULL ? codes[letter - letters] : -1;
}

#define ALL_BYTES(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Whether eight bytes are all PLAIN. Subtracting sets the high bit of a byte that was less; a
 * borrow only goes on from one that was, so nothing is missed. */
static bool are_plain(const char *at)
{
    uint64_t word;
    uint64_t quote;
    uint64_t backslash;

    memcpy(&word, at, sizeof(word));
    quote = word ^ ALL_BYTES('"');
    backslash = word ^ ALL_BYTES('\\');
    return ((word | (word - ALL_BYTES(0x20)) | (quote - ALL_BYTES(1)) |
             (backslash - ALL_BYTES(1))) &
            ALL_BYTES(0x80)) == 0;
}

/* Goes over what stands behind an opening quote, and the closing one. */
bool scan_string(struct scan *scan)
{
    while (scan->at < scan->end) {
        size_t len;
        if (scan->end - scan->at >= 8 && are_plain(scan->at)) {
            scan->at += 8;
            continue;
        }
        while (scan->at < scan->end && byte_of(*scan->at) == PLAIN) {
            scan->at++;
        }
        if (scan->at == scan->end) {
            return false;
        }
        switch (byte_of(*scan->at)) {
        case QUOTE:
            scan->at++;
            return true;
        case BACKSLASH:
            if (read_escape(scan) < 0) {
                return false;
            }
            break;
        case HIGH:
            len = utf8_length(scan->at, (size_t)(scan->end - scan->at));
            if (len == 0) {
                return false;
            }
            scan->at += len;
            break;
        case PLAIN:
        case CONTROL:
        default:
            return false;
        }
    }
    return false;
}

/* Writes a code point as UTF-8 and returns its length. */
static size_t utf8_write(long code, char text[4])
{
    if (code < 0x80) {
        text[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        text[0] = (char)(0xc0 | (code >> 6));
        text[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        text[0] = (char)(0xe0 | (code >> 12));
        text[1] = (char)(0x80 | ((code >> 6) & 0x3f));
        text[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    text[0] = (char)(0xf0 | (code >> 18));
    text[1] = (char)(0x80 | ((code >> 12) & 0x3f));
    text[2] = (char)(0x80 | ((code >> 6) & 0x3f));
    text[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

/* The next bytes of a string, escapes resolved: their number, 0 at its end. */
static size_t next_bytes(struct scan *scan, char bytes[4])
{
    long code;

    if (scan->at == scan->end) {
        return 0;
    }
    if (*scan->at != '\\') {
        bytes[0] = *scan->at++;
        return 1;
    }
    code = read_escape(scan);
    return code >= 0 ? utf8_write(code, bytes) : 0;
}

bool scan_equals(struct scan string, const char *text)
{
    size_t left = strlen(text);
    size_t len = (size_t)(string.end - string.at);
    char bytes[4];
    size_t got;

    if (len == left && memcmp(string.at, text, len) == 0) {
        return memchr(text, '\\', len) == NULL;
    }
    if (len <= left) { /* escapes make it longer */
        return false;
    }
    while ((got = next_bytes(&string, bytes)) > 0) {
        if (left < got || memcmp(bytes, text, got) != 0) {
            return false;
        }
        text += got;
        left -= got;
    }
    return left == 0 && string.at == string.end;
}

bool scan_same_text(struct scan a, struct scan b)
{
    struct scan scans[2] = {a, b};
    size_t lens[2] = {(size_t)(a.end - a.at), (size_t)(b.end - b.at)};
    char bytes[2][4];
    size_t left[2] = {0, 0};
    size_t used[2] = {0, 0};

    if (lens[0] == lens[1] && memcmp(a.at, b.at, lens[0]) == 0) {
        return true;
    }
    if (memchr(a.at, '\\', lens[0]) == NULL && memchr(b.at, '\\', lens[1]) == NULL) {
        return false;
    }
    for (;;) {
        for (size_t i = 0; i < 2; i++) {
            if (used[i] == left[i]) {
                left[i] = next_bytes(&scans[i], bytes[i]);
                used[i] = 0;
            }
        }
        if (left[0] == 0 || left[1] == 0) {
            return left[0] == left[1];
        }
        if (bytes[0][used[0]++] != bytes[1][used[1]++]) {
            return false;
        }
    }
}

/* ---- Values ---- */

static bool skip_literal(struct scan *scan, const char *literal)
{
    size_t len = strlen(literal);

    if ((size_t)(scan->end - scan->at) < len || memcmp(scan->at, literal, len) != 0) {
        return false;
    }
    scan->at += len;
    return true;
}

static bool skip_digits(struct scan *scan)
{
    const char *from = scan->at;

    while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9') {
        scan->at++;
    }
    return scan->at > from;
}

bool scan_number(struct scan *scan)
{
    (void)scan_take(scan, '-');
    if (!scan_take(scan, '0') && !skip_digits(scan)) {
        return false;
    }
    if (scan_take(scan, '.') && !skip_digits(scan)) {
        return false;
    }
    if (scan_take(scan, 'e') || scan_take(scan, 'E')) {
        if (!scan_take(scan, '+')) {
            (void)scan_take(scan, '-');
        }
        return skip_digits(scan);
    }
    return true;
}

/* A string, number or literal. */
static bool skip_scalar(struct scan *scan)
{
    if (scan->at == scan->end) {
        return false;
    }
    switch (*scan->at) {
    case '"':
        scan->at++;
        return scan_string(scan);
    case 't':
        return skip_literal(scan, "true");
    case 'f':
        return skip_literal(scan, "false");
    case 'n':
        return skip_literal(scan, "null");
    default:
        return scan_number(scan);
    }
}

bool scan_name(struct scan *scan)
{
    return scan_take(scan, '"') && scan_string(scan) && scan_take(scan, ':');
}

/* The arrays and objects around a place inside a value; bit 0 says whether the innermost one is an
 * object. */
struct nest {
    unsigned depth; /* that of the value itself included */
    unsigned outside;
    uint64_t objects;
};

/* Goes on from behind a value to where the next one begins, out of what ends. False: malformed, or
 * *ret_done: there is no next. */
static bool skip_to_next(struct scan *scan, struct nest *nest, bool *ret_done)
{
    while (nest->depth > nest->outside) {
        bool object = (nest->objects & 1) != 0;
        if (scan_take(scan, ',')) {
            return !object || scan_name(scan);
        }
        if (!scan_take(scan, object ? '}' : ']')) {
            return false;
        }
        nest->depth--;
        nest->objects >>= 1;
    }
    *ret_done = true;
    return true;
}

/* Goes over a value that stands inside `outside` arrays and objects. */
bool scan_value(struct scan *scan, unsigned outside)
{
    struct nest nest = {.depth = outside, .outside = outside};
    bool done = false;

    while (!done) {
        bool object = scan_take(scan, '{');
        if (object || scan_take(scan, '[')) {
            if (nest.depth == SCAN_DEPTH_MAX) {
                return false;
            }
            nest.depth++;
            nest.objects = nest.objects << 1 | (object ? 1 : 0);
            if (scan->at < scan->end && *scan->at == (object ? '}' : ']')) {
                /* empty: skip_to_next() ends it */
            } else if (object) {
                if (!scan_name(scan)) {
                    return false;
                }
                continue;
            } else {
                continue;
            }
        } else if (!skip_scalar(scan)) {
            return false;
        }
        if (!skip_to_next(scan, &nest, &done)) {
            return false;
        }
    }
    return true;
}
