/* MAC addresses: see mac.h. */
#include "common/mac.h"

#include <ctype.h>
#include <string.h>

enum err mac_canonical(const char *text, char ret_text[MAC_TEXT_SIZE])
{
    size_t len = strlen(text);
    const char separator = (char)(len == 17 ? text[2] : '\0');
    char out[MAC_TEXT_SIZE];
    size_t at = 0;

    if (len != 12 && !(len == 17 && (separator == ':' || separator == '-'))) {
        return ERR_INVALID;
    }
    for (size_t i = 0; i < 6; i++) {
        if (i > 0 && separator != '\0' && text[at++] != separator) {
            return ERR_INVALID;
        }
        if (!isxdigit((unsigned char)text[at]) || !isxdigit((unsigned char)text[at + 1])) {
            return ERR_INVALID;
        }
        out[3 * i] = (char)tolower((unsigned char)text[at]);
        out[3 * i + 1] = (char)tolower((unsigned char)text[at + 1]);
        out[3 * i + 2] = ':';
        at += 2;
    }
    out[17] = '\0';
    memcpy(ret_text, out, sizeof(out));
    return OK;
}
