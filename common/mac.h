/* MAC addresses as clients and the upstream spell them. Any thread. */
#ifndef COMMON_MAC_H
#define COMMON_MAC_H

#include "common/error.h"
#include "common/memory.h"

#define MAC_TEXT_SIZE 18

/* Reads six octets with ':' or '-' between all of them or bare, any case, into the canonical
 * lower-case colon form. ERR_INVALID for anything else. */
enum err mac_canonical(const char *text, char ret_text[MAC_TEXT_SIZE]) MUST_CHECK;

#endif
