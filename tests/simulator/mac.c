/*
 * MAC addresses: one canonical spelling for all that people write.
 */
#include "mac.h"

#include <ctype.h>
#include <string.h>

bool mac_normalize(const char *text, char ret_mac[MAC_TEXT_SIZE])
{
    size_t len = strlen(text);
    const bool bare = len == 12;
    const size_t step = bare ? 2 : 3;
    char mac[MAC_TEXT_SIZE] = "";

    if (!bare && (len != 17 || (text[2] != ':' && text[2] != '-'))) {
        return false;
    }
    for (size_t octet = 0; octet < 6; octet++) {
        const char *digits = &text[octet * step];

        if (!isxdigit((unsigned char)digits[0]) || !isxdigit((unsigned char)digits[1])) {
            return false;
        }
        if (!bare && octet < 5 && digits[2] != text[2]) {
            return false;
        }
        mac[octet * 3] = (char)tolower((unsigned char)digits[0]);
        mac[octet * 3 + 1] = (char)tolower((unsigned char)digits[1]);
        mac[octet * 3 + 2] = octet < 5 ? ':' : '\0';
    }
    memcpy(ret_mac, mac, sizeof(mac));
    return true;
}
