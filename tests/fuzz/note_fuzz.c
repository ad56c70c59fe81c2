/* Note: any bytes as a file of checkpoints, as one note, and as a vkey. The iterator moves with
 * each piece and stays inside. A checkpoint that reads is written in one way only: its first lines
 * are what its fields say. Signed anew it verifies, reads the same, and one changed byte anywhere
 * makes it fail. Nothing verifies under a key that did not sign: the key here signs nothing that is
 * fed. A vkey that reads is what its key is formatted as. */
#include "fuzz.h"

#include "common/note.h"

#include <assert.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <string.h>

/* Made once; nobody else has it. */
static const struct signing_key *own_key(void)
{
    static struct signing_key *key;

    key = key != NULL ? key : signing_key_generate();
    return key;
}

static enum err verify(const char *text, size_t len, const char *name)
{
    struct note_verifier verifier;
    uint8_t public_key[PUBLIC_KEY_BYTES];

    signing_key_public(own_key(), public_key);
    if (note_verifier_init(&verifier, name, public_key, NULL) != OK) {
        return ERR_NOT_FOUND;
    }
    return note_verify(text, len, &verifier, NULL);
}

static void check_fields(const struct checkpoint *checkpoint, const char *text, size_t len)
{
    char root[NOTE_ROOT_BYTES * 2];
    CLEANUP(cleanup_free) char *start = NULL;

    (void)EVP_EncodeBlock((unsigned char *)root, checkpoint->root, NOTE_ROOT_BYTES);
    start = xasprintf("%s\n%" PRIu64 "\n%s\n", checkpoint->origin, checkpoint->size, root);
    assert(strlen(start) < len && memcmp(start, text, strlen(start)) == 0);
}

static void check_signed(const struct checkpoint *checkpoint, const uint8_t *data, size_t size)
{
    CLEANUP(cleanup_free) char *text = NULL;
    struct fuzz_random random = fuzz_random_of(data, size);
    struct checkpoint again;
    size_t len;

    if (note_sign_checkpoint(checkpoint, own_key(), &text, &len, NULL) != OK) {
        return; /* an origin that is no key name */
    }
    assert(note_parse_checkpoint(text, len, &again, NULL) == OK);
    assert(strcmp(again.origin, checkpoint->origin) == 0 && again.size == checkpoint->size);
    assert(memcmp(again.root, checkpoint->root, NOTE_ROOT_BYTES) == 0);
    assert(verify(text, len, checkpoint->origin) == OK);
    size_t at = fuzz_random_below(&random, len);
    text[at] = (char)(text[at] ^ 1 << fuzz_random_below(&random, 8));
    assert(verify(text, len, checkpoint->origin) != OK);
}

static void check_note(const char *text, size_t len, const uint8_t *data, size_t size)
{
    struct checkpoint checkpoint;

    memset(&checkpoint, 0x55, sizeof(checkpoint));
    if (note_parse_checkpoint(text, len, &checkpoint, NULL) == OK) {
        enum err err = verify(text, len, checkpoint.origin);
        assert(err == ERR_NOT_FOUND || err == ERR_INVALID);
        check_fields(&checkpoint, text, len);
        check_signed(&checkpoint, data, size);
    } else {
        assert(checkpoint.size == UINT64_C(0x5555555555555555));
        assert(verify(text, len, "tollgate/gw-1") != OK);
    }
}

static void check_file(const uint8_t *data, size_t size)
{
    struct note_iterator iterator = {.data = (const char *)data, .len = size};
    size_t before = 0;
    const char *text;
    size_t len;
    enum note_piece piece;

    while ((piece = note_next(&iterator, &text, &len)) != NOTE_END) {
        assert(iterator.offset > before && iterator.offset <= size && len > 0);
        assert(text >= (const char *)data + before);
        assert(text + len == (const char *)data + iterator.offset);
        if (piece == NOTE_WHOLE) {
            CLEANUP(cleanup_free) char *copy = fuzz_copy((struct fuzz_piece){text, len});
            check_note(copy, len, data, size);
        }
        before = iterator.offset;
    }
}

static void check_vkey(const char *text, size_t len)
{
    struct note_verifier verifier;

    if (note_vkey_parse(text, len, &verifier, NULL) == OK) {
        CLEANUP(cleanup_free) char *same = note_vkey_format(&verifier);
        assert(strlen(same) == len && memcmp(same, text, len) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_note((const char *)data, size, data, size);
    check_file(data, size);
    check_vkey((const char *)data, size);
    return 0;
}
