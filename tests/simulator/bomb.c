/*
 * A gzip member (RFC 1952) of one deflate block in which a zero bit pair means "258 more zero
 * bytes". So any run of zero bytes can stand in its middle: each adds 1032 bytes to the output.
 */
#include "bomb.h"

#include <string.h>

#include "base.h"

#define BOMB_MIDDLE_BYTES ((size_t)1 << 20)

/* gzip header, then the block header and one literal zero. */
static const unsigned char bomb_start[] = {
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0xed, 0xc1, 0x01,
    0x01, 0x00, 0x00, 0x00, 0x82, 0x20, 0xff, 0xaf, 0x6e, 0x48, 0x40, 0x01,
};

/* End of block, then CRC-32 and length of the 1,082,131,465 zero bytes. */
static const unsigned char bomb_end[] = {
    0xf7, 0x06, 0x0b, 0x01, 0x40, 0x36, 0x09, 0x04, 0x80, 0x40,
};

char *bomb_new(size_t *ret_len)
{
    size_t len = sizeof(bomb_start) + BOMB_MIDDLE_BYTES + sizeof(bomb_end);
    char *bomb = sim_calloc(len, 1);

    memcpy(bomb, bomb_start, sizeof(bomb_start));
    memcpy(bomb + len - sizeof(bomb_end), bomb_end, sizeof(bomb_end));
    *ret_len = len;
    return bomb;
}
