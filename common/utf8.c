/* UTF-8: see utf8.h. */
#include "common/utf8.h"

#include <stdbool.h>
#include <string.h>

static bool is_continuation(unsigned char byte)
{
    return (byte & 0xc0) == 0x80;
}

size_t utf8_length(const char *text, size_t left)
{
    const unsigned char *at = (const unsigned char *)text;

    if (at[0] < 0x80) {
        return 1;
    }
    if (at[0] >= 0xc2 && at[0] <= 0xdf) {
        return left >= 2 && is_continuation(at[1]) ? 2 : 0;
    }
    if ((at[0] & 0xf0) == 0xe0) {
        bool good = left >= 3 && is_continuation(at[1]) && is_continuation(at[2]) &&
                    !(at[0] == 0xe0 && at[1] < 0xa0) && !(at[0] == 0xed && at[1] > 0x9f);
        return good ? 3 : 0;
    }
    if (at[0] >= 0xf0 && at[0] <= 0xf4) {
        bool good = left >= 4 && is_continuation(at[1]) && is_continuation(at[2]) &&
                    is_continuation(at[3]) && !(at[0] == 0xf0 && at[1] < 0x90) &&
                    !(at[0] == 0xf4 && at[1] > 0x8f);
        return good ? 4 : 0;
    }
    return 0;
}

void utf8_mend(char *text)
{
    size_t left = strlen(text);
    char *out = text;

    while (left > 0) {
        size_t len = utf8_length(text, left);
        size_t step = len > 0 ? len : 1;
        memmove(out, text, len);
        out += len;
        text += step;
        left -= step;
    }
    *out = '\0';
}
