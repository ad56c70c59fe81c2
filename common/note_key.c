/* Note, the keys that verify: see note.h. */
#include "common/note_priv.h"

#include "common/crypto.h"
#include "common/file.h"

#include <string.h>

#define ALGORITHM_ED25519 0x01
#define VKEY_KEY_BYTES    (1 + PUBLIC_KEY_BYTES)
#define PEM_START         "-----BEGIN "

static void keep_name(char ret_name[NOTE_NAME_SIZE], struct note_span name)
{
    memcpy(ret_name, name.data, name.len);
    ret_name[name.len] = '\0';
}

enum err note_verifier_init(struct note_verifier *verifier, const char *name,
                            const uint8_t public_key[PUBLIC_KEY_BYTES], struct error *error)
{
    struct note_span span = {name, strnlen(name, NOTE_NAME_SIZE)};

    if (!note_is_key_name(span)) {
        return error_set(error, ERR_INVALID,
                         "a key's name is 1 to %d bytes of UTF-8 without spaces and '+'",
                         NOTE_NAME_SIZE - 1);
    }
    memset(verifier, 0, sizeof(*verifier));
    keep_name(verifier->name, span);
    memcpy(verifier->public_key, public_key, PUBLIC_KEY_BYTES);
    return OK;
}

void note_key_hash(const struct note_verifier *verifier, uint8_t ret_hash[NOTE_KEY_HASH_BYTES])
{
    uint8_t data[NOTE_NAME_SIZE + 1 + VKEY_KEY_BYTES];
    uint8_t digest[SHA256_BYTES];
    size_t len = strnlen(verifier->name, NOTE_NAME_SIZE);

    memcpy(data, verifier->name, len);
    data[len++] = '\n';
    data[len++] = ALGORITHM_ED25519;
    memcpy(data + len, verifier->public_key, PUBLIC_KEY_BYTES);
    crypto_sha256(data, len + PUBLIC_KEY_BYTES, digest);
    memcpy(ret_hash, digest, NOTE_KEY_HASH_BYTES);
}

char *note_vkey_format(const struct note_verifier *verifier)
{
    uint8_t hash[NOTE_KEY_HASH_BYTES];
    char hex[2 * NOTE_KEY_HASH_BYTES + 1];
    uint8_t key[VKEY_KEY_BYTES] = {ALGORITHM_ED25519};
    char base64[NOTE_BASE64_SIZE(VKEY_KEY_BYTES)];

    note_key_hash(verifier, hash);
    crypto_hex(hash, sizeof(hash), hex);
    memcpy(key + 1, verifier->public_key, PUBLIC_KEY_BYTES);
    note_base64_write(key, sizeof(key), base64);
    return xasprintf("%s+%s+%s", verifier->name, hex, base64);
}

enum err note_vkey_parse(const char *text, size_t len, struct note_verifier *ret_verifier,
                         struct error *error)
{
    struct note_span rest = {text, len};
    struct note_span name;
    struct note_span hex;
    uint8_t key[VKEY_KEY_BYTES];
    struct note_verifier verifier = {0};

    if (!note_take_until(&rest, '+', &name) || !note_is_key_name(name) ||
        !note_take_until(&rest, '+', &hex) || !note_base64_read_exactly(rest, key, sizeof(key)) ||
        key[0] != ALGORITHM_ED25519) {
        return error_set(error, ERR_MALFORMED, "not the vkey of an Ed25519 key (name+hash+key)");
    }
    keep_name(verifier.name, name);
    memcpy(verifier.public_key, key + 1, PUBLIC_KEY_BYTES);
    CLEANUP(cleanup_free) char *right = note_vkey_format(&verifier);
    if (strlen(right) != len || memcmp(right, text, len) != 0) {
        return error_set(error, ERR_MALFORMED,
                         "the key hash in the vkey is not that of its name and key");
    }
    *ret_verifier = verifier;
    return OK;
}

static enum err read_verifier(struct note_span text, struct note_verifier *ret_verifier,
                              struct error *error)
{
    struct note_verifier verifier = {0};
    enum err err;

    if (note_starts_with(text, PEM_START)) {
        err = public_key_from_pem(text.data, text.len, verifier.public_key, error);
    } else {
        if (text.len > 0 && text.data[text.len - 1] == '\n') {
            text.len--;
        }
        err = note_vkey_parse(text.data, text.len, &verifier, error);
    }
    if (err == OK) {
        *ret_verifier = verifier;
    }
    return err;
}

enum err note_load_verifier(const char *path, struct note_verifier *ret_verifier,
                            struct error *error)
{
    CLEANUP(cleanup_free) char *text = NULL;
    size_t len = 0;
    struct error detail = {0};
    enum err err = file_read(path, KEY_FILE_MAX_BYTES, &text, &len, error);

    if (err != OK) {
        return err;
    }
    err = read_verifier((struct note_span){text, len}, ret_verifier, &detail);
    return err == OK ? OK : error_set(error, err, "%s: %s", path, detail.text);
}
