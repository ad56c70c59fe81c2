/* Note: see note.h. A note is checked whole before anything is made of it. */
#include "common/note.h"

#include "common/note_priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- Signing ---- */

enum err note_sign_checkpoint(const struct checkpoint *checkpoint, const struct signing_key *key,
                              char **ret_text, size_t *ret_len, struct error *error)
{
    struct note_verifier verifier;
    uint8_t public_key[PUBLIC_KEY_BYTES];
    uint8_t keyed[NOTE_KEYED_BYTES];
    char root[NOTE_BASE64_SIZE(NOTE_ROOT_BYTES)];
    char base64[NOTE_BASE64_SIZE(NOTE_KEYED_BYTES)];

    signing_key_public(key, public_key);
    enum err err = note_verifier_init(&verifier, checkpoint->origin, public_key, error);
    if (err != OK) {
        return err;
    }
    note_base64_write(checkpoint->root, NOTE_ROOT_BYTES, root);
    CLEANUP(cleanup_free)
    char *body = xasprintf("%s\n%" PRIu64 "\n%s\n", verifier.name, checkpoint->size, root);
    note_key_hash(&verifier, keyed);
    signing_key_sign(key, body, strlen(body), keyed + NOTE_KEY_HASH_BYTES);
    note_base64_write(keyed, sizeof(keyed), base64);
    *ret_text = xasprintf("%s\n" NOTE_SIGNATURE_START "%s %s\n", body, verifier.name, base64);
    if (ret_len != NULL) {
        *ret_len = strlen(*ret_text);
    }
    return OK;
}

/* ---- Taking a note apart ---- */

struct signature {
    struct note_span name;
    uint8_t keyed[NOTE_KEYED_BYTES]; /* the first bytes of what is longer */
    size_t len;
};

/* Takes the next signature line, newline included. */
static bool take_signature(struct note_span *lines, struct signature *ret_signature)
{
    const size_t start = strlen(NOTE_SIGNATURE_START);
    struct note_span line;

    if (!note_take_until(lines, '\n', &line) || !note_starts_with(line, NOTE_SIGNATURE_START)) {
        return false;
    }
    line = (struct note_span){line.data + start, line.len - start};
    return note_take_until(&line, ' ', &ret_signature->name) &&
           note_is_key_name(ret_signature->name) &&
           note_base64_read(line, ret_signature->keyed, sizeof(ret_signature->keyed),
                            &ret_signature->len) &&
           ret_signature->len > NOTE_KEY_HASH_BYTES;
}

static bool signatures_are_well_formed(struct note_span lines)
{
    struct signature signature;
    size_t count = 0;

    for (; lines.len > 0; count++) {
        if (count == NOTE_MAX_SIGNATURES || !take_signature(&lines, &signature)) {
            return false;
        }
    }
    return count > 0;
}

/* Splits a note at its last empty line into what is signed and the signature lines, which are all
 * well formed when this succeeds. */
static enum err split_note(struct note_span note, struct note_span *ret_body,
                           struct note_span *ret_signatures, struct error *error)
{
    size_t end = note.len;

    if (note.len > NOTE_MAX_BYTES) {
        return error_set(error, ERR_MALFORMED, "the note is longer than %d bytes", NOTE_MAX_BYTES);
    }
    if (!note_is_text(note)) {
        return error_set(error, ERR_MALFORMED, "the note is not UTF-8, or has control characters");
    }
    while (end >= 2 && memcmp(note.data + end - 2, "\n\n", 2) != 0) {
        end--;
    }
    if (end < 2) {
        return error_set(error, ERR_MALFORMED,
                         "the note has no empty line between text and signatures");
    }
    struct note_span signatures = {note.data + end, note.len - end};
    if (!signatures_are_well_formed(signatures)) {
        return error_set(error, ERR_MALFORMED,
                         "the note does not end in 1 to %d signature lines, all well formed",
                         NOTE_MAX_SIGNATURES);
    }
    *ret_body = (struct note_span){note.data, end - 1};
    *ret_signatures = signatures;
    return OK;
}

/* ---- Checkpoints ---- */

/* Decimal digits without leading zeros. */
static bool read_size(struct note_span digits, uint64_t *ret_size)
{
    uint64_t size = 0;

    if (digits.len == 0 || (digits.len > 1 && digits.data[0] == '0')) {
        return false;
    }
    for (size_t i = 0; i < digits.len; i++) {
        char c = digits.data[i];
        if (c < '0' || c > '9') {
            return false;
        }
        uint64_t value = (uint64_t)(c - '0');
        if (size > (UINT64_MAX - value) / 10) {
            return false;
        }
        size = size * 10 + value;
    }
    *ret_size = size;
    return true;
}

/* The first three lines, and others that are not empty. */
static enum err read_body(struct note_span body, struct checkpoint *ret_checkpoint,
                          struct error *error)
{
    struct note_span line;

    if (!note_take_until(&body, '\n', &line) || line.len == 0 || line.len >= NOTE_NAME_SIZE) {
        return error_set(error, ERR_MALFORMED,
                         "the first line of the checkpoint is not an origin of 1 to %d bytes",
                         NOTE_NAME_SIZE - 1);
    }
    memcpy(ret_checkpoint->origin, line.data, line.len);
    ret_checkpoint->origin[line.len] = '\0';
    if (!note_take_until(&body, '\n', &line) || !read_size(line, &ret_checkpoint->size)) {
        return error_set(error, ERR_MALFORMED,
                         "the second line of the checkpoint is not a size: decimal digits without "
                         "leading zeros, below 2^64");
    }
    if (!note_take_until(&body, '\n', &line) ||
        !note_base64_read_exactly(line, ret_checkpoint->root, NOTE_ROOT_BYTES)) {
        return error_set(error, ERR_MALFORMED,
                         "the third line of the checkpoint is not the base64 of a root hash");
    }
    while (body.len > 0) {
        if (!note_take_until(&body, '\n', &line) || line.len == 0) {
            return error_set(error, ERR_MALFORMED, "the checkpoint has an empty extension line");
        }
    }
    return OK;
}

enum err note_parse_checkpoint(const char *text, size_t len, struct checkpoint *ret_checkpoint,
                               struct error *error)
{
    struct note_span body = {NULL, 0};
    struct note_span signatures = {NULL, 0};
    struct checkpoint checkpoint = {.size = 0};
    enum err err = split_note((struct note_span){text, len}, &body, &signatures, error);

    if (err == OK) {
        err = read_body(body, &checkpoint, error);
    }
    if (err == OK) {
        *ret_checkpoint = checkpoint;
    }
    return err;
}

/* ---- Verification ---- */

static bool signed_by(const struct signature *signature, const char *name,
                      const uint8_t key_hash[NOTE_KEY_HASH_BYTES])
{
    return signature->name.len == strlen(name) &&
           memcmp(signature->name.data, name, signature->name.len) == 0 &&
           memcmp(signature->keyed, key_hash, NOTE_KEY_HASH_BYTES) == 0;
}

enum err note_verify(const char *text, size_t len, const struct note_verifier *verifier,
                     struct error *error)
{
    struct note_span body = {NULL, 0};
    struct note_span lines = {NULL, 0};
    struct signature signature;
    uint8_t key_hash[NOTE_KEY_HASH_BYTES];
    bool found = false;
    enum err err = split_note((struct note_span){text, len}, &body, &lines, error);

    if (err != OK) {
        return err;
    }
    note_key_hash(verifier, key_hash);
    while (lines.len > 0 && take_signature(&lines, &signature)) {
        if (!signed_by(&signature, verifier->name, key_hash)) {
            continue;
        }
        found = true;
        if (signature.len != NOTE_KEYED_BYTES ||
            public_key_verify(verifier->public_key, body.data, body.len,
                              signature.keyed + NOTE_KEY_HASH_BYTES) != OK) {
            return error_set(error, ERR_INVALID, "the signature of %s does not verify",
                             verifier->name);
        }
    }
    return found ? OK
                 : error_set(error, ERR_NOT_FOUND, "there is no signature of this key of %s",
                             verifier->name);
}

/* ---- Files of notes ---- */

/* A signature line, or what a cut left of its first bytes. */
static bool may_be_signature(struct note_span rest)
{
    size_t start = strlen(NOTE_SIGNATURE_START);

    return rest.len > 0 &&
           memcmp(rest.data, NOTE_SIGNATURE_START, rest.len < start ? rest.len : start) == 0;
}

/* Takes a note by its outline out of the rest, or all that can be the beginning of one. */
static enum note_piece take_piece(struct note_span *rest)
{
    struct note_span line;
    size_t signatures = 0;

    do {
        if (!note_take_until(rest, '\n', &line)) {
            rest->len = 0;
            return NOTE_CUT;
        }
    } while (line.len > 0);
    for (; may_be_signature(*rest); signatures++) {
        if (!note_take_until(rest, '\n', &line)) {
            rest->len = 0;
            return NOTE_CUT;
        }
    }
    return signatures > 0 ? NOTE_WHOLE : NOTE_CUT;
}

enum note_piece note_next(struct note_iterator *iterator, const char **ret_text, size_t *ret_len)
{
    while (iterator->offset < iterator->len && iterator->data[iterator->offset] == '\n') {
        iterator->offset++;
    }
    if (iterator->offset >= iterator->len) {
        return NOTE_END;
    }
    const char *start = iterator->data + iterator->offset;
    struct note_span rest = {start, iterator->len - iterator->offset};
    enum note_piece piece = take_piece(&rest);
    iterator->offset = iterator->len - rest.len;
    *ret_text = start;
    *ret_len = iterator->len - rest.len - (size_t)(start - iterator->data);
    return piece;
}
