/* Note, the text: see note_priv.h. Nothing here trusts a byte it reads: text has a length, and a
 * NUL is a byte like any other. */
#include "common/note_priv.h"

#include <openssl/evp.h>
#include <string.h>

/* ---- Characters ---- */

/* The code point at the start of the text, and how many bytes it takes; -1 if it is not UTF-8 as
 * RFC 3629 has it: nothing overlong, no surrogates, nothing above U+10FFFF. */
static int32_t code_point(struct note_span text, size_t *ret_len)
{
    static const int32_t least[] = {0, 0x80, 0x800, 0x10000};
    uint8_t first = (uint8_t)text.data[0];
    size_t more = first < 0x80 ? 0 : first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
    int32_t code = first < 0x80 ? first : first & (0x3F >> more);

    if ((first >= 0x80 && first < 0xC2) || first > 0xF4 || more >= text.len) {
        return -1;
    }
    for (size_t i = 1; i <= more; i++) {
        uint8_t next = (uint8_t)text.data[i];
        if ((next & 0xC0) != 0x80) {
            return -1;
        }
        code = code << 6 | (next & 0x3F);
    }
    if (code < least[more] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) {
        return -1;
    }
    *ret_len = more + 1;
    return code;
}

/* Beyond what the note format forbids, which are those below U+0020: DEL and the C1 controls have
 * no business on a terminal either. */
static bool is_control(int32_t code)
{
    return code < 0x20 || (code >= 0x7F && code < 0xA0);
}

/* Unicode's White_Space, less the controls. */
static bool is_space(int32_t code)
{
    return code == 0x20 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) ||
           code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

bool note_is_text(struct note_span text)
{
    size_t taken = 0;

    for (; text.len > 0; text.data += taken, text.len -= taken) {
        int32_t code = code_point(text, &taken);
        if (code < 0 || (is_control(code) && code != '\n')) {
            return false;
        }
    }
    return true;
}

bool note_is_key_name(struct note_span name)
{
    size_t taken = 0;

    if (name.len == 0 || name.len >= NOTE_NAME_SIZE) {
        return false;
    }
    for (; name.len > 0; name.data += taken, name.len -= taken) {
        int32_t code = code_point(name, &taken);
        if (code < 0 || is_control(code) || is_space(code) || code == '+') {
            return false;
        }
    }
    return true;
}

bool note_starts_with(struct note_span span, const char *start)
{
    return span.len >= strlen(start) && memcmp(span.data, start, strlen(start)) == 0;
}

bool note_take_until(struct note_span *rest, char separator, struct note_span *ret_part)
{
    const char *end = rest->len > 0 ? memchr(rest->data, separator, rest->len) : NULL;

    if (end == NULL) {
        return false;
    }
    *ret_part = (struct note_span){rest->data, (size_t)(end - rest->data)};
    rest->data += ret_part->len + 1;
    rest->len -= ret_part->len + 1;
    return true;
}

/* ---- Base64 (RFC 4648 §4) ---- */

static int base64_value(char c)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c != '\0' ? strchr(alphabet, c) : NULL;

    return at != NULL ? (int)(at - alphabet) : -1;
}

bool note_base64_read(struct note_span text, uint8_t *ret_data, size_t max, size_t *ret_len)
{
    size_t padding = 0;
    size_t len = 0;
    uint32_t bits = 0;

    if (text.len % 4 != 0) {
        return false;
    }
    while (padding < 2 && text.len > 0 && text.data[text.len - 1] == '=') {
        text.len--;
        padding++;
    }
    for (size_t i = 0; i < text.len; i++) {
        int value = base64_value(text.data[i]);
        if (value < 0) {
            return false;
        }
        bits = (bits << 6 | (uint32_t)value) & 0xFFFF;
        if (i % 4 != 0) { /* the first of four completes no byte; i % 4 sixes are over */
            unsigned over = 6 - 2 * (unsigned)(i % 4);
            if (len < max) {
                ret_data[len] = (uint8_t)(bits >> over);
            }
            len++;
        }
    }
    /* Two or one characters of the last four are left: their last four or two bits are unused. */
    if (padding > 0 && (bits & (padding == 2 ? 0x0F : 0x03)) != 0) {
        return false;
    }
    *ret_len = len;
    return true;
}

bool note_base64_read_exactly(struct note_span text, uint8_t *ret_data, size_t len)
{
    size_t got = 0;

    return text.len == NOTE_BASE64_SIZE(len) - 1 && note_base64_read(text, ret_data, len, &got) &&
           got == len;
}

void note_base64_write(const uint8_t *data, size_t len, char *text)
{
    (void)EVP_EncodeBlock((unsigned char *)text, data, (int)len);
}
