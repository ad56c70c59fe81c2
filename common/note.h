/* Note: signed notes (https://c2sp.org/signed-note) with Ed25519, and the checkpoints of a log in
 * that form (https://c2sp.org/tlog-checkpoint):
 *
 *     tollgate/gw-1                      origin
 *     20852163                           number of records
 *     CsUYapGGPo4dkMgIAUqom/Xajj7h...    root hash, base64
 *                                        (empty line)
 *     — tollgate/gw-1 Az3grlgtzPICa5...  name, base64(key hash || signature)
 *
 * The signature covers the text up to, not including, the empty line. Reading is strict and total:
 * UTF-8 without control characters, canonical decimals and base64, bounded sizes. Any thread, one
 * at a time. */
#ifndef COMMON_NOTE_H
#define COMMON_NOTE_H

#include "common/error.h"
#include "common/memory.h"
#include "common/signing_key.h"

#include <stddef.h>
#include <stdint.h>

#define NOTE_NAME_SIZE      256 /* of an origin or key name, the NUL included */
#define NOTE_MAX_BYTES      (128 * 1024)
#define NOTE_MAX_SIGNATURES 64
#define NOTE_ROOT_BYTES     32
#define NOTE_KEY_HASH_BYTES 4

/* ---- Keys that verify ---- */

/* A public key and the name it signs under. */
struct note_verifier {
    char name[NOTE_NAME_SIZE]; /* "" until it is known: then the key verifies nothing */
    uint8_t public_key[PUBLIC_KEY_BYTES];
};

/* ERR_INVALID: the name is empty, too long, not UTF-8, or has a space, '+' or control character. */
enum err note_verifier_init(struct note_verifier *verifier, const char *name,
                            const uint8_t public_key[PUBLIC_KEY_BYTES],
                            struct error *error) MUST_CHECK;

/* The first bytes of SHA-256(name || 0x0A || 0x01 || public key). */
void note_key_hash(const struct note_verifier *verifier, uint8_t ret_hash[NOTE_KEY_HASH_BYTES]);

/* The vkey: name+<8 hex of the key hash>+base64(0x01 || public key). The caller frees. */
char *note_vkey_format(const struct note_verifier *verifier);

/* Reads exactly one vkey, without a newline. ERR_MALFORMED: it is none, its key hash is wrong, or
 * it is of another kind than Ed25519. */
enum err note_vkey_parse(const char *text, size_t len, struct note_verifier *ret_verifier,
                         struct error *error) MUST_CHECK;

/* Reads a public key file, which need not be private: a PEM public key, and then the name is "", or
 * one line with a vkey. The error names the file. ERR_NOT_FOUND, ERR_IO, ERR_FULL, ERR_INVALID as
 * file_read(), and ERR_MALFORMED. Blocks on the disk. */
enum err note_load_verifier(const char *path, struct note_verifier *ret_verifier,
                            struct error *error) MUST_CHECK;

/* ---- Checkpoints ---- */

struct checkpoint {
    char origin[NOTE_NAME_SIZE];
    uint64_t size;
    uint8_t root[NOTE_ROOT_BYTES];
};

/* Writes the checkpoint, signed under its origin as the key's name. *ret_text is the caller's to
 * free and ends in a NUL that is not counted; ret_len may be NULL. ERR_INVALID: the origin is
 * no key name. */
enum err note_sign_checkpoint(const struct checkpoint *checkpoint, const struct signing_key *key,
                              char **ret_text, size_t *ret_len, struct error *error) MUST_CHECK;

/* Reads one note that is a checkpoint: nothing before, nothing after. VERIFIES NO SIGNATURE, though
 * each signature line must be well formed: call note_verify() on the same bytes before believing
 * it. Extension lines are allowed, and only covered by the signatures. ERR_MALFORMED. */
enum err note_parse_checkpoint(const char *text, size_t len, struct checkpoint *ret_checkpoint,
                               struct error *error) MUST_CHECK;

/* Verifies the signatures of one key on any note; those of others are ignored, but must be well
 * formed. The origin is not compared with the verifier's name: that is the caller's to do.
 * ERR_MALFORMED: it is no note; ERR_NOT_FOUND: no signature of this name and key hash; ERR_INVALID:
 * one of them does not verify. */
enum err note_verify(const char *text, size_t len, const struct note_verifier *verifier,
                     struct error *error) MUST_CHECK;

/* ---- Files to which checkpoints are appended ---- */

/* What is appended is the note and one empty line. Notes are told apart so: empty lines before a
 * note are skipped; it goes on to its first empty line, and over the signature lines after that; it
 * ends at the first line that is none, so a missing empty line, or several, do no harm. An appender
 * that finds the file not ending in an empty line adds what is missing, first: then a note that was
 * cut by a crash does not take the next one with it. */
struct note_iterator {
    const char *data; /* borrowed */
    size_t len;
    size_t offset; /* of what comes next */
};

enum note_piece {
    NOTE_WHOLE, /* a note by its outline; note_parse_checkpoint() says whether by its content */
    NOTE_CUT,   /* the beginning of a note without its signatures, or with half a line at the end */
    NOTE_END,   /* nothing but empty lines is left; the outputs are untouched */
};

/* Gives the next piece, as bytes of data, and moves past it. Each call takes at least a byte. */
enum note_piece note_next(struct note_iterator *iterator, const char **ret_text, size_t *ret_len);

#endif
