/* UTF-8 (RFC 3629). Any thread. */
#ifndef COMMON_UTF8_H
#define COMMON_UTF8_H

#include <stddef.h>

/* The length of the character that begins the text, of which left > 0 bytes are there: 1 to 4.
 * 0: it is none (nothing overlong, no surrogates, nothing above U+10FFFF). */
size_t utf8_length(const char *text, size_t left);

/* Takes out of the text what is no UTF-8, such as what is left of a character where it was cut. */
void utf8_mend(char *text);

#endif
