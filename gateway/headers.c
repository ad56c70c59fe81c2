/* Headers: see headers.h. */
#include "gateway/headers.h"

#include "common/json.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool header_is_json(const char *type)
{
    static const char json[] = "application/json";

    if (type == NULL || strncasecmp(type, json, strlen(json)) != 0) {
        return false;
    }
    type += strlen(json);
    type += strspn(type, " \t");
    if (*type == ';') {
        type++;
        type += strspn(type, " \t");
        if (strncasecmp(type, "charset=", 8) != 0) {
            return false;
        }
        type += 8;
        return strcasecmp(type, "utf-8") == 0 || strcasecmp(type, "\"utf-8\"") == 0;
    }
    return *type == '\0';
}

/* Whether there is a preference of that name; its value, if any, is given as text that starts
 * after '='. */
static bool find_preference(const char *prefer, const char *name, const char **ret_value)
{
    size_t len = strlen(name);

    while (prefer != NULL && *prefer != '\0') {
        prefer += strspn(prefer, " \t,;");
        if (strncasecmp(prefer, name, len) == 0 &&
            (prefer[len] == '\0' || strchr(" \t,;=", prefer[len]) != NULL)) {
            *ret_value = prefer[len] == '=' ? prefer + len + 1 : "";
            return true;
        }
        prefer += strcspn(prefer, ",;");
    }
    return false;
}

struct header_prefer header_read_prefer(const char *prefer)
{
    struct header_prefer said = {.wait_s = -1};
    const char *value;

    said.respond_async = find_preference(prefer, "respond-async", &value);
    if (find_preference(prefer, "wait", &value) && isdigit((unsigned char)value[0])) {
        long wait_s = strtol(value, NULL, 10);
        said.wait_s = wait_s < HEADER_MAX_WAIT_S ? wait_s : HEADER_MAX_WAIT_S;
    }
    return said;
}

int header_read_priority(const char *priority)
{
    int urgency = HEADER_DEFAULT_PRIORITY;

    for (const char *at = priority; at != NULL && *at != '\0';
         at += strcspn(at, ","), at += *at == ',') {
        at += strspn(at, " \t");
        if (strncmp(at, "u=", 2) == 0 && at[2] >= '0' && at[2] <= '7' &&
            (at[3] == '\0' || strchr(", \t;", at[3]) != NULL)) {
            urgency = at[2] - '0';
        }
    }
    return urgency;
}

bool header_is_reason(const char *text)
{
    CLEANUP(cleanup_json) json_t *checked = json_string(text); /* NULL when it is not UTF-8 */

    if (checked == NULL || strlen(text) > HEADER_MAX_REASON_BYTES) {
        return false;
    }
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++) {
        if (iscntrl(*at) || (at[0] == 0xc2 && at[1] < 0xa0)) { /* U+0080 to U+009F */
            return false;
        }
    }
    return true;
}

bool header_read_idempotency_key(const char *text, const char **ret_key, size_t *ret_len)
{
    size_t len = strlen(text);

    if (len >= 2 && text[0] == '"' && text[len - 1] == '"') {
        text++;
        len -= 2;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= ' ' || text[i] > '~' || text[i] == '"' || text[i] == '\\') {
            return false;
        }
    }
    if (len < 1 || len > HEADER_MAX_KEY_LEN) {
        return false;
    }
    *ret_key = text;
    *ret_len = len;
    return true;
}

bool header_is_request_id(const char *text, size_t max)
{
    size_t len = text != NULL ? strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                             "0123456789._:-")
                              : 0;

    return len > 0 && len <= max && text[len] == '\0';
}

/* Goes over that many hex digits in lower case, which may not all be zeros unless that is allowed.
 */
static bool take_hex(const char **text, size_t count, bool zeros)
{
    const char *at = *text;

    if (strspn(at, "0123456789abcdef") != count || (!zeros && strspn(at, "0") == count)) {
        return false;
    }
    *text = at + count;
    return true;
}

bool header_is_traceparent(const char *text)
{
    if (text == NULL || strncmp(text, "00-", 3) != 0) {
        return false;
    }
    text += 3;
    return take_hex(&text, 32, false) && *text++ == '-' && take_hex(&text, 16, false) &&
           *text++ == '-' && take_hex(&text, 2, true) && *text == '\0';
}
