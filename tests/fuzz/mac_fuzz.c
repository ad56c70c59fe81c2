/* MAC: any text. What is taken has twelve hex digits, bare or with the same separator, ':' or '-',
 * between all pairs; its canonical form has the same digits in lower case, and is its own canonical
 * form. What is not taken has another form, and touches no output. */
#include "fuzz.h"

#include "common/mac.h"

#include <assert.h>
#include <string.h>

static bool is_hex(char c)
{
    return c != '\0' && strchr("0123456789abcdefABCDEF", c) != NULL;
}

/* Written from the sentence above, not from mac.c. */
static bool is_mac(const char *text)
{
    size_t len = strlen(text);

    if (len != 12 && len != 17) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        bool separator = len == 17 && i % 3 == 2;
        if (separator ? (text[i] != ':' && text[i] != '-') || text[i] != text[2]
                      : !is_hex(text[i])) {
            return false;
        }
    }
    return true;
}

static void check_canonical(const char *text, const char *canonical)
{
    char again[MAC_TEXT_SIZE] = "";

    assert(strlen(canonical) == 17);
    for (size_t i = 0; i < 17; i++) {
        if (i % 3 == 2) {
            assert(canonical[i] == ':');
            continue;
        }
        text += *text == ':' || *text == '-' ? 1 : 0;
        assert(canonical[i] == (*text >= 'A' && *text <= 'F' ? *text | 0x20 : *text));
        text++;
    }
    assert(mac_canonical(canonical, again) == OK && strcmp(again, canonical) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(cleanup_free) char *text = fuzz_text((struct fuzz_piece){(const char *)data, size});
    char canonical[MAC_TEXT_SIZE] = "untouched";
    bool taken = mac_canonical(text, canonical) == OK;

    assert(taken == is_mac(text));
    if (taken) {
        check_canonical(text, canonical);
    } else {
        assert(strcmp(canonical, "untouched") == 0);
    }
    return 0;
}
