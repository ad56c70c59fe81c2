/* JSON, writing: see json.h. jansson writes byte by byte through a callback, which was a quarter of
 * what a refused request cost. */
#include "common/json.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_BYTES 512

struct text {
    char *bytes;
    size_t len;
    size_t capacity;
};

static void write_value(struct text *text, const json_t *value);

static void add(struct text *text, const char *bytes, size_t len)
{
    if (text->capacity - text->len < len) {
        text->capacity = 2 * (text->capacity + len);
        text->bytes = xrealloc(text->bytes, text->capacity, 1);
    }
    memcpy(text->bytes + text->len, bytes, len);
    text->len += len;
}

/* What of a string must be escaped at this place: how many bytes it has, or 0. The controls beyond
 * ASCII (U+0080 to U+009F, in UTF-8 0xC2 and the code) are obeyed by terminals as well. */
static size_t special_at(const unsigned char *at, size_t left)
{
    if (at[0] < 0x20 || at[0] == '"' || at[0] == '\\' || at[0] == 0x7f) {
        return 1;
    }
    return at[0] == 0xc2 && left > 1 && at[1] >= 0x80 && at[1] <= 0x9f ? 2 : 0;
}

static void write_escaped(struct text *text, unsigned char c)
{
    static const char named[] = "\"\"\\\\\bb\ff\nn\rr\tt"; /* each, and what stands for it */
    char escaped[8];
    int len;

    for (size_t i = 0; i + 1 < sizeof(named); i += 2) {
        if ((unsigned char)named[i] == c) {
            add(text, (const char[]){'\\', named[i + 1]}, 2);
            return;
        }
    }
    len = snprintf(escaped, sizeof(escaped), c < 0x20 ? "\\u%04X" : "\\u%04x", c);
    add(text, escaped, (size_t)len);
}

static void write_string(struct text *text, const char *string, size_t len)
{
    const unsigned char *bytes = (const unsigned char *)string;
    size_t from = 0;

    add(text, "\"", 1);
    for (size_t at = 0; at < len;) {
        size_t special = special_at(bytes + at, len - at);
        if (special == 0) {
            at++;
            continue;
        }
        add(text, string + from, at - from);
        write_escaped(text, bytes[at + special - 1]);
        from = at += special;
    }
    add(text, string + from, len - from);
    add(text, "\"", 1);
}

static void write_object(struct text *text, const json_t *object)
{
    json_t *members = (json_t *)(uintptr_t)object; /* iterating changes nothing */
    bool first = true;
    const char *key;
    json_t *value;

    add(text, "{", 1);
    json_object_foreach (members, key, value) {
        if (!first) {
            add(text, ",", 1);
        }
        first = false;
        write_string(text, key, strlen(key));
        add(text, ":", 1);
        write_value(text, value);
    }
    add(text, "}", 1);
}

static void write_array(struct text *text, const json_t *array)
{
    add(text, "[", 1);
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (i > 0) {
            add(text, ",", 1);
        }
        write_value(text, json_array_get(array, i));
    }
    add(text, "]", 1);
}

static void write_integer(struct text *text, json_int_t value)
{
    char digits[24];

    add(text, digits, (size_t)snprintf(digits, sizeof(digits), "%" JSON_INTEGER_FORMAT, value));
}

/* Rare, and not simple: jansson does it. */
static void write_real(struct text *text, const json_t *value)
{
    char *digits = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));

    assert(digits != NULL);
    add(text, digits, strlen(digits));
    free(digits);
}

static void write_value(struct text *text, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        write_object(text, value);
        break;
    case JSON_ARRAY:
        write_array(text, value);
        break;
    case JSON_STRING:
        write_string(text, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
        write_integer(text, json_integer_value(value));
        break;
    case JSON_REAL:
        write_real(text, value);
        break;
    case JSON_TRUE:
        add(text, "true", 4);
        break;
    case JSON_FALSE:
        add(text, "false", 5);
        break;
    case JSON_NULL:
        add(text, "null", 4);
        break;
    }
}

char *json_write(const json_t *value)
{
    struct text text = {.bytes = xcalloc(FIRST_BYTES, 1), .capacity = FIRST_BYTES};

    if (value == NULL) {
        add(&text, "null", 4);
    } else {
        write_value(&text, value);
    }
    add(&text, "", 1);
    return text.bytes;
}
