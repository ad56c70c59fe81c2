/* JSON: see json.h. */
#include "common/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum err json_read(const char *text, size_t len, json_t **ret_value, struct error *error)
{
    json_error_t where;
    json_t *value = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);

    if (value == NULL) {
        return error_set(error, ERR_MALFORMED, "line %d, column %d: %s", where.line, where.column,
                         where.text);
    }
    *ret_value = value;
    return OK;
}

/* DEL and the controls U+0080 to U+009F, in UTF-8 0xC2 and the code: how many bytes, or 0. */
static size_t control_at(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;

    if (at[0] == 0x7f) {
        return 1;
    }
    return at[0] == 0xc2 && at[1] >= 0x80 && at[1] <= 0x9f ? 2 : 0;
}

/* jansson escapes the controls below space only; terminals obey these as well. */
static char *escape_controls(char *text_take)
{
    size_t found = 0;
    char *escaped;
    char *out;

    for (const char *at = text_take; *at != '\0'; at++) {
        found += control_at(at) > 0 ? 1 : 0;
    }
    if (found == 0) {
        return text_take;
    }
    escaped = out = xcalloc(strlen(text_take) + found * 6 + 1, 1);
    for (const char *at = text_take; *at != '\0';) {
        size_t len = control_at(at);
        if (len == 0) {
            *out++ = *at++;
            continue;
        }
        out += sprintf(out, "\\u%04x", (unsigned char)at[len - 1]);
        at += len;
    }
    free(text_take);
    return escaped;
}

char *json_write(const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));

    return text != NULL ? escape_controls(text) : xstrdup("null");
}

char *json_pointer_append(const char *pointer, const char *name)
{
    size_t from = strlen(pointer);
    char *text = xcalloc(from + 2 * strlen(name) + 2, 1);
    char *out = text + from;

    memcpy(text, pointer, from);
    *out++ = '/';
    for (; *name != '\0'; name++) {
        if (*name == '~' || *name == '/') {
            *out++ = '~';
            *out++ = *name == '~' ? '0' : '1';
        } else {
            *out++ = *name;
        }
    }
    *out = '\0';
    return text;
}

void cleanup_json(json_t **local)
{
    json_decref(*local);
}
