/* JSON, reading: see json.h. */
#include "common/json.h"

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
