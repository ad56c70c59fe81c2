/* Note, internals: the text that keys, signatures and checkpoints are made of. Any thread. */
#ifndef COMMON_NOTE_PRIV_H
#define COMMON_NOTE_PRIV_H

#include "common/note.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NOTE_SIGNATURE_START  "\xE2\x80\x94 "                         /* em dash and space */
#define NOTE_KEYED_BYTES      (NOTE_KEY_HASH_BYTES + SIGNATURE_BYTES) /* what Ed25519 signs with */
#define NOTE_BASE64_SIZE(len) (((len) + 2) / 3 * 4 + 1)               /* with a NUL */

/* Bytes that belong to somebody else. */
struct note_span {
    const char *data;
    size_t len;
};

/* UTF-8 without control characters but the newline. */
bool note_is_text(struct note_span text);

/* 1 to NOTE_NAME_SIZE - 1 bytes of UTF-8 without spaces, '+' and control characters. */
bool note_is_key_name(struct note_span name);

bool note_starts_with(struct note_span span, const char *start);

/* Takes what comes before the first separator out of the rest, and the separator too. False, and
 * nothing taken, if there is none. */
bool note_take_until(struct note_span *rest, char separator, struct note_span *ret_part);

/* Reads base64 (RFC 4648 §4) that is padded and has zeros in the bits nobody uses, all of it, and
 * keeps the first max bytes; *ret_len counts them all. False, and ret_data holds anything, if it is
 * something else. */
bool note_base64_read(struct note_span text, uint8_t *ret_data, size_t max, size_t *ret_len);

/* The same for exactly len bytes. */
bool note_base64_read_exactly(struct note_span text, uint8_t *ret_data, size_t len);

/* text holds NOTE_BASE64_SIZE(len). */
void note_base64_write(const uint8_t *data, size_t len, char *text);

#endif
