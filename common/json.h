/* JSON: strict reading over jansson. Any thread. */
#ifndef COMMON_JSON_H
#define COMMON_JSON_H

#include "common/error.h"
#include "common/memory.h"

#include <jansson.h>
#include <stddef.h>

/* Reads exactly one JSON object or array: duplicate keys, bad UTF-8, NUL, numbers out of range,
 * bytes after the end are ERR_MALFORMED, with line and column in the error. The caller owns
 * *ret_value. */
enum err json_read(const char *text, size_t len, json_t **ret_value,
                   struct error *error) MUST_CHECK;

/* Compact text; the caller frees. Every control character in it is escaped, those beyond ASCII
 * too: it can go to a terminal. */
char *json_write(const json_t *value);

/* Appends /name to a JSON pointer (RFC 6901: ~ and / escaped). The caller frees. */
char *json_pointer_append(const char *pointer, const char *name);

/* For CLEANUP(): drops the reference a local holds. */
void cleanup_json(json_t **local);

#endif
