/* Hex: how streams of bytes are told to the readers that are compared. */
#ifndef TESTS_FUZZ_HEX_H
#define TESTS_FUZZ_HEX_H

#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>

/* Decodes the hex digits that the line begins with, in place; gives the number of bytes. */
static inline size_t hex_decode(char *line)
{
    size_t len = 0;

    while (isxdigit((unsigned char)line[2 * len]) && isxdigit((unsigned char)line[2 * len + 1])) {
        const char pair[3] = {line[2 * len], line[2 * len + 1], '\0'};
        line[len++] = (char)strtoul(pair, NULL, 16);
    }
    return len;
}

#endif
