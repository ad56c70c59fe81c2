/* Tests of common/note: known notes, what is refused and why, and files of notes. */
#include "common/crypto.h"
#include "common/file.h"
#include "common/note.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

/* The key of RFC 8032, test 1, and a checkpoint that the openssl command signed with it. */
#define PEM                                                                                        \
    "-----BEGIN PRIVATE KEY-----\n"                                                                \
    "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"                           \
    "-----END PRIVATE KEY-----\n"
#define ROOT "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
#define BODY "tollgate/gw-1\n20852163\n" ROOT "\n"
#define SIGNATURE                                                                                    \
    "— tollgate/gw-1 WIXt8gzZva2mpOUejJ6C3YT8P0TuI4nkVc22Y3AYtbRP8o9zhN4NGhTwLWvMCviAKdoEcj0D30af" \
    "ogkTECQzmPZ3gws=\n"
#define NOTE BODY "\n" SIGNATURE
#define VKEY "tollgate/gw-1+5885edf2+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea"

#define STRANGER "— example.com/witness AAAAAAE=\n" /* well formed, of whatever kind */

static struct note_verifier verifier_of(const char *vkey)
{
    struct note_verifier verifier;
    struct error error = {0};

    if (note_vkey_parse(vkey, strlen(vkey), &verifier, &error) != OK) {
        fail_msg("%s: %s", vkey, error.text);
    }
    return verifier;
}

static enum err verify(const char *text, const struct note_verifier *verifier)
{
    return note_verify(text, strlen(text), verifier, NULL);
}

static enum err parse(const char *text)
{
    struct checkpoint checkpoint;

    return note_parse_checkpoint(text, strlen(text), &checkpoint, NULL);
}

/* ---- Known notes ---- */

static void test_examples_of_others_verify(void **state)
{
    /* the example of the specification; that of golang.org/x/mod/sumdb/note */
    struct note_verifier foo =
        verifier_of("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k");
    struct note_verifier peter =
        verifier_of("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
    static const char foo_note[] = "This is an example message.\n\n— example.com/foo "
                                   "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2O"
                                   "NncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
    static const char peter_note[] =
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n\n"
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotp"
        "RZb6KE6RyyBwJnAM=\n";

    (void)state;
    assert_int_equal(verify(foo_note, &foo), OK);
    assert_int_equal(verify(peter_note, &peter), OK);
    assert_int_equal(verify(peter_note, &foo), ERR_NOT_FOUND);
    assert_int_equal(parse(foo_note), ERR_MALFORMED);
}

static void test_the_example_checkpoint_is_read(void **state)
{
    static const char text[] =
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "— example.com/behind-the-sofa "
        "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcy"
        "v2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";
    struct checkpoint checkpoint;
    char hex[SHA256_HEX_SIZE];

    (void)state;
    assert_int_equal(note_parse_checkpoint(text, strlen(text), &checkpoint, NULL), OK);
    assert_string_equal(checkpoint.origin, "example.com/behind-the-sofa");
    assert_true(checkpoint.size == 20852163);
    crypto_hex(checkpoint.root, NOTE_ROOT_BYTES, hex);
    assert_string_equal(hex, "0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62");
}

static void test_signing_gives_the_known_bytes(void **state)
{
    struct checkpoint checkpoint = {.origin = "tollgate/gw-1", .size = 20852163};
    struct note_verifier verifier = verifier_of(VKEY);
    struct checkpoint back;
    struct signing_key *key = NULL;
    CLEANUP(cleanup_free) char *text = NULL;
    size_t len = 0;

    (void)state;
    crypto_sha256("", 0, checkpoint.root);
    assert_int_equal(signing_key_from_pem(PEM, strlen(PEM), &key, NULL), OK);
    assert_int_equal(note_sign_checkpoint(&checkpoint, key, &text, &len, NULL), OK);
    assert_string_equal(text, NOTE);
    assert_int_equal(len, strlen(NOTE));
    assert_int_equal(note_parse_checkpoint(text, len, &back, NULL), OK);
    assert_string_equal(back.origin, checkpoint.origin);
    assert_true(back.size == checkpoint.size);
    assert_memory_equal(back.root, checkpoint.root, NOTE_ROOT_BYTES);
    assert_int_equal(note_verify(text, len, &verifier, NULL), OK);

    memcpy(checkpoint.origin, "a b", 4);
    char *untouched = text;
    assert_int_equal(note_sign_checkpoint(&checkpoint, key, &text, &len, NULL), ERR_INVALID);
    memset(checkpoint.origin, 'a', sizeof(checkpoint.origin)); /* without an end */
    assert_int_equal(note_sign_checkpoint(&checkpoint, key, &text, &len, NULL), ERR_INVALID);
    assert_ptr_equal(text, untouched);
    signing_key_free(key);
}

static void test_the_whole_range_of_sizes_and_names(void **state)
{
    static const uint64_t sizes[] = {0, 1, 9, 10, INT64_MAX, UINT64_MAX};
    struct signing_key *key = signing_key_generate();
    struct note_verifier verifier;
    uint8_t public_key[PUBLIC_KEY_BYTES];

    (void)state;
    signing_key_public(key, public_key);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct checkpoint checkpoint = {.size = sizes[i]};
        struct checkpoint back;
        CLEANUP(cleanup_free) char *text = NULL;
        size_t len = 0;

        memset(checkpoint.origin, 'x', i == 0 ? NOTE_NAME_SIZE - 1 : i);
        crypto_random(checkpoint.root, NOTE_ROOT_BYTES);
        assert_int_equal(note_sign_checkpoint(&checkpoint, key, &text, &len, NULL), OK);
        assert_int_equal(note_parse_checkpoint(text, len, &back, NULL), OK);
        assert_true(back.size == sizes[i]);
        assert_string_equal(back.origin, checkpoint.origin);
        assert_memory_equal(back.root, checkpoint.root, NOTE_ROOT_BYTES);
        assert_int_equal(note_verifier_init(&verifier, back.origin, public_key, NULL), OK);
        assert_int_equal(note_verify(text, len, &verifier, NULL), OK);
    }
    signing_key_free(key);
}

/* ---- What is refused ---- */

#define BAD_TEXT(text) BODY text "\n" SIGNATURE

static const char *const not_notes[] = {
    "",
    "\n",
    "\n\n",
    BODY,
    BODY "\n",
    SIGNATURE,
    BODY SIGNATURE,
    BODY "\n" SIGNATURE "\n",
    NOTE "x",
    NOTE "x\n",
    NOTE "\n" NOTE "\n",
    BODY "\n" STRANGER "\n" SIGNATURE "x",
    /* control characters and bad UTF-8: overlong, surrogate, too large, cut, alone */
    BAD_TEXT("\t\n"),
    BAD_TEXT("\r\n"),
    BAD_TEXT("\x1B[2J\n"),
    BAD_TEXT("\x7F\n"),
    BAD_TEXT("\xC2\x85\n"),
    BAD_TEXT("\xC0\xAF\n"),
    BAD_TEXT("\xE0\x80\xAF\n"),
    BAD_TEXT("\xF0\x80\x80\xAF\n"),
    BAD_TEXT("\xED\xA0\x80\n"),
    BAD_TEXT("\xF4\x90\x80\x80\n"),
    BAD_TEXT("\xF5\x80\x80\x80\n"),
    BAD_TEXT("\xF8\xB0\x80\x80\n"),
    BAD_TEXT("\xE2\x80\n"),
    BAD_TEXT("\xE2\n"),
    BAD_TEXT("\x80\n"),
    BAD_TEXT("\xFF\n"),
    BODY "\n" SIGNATURE "\xE2\x80",
    /* signature lines: dash, spaces, name, base64 */
    BODY "\n- tollgate/gw-1 AAAAAAE=\n",
    BODY "\n—tollgate/gw-1 AAAAAAE=\n",
    BODY "\n—  AAAAAAE=\n",
    BODY "\n— tollgate/gw-1\n",
    BODY "\n— tollgate/gw-1 \n",
    BODY "\n— tollgate/gw-1 AAAAAAE= \n",
    BODY "\n— tollgate/gw-1  AAAAAAE=\n",
    BODY "\n— tollgate gw-1 AAAAAAE=\n",
    BODY "\n— tollgate+gw-1 AAAAAAE=\n",
    BODY "\n— tollgate\xC2\xA0gw-1 AAAAAAE=\n",
    BODY "\n— tollgate\xE2\x80\x83gw-1 AAAAAAE=\n",
    BODY "\n— tollgate/gw-1 AAAAAA==\n", /* four bytes: a key hash and no signature */
    BODY "\n— tollgate/gw-1 AAAAAAF=\n", /* bits that nobody uses */
    BODY "\n— tollgate/gw-1 AAAAAAAAAB==\n",
    BODY "\n— tollgate/gw-1 AAAAAAE\n",
    BODY "\n— tollgate/gw-1 AAAAAAE==\n",
    BODY "\n— tollgate/gw-1 AAAAA===\n",
    BODY "\n— tollgate/gw-1 AAAAA=E=\n",
    BODY "\n— tollgate/gw-1 AAAAA_E=\n",
    BODY "\n— tollgate/gw-1 ====\n",
};

static void test_what_is_no_note_is_malformed(void **state)
{
    struct note_verifier verifier = verifier_of(VKEY);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(not_notes); i++) {
        struct checkpoint checkpoint = {.size = 7};
        struct error error = {0};
        size_t len = strlen(not_notes[i]);
        CLEANUP(cleanup_free) char *exact = xcalloc(1, len); /* no byte more: no NUL */

        memcpy(exact, not_notes[i], len);
        if (note_parse_checkpoint(exact, len, &checkpoint, &error) != ERR_MALFORMED ||
            note_verify(exact, len, &verifier, &error) != ERR_MALFORMED) {
            fail_msg("taken for a note: %s", not_notes[i]);
        }
        assert_int_equal(error.code, ERR_MALFORMED);
        assert_true(error.text[0] != '\0' && checkpoint.size == 7);
    }
    assert_int_equal(note_verify("a\0b\n\n" STRANGER, 5 + strlen(STRANGER), &verifier, NULL),
                     ERR_MALFORMED);
}

/* Notes all of them, but no checkpoints: origin, size, root, extension lines. */
static const char *const not_checkpoints[] = {
    "\n\n" STRANGER,
    "o\n\n" STRANGER,
    "o\n1\n\n" STRANGER,
    "\n1\n" ROOT "\n\n" STRANGER,
    "o\n\n" ROOT "\n\n" STRANGER,
    "o\n01\n" ROOT "\n\n" STRANGER,
    "o\n00\n" ROOT "\n\n" STRANGER,
    "o\n-1\n" ROOT "\n\n" STRANGER,
    "o\n+1\n" ROOT "\n\n" STRANGER,
    "o\n 1\n" ROOT "\n\n" STRANGER,
    "o\n1 \n" ROOT "\n\n" STRANGER,
    "o\n0x1\n" ROOT "\n\n" STRANGER,
    "o\n1e3\n" ROOT "\n\n" STRANGER,
    "o\n18446744073709551616\n" ROOT "\n\n" STRANGER,
    "o\n99999999999999999999999999\n" ROOT "\n\n" STRANGER,
    "o\n1\n" ROOT " \n\n" STRANGER,
    "o\n1\n " ROOT "\n\n" STRANGER,
    "o\n1\n" ROOT "AAAA\n\n" STRANGER,
    "o\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU\n\n" STRANGER,
    "o\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=\n\n" STRANGER,
    "o\n1\n47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=\n\n" STRANGER,
    "o\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFUA\n\n" STRANGER,
    "o\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuA==\n\n" STRANGER,
    "o\n1\n" ROOT "\n\nextension\n\n" STRANGER,
    "o\n1\n" ROOT "\nextension\n\nextension\n\n" STRANGER,
    "o\n1\n" ROOT "\n\n\n" STRANGER,
};

static void test_what_is_no_checkpoint_is_malformed(void **state)
{
    struct note_verifier verifier = verifier_of(VKEY);
    char origin[NOTE_NAME_SIZE + 1];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(not_checkpoints); i++) {
        if (parse(not_checkpoints[i]) != ERR_MALFORMED) {
            fail_msg("taken for a checkpoint: %s", not_checkpoints[i]);
        }
        if (verify(not_checkpoints[i], &verifier) != ERR_NOT_FOUND) {
            fail_msg("no note: %s", not_checkpoints[i]);
        }
    }
    assert_int_equal(parse(NOTE NOTE), ERR_MALFORMED); /* the last empty line splits it */
    assert_int_equal(verify(NOTE NOTE, &verifier), ERR_INVALID);
    memset(origin, 'o', NOTE_NAME_SIZE);
    origin[NOTE_NAME_SIZE] = '\0';
    CLEANUP(cleanup_free) char *large = xasprintf("%s\n1\n" ROOT "\n\n" STRANGER, origin);
    assert_int_equal(parse(large), ERR_MALFORMED);
    assert_int_equal(parse(large + 1), OK);
}

static void test_numbers_and_lengths_are_bounded(void **state)
{
    struct note_verifier verifier = verifier_of(VKEY);
    char *text = xcalloc(1, NOTE_MAX_BYTES + 100);
    size_t len = 0;

    (void)state;
    len = (size_t)sprintf(text, BODY "\n" SIGNATURE);
    for (int i = 1; i < NOTE_MAX_SIGNATURES; i++) {
        len += (size_t)sprintf(text + len, STRANGER);
    }
    assert_int_equal(verify(text, &verifier), OK);
    (void)sprintf(text + len, STRANGER);
    assert_int_equal(verify(text, &verifier), ERR_MALFORMED);

    /* one long line, in a note of exactly the greatest length, and of a byte more */
    size_t end = strlen("\n\n" STRANGER);
    memset(text, 'x', NOTE_MAX_BYTES + 1);
    memcpy(text + NOTE_MAX_BYTES + 1 - end, "\n\n" STRANGER, end);
    assert_int_equal(note_verify(text + 1, NOTE_MAX_BYTES, &verifier, NULL), ERR_NOT_FOUND);
    assert_int_equal(note_verify(text, NOTE_MAX_BYTES + 1, &verifier, NULL), ERR_MALFORMED);
    free(text);
}

/* ---- Signatures ---- */

static void test_extensions_are_signed_and_others_ignored(void **state)
{
    struct note_verifier verifier = verifier_of(VKEY);
    struct note_verifier other = verifier;
    struct note_verifier renamed = verifier;

    (void)state;
    assert_int_equal(verify(BODY "\n" STRANGER SIGNATURE STRANGER, &verifier), OK);
    assert_int_equal(verify(BODY "\n" SIGNATURE SIGNATURE, &verifier), OK);
    assert_int_equal(verify(BODY "\n" STRANGER, &verifier), ERR_NOT_FOUND);
    other.public_key[5] ^= 1;
    assert_int_equal(verify(NOTE, &other), ERR_NOT_FOUND);
    assert_int_equal(note_verifier_init(&renamed, "tollgate/gw-2", verifier.public_key, NULL), OK);
    assert_int_equal(verify(NOTE, &renamed), ERR_NOT_FOUND);
    memset(renamed.name, 0, sizeof(renamed.name));
    assert_int_equal(verify(NOTE, &renamed), ERR_NOT_FOUND);

    assert_int_equal(parse(BODY "extension\n\n" SIGNATURE), OK);
    assert_int_equal(verify(BODY "extension\n\n" SIGNATURE, &verifier), ERR_INVALID);
    /* of our name and key hash, but too short, or too long: not ignored */
    assert_int_equal(verify(BODY "\n— tollgate/gw-1 WIXt8gE=\n", &verifier), ERR_INVALID);
    assert_int_equal(verify(BODY "\n" SIGNATURE "— tollgate/gw-1 WIXt8gE=\n", &verifier),
                     ERR_INVALID);
    assert_int_equal(verify(BODY "\n" SIGNATURE "— tollgate/gw-1 WIXt8gzZva2mpOUejJ6C3YT8P0TuI4nkV"
                                 "c22Y3AYtbRP8o9zhN4NGhTwLWvMCviAKdoEcj0D30afogkTECQzmPZ3gwsA\n",
                            &verifier),
                     ERR_INVALID);
}

/* Any single change of a byte, and any cut, loses the signature. */
static void test_every_changed_byte_is_seen(void **state)
{
    struct note_verifier verifier = verifier_of(VKEY);
    char text[] = NOTE;

    (void)state;
    for (size_t at = 0; at < strlen(NOTE); at++) {
        for (unsigned change = 1; change < 256; change += 3) {
            text[at] = (char)((uint8_t)NOTE[at] ^ change);
            assert_int_not_equal(note_verify(text, strlen(NOTE), &verifier, NULL), OK);
        }
        text[at] = NOTE[at];
        assert_int_equal(note_verify(text, at, &verifier, NULL), ERR_MALFORMED);
    }
    assert_int_equal(verify(text, &verifier), OK);
}

/* ---- Keys ---- */

static void test_vkeys_come_back_as_they_were(void **state)
{
    /* the third has a '+' in its base64 */
    static const char *const vkeys[] = {
        VKEY,
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "TEST+7997405c+AQcC+FTVKf0jlTdHDY3rbevmnKxxPjigCXlVtGe6RIr6",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(vkeys); i++) {
        struct note_verifier verifier = verifier_of(vkeys[i]);
        CLEANUP(cleanup_free) char *text = note_vkey_format(&verifier);

        assert_string_equal(text, vkeys[i]);
    }
}

static void test_what_is_no_vkey_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "tollgate/gw-1",
        "tollgate/gw-1+5885edf2",
        "+5885edf2+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea",
        "tollgate gw-1+5885edf2+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea",
        "tollgate/gw-1+5885EDF2+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea",
        "tollgate/gw-1+05885edf2+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea",
        "tollgate/gw-1+5885edf3+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea",
        "tollgate/gw-2+5885edf2+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea",
        "tollgate/gw-1+5885edf2+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea\n",
        "tollgate/gw-1+5885edf2+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1EaAAAA",
        /* of another kind, its key hash right: ECDSA of a note, a witness's cosignatures */
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct note_verifier verifier = {.name = "before"};
        if (note_vkey_parse(bad[i], strlen(bad[i]), &verifier, NULL) != ERR_MALFORMED) {
            fail_msg("taken for a vkey: %s", bad[i]);
        }
        assert_string_equal(verifier.name, "before");
    }
}

static void test_names_of_keys(void **state)
{
    static const char *const bad[] = {
        "",      " ",    "a b",           "a+b",       "a\nb",
        "a\x7F", "\xFF", "\xE3\x80\x80.", "a\xC2\x85", "a\xE2\x80\xA8",
    };
    static const char *const good[] = {"a", "tollgate/gw-1", "\xC3\xA9t\xC3\xA9",
                                       "\xF0\x9F\x9A\xA7"};
    uint8_t public_key[PUBLIC_KEY_BYTES] = {0};
    char large[NOTE_NAME_SIZE + 1];
    struct note_verifier verifier;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(note_verifier_init(&verifier, bad[i], public_key, NULL), ERR_INVALID);
    }
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(note_verifier_init(&verifier, good[i], public_key, NULL), OK);
        assert_string_equal(verifier.name, good[i]);
    }
    memset(large, 'a', NOTE_NAME_SIZE);
    large[NOTE_NAME_SIZE] = '\0';
    assert_int_equal(note_verifier_init(&verifier, large, public_key, NULL), ERR_INVALID);
    assert_int_equal(note_verifier_init(&verifier, large + 1, public_key, NULL), OK);
}

/* Loads a file of that content. */
static enum err load(const char *content, struct note_verifier *verifier, struct error *error)
{
    char path[] = "/tmp/tollgate-note-XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_true(write(fd, content, strlen(content)) == (ssize_t)strlen(content));
    assert_int_equal(close(fd), 0);
    enum err err = note_load_verifier(path, verifier, error);
    assert_int_equal(unlink(path), 0);
    return err;
}

static void test_public_key_files(void **state)
{
    struct note_verifier known = verifier_of(VKEY);
    struct note_verifier verifier = {.name = "before"};
    struct error error = {0};
    CLEANUP(cleanup_free) char *pem = public_key_pem(known.public_key);
    CLEANUP(cleanup_free) char *two = xasprintf("%s%s", pem, pem);

    (void)state;
    assert_int_equal(load(VKEY "\n\n", &verifier, &error), ERR_MALFORMED);
    assert_non_null(strstr(error.text, "/tmp/tollgate-note-"));
    assert_int_equal(load("", &verifier, &error), ERR_MALFORMED);
    assert_int_equal(load(two, &verifier, &error), ERR_MALFORMED);
    assert_int_equal(load(PEM, &verifier, &error), ERR_MALFORMED); /* a private key */
    assert_null(strstr(error.text, "MC4"));
    assert_int_equal(note_load_verifier("/tmp/tollgate-none", &verifier, &error), ERR_NOT_FOUND);
    assert_string_equal(verifier.name, "before");

    assert_int_equal(load(pem, &verifier, &error), OK);
    assert_string_equal(verifier.name, "");
    assert_memory_equal(verifier.public_key, known.public_key, PUBLIC_KEY_BYTES);
    assert_int_equal(load(VKEY "\n", &verifier, &error), OK);
    assert_string_equal(verifier.name, "tollgate/gw-1");
    assert_int_equal(load(VKEY, &verifier, &error), OK);
}

/* ---- Files of notes ---- */

struct piece {
    enum note_piece piece;
    const char *text;
};

static void check_pieces(const char *file, size_t len, const struct piece *expected)
{
    struct note_iterator iterator = {.data = file, .len = len};
    const char *text = NULL;
    size_t text_len = 0;

    for (; expected->text != NULL; expected++) {
        assert_int_equal(note_next(&iterator, &text, &text_len), expected->piece);
        assert_int_equal(text_len, strlen(expected->text));
        assert_memory_equal(text, expected->text, text_len);
    }
    assert_int_equal(note_next(&iterator, &text, &text_len), NOTE_END);
    assert_int_equal(iterator.offset, iterator.len);
}

#define CHECK_PIECES(file, ...)                                                                    \
    check_pieces(file, strlen(file), (const struct piece[]){__VA_ARGS__{NOTE_END, NULL}})

#define SECOND "tollgate/gw-1\n7\n" ROOT "\n\n" SIGNATURE STRANGER

static void test_files_are_split_into_notes(void **state)
{
    (void)state;
    check_pieces(NULL, 0, (const struct piece[]){{NOTE_END, NULL}});
    CHECK_PIECES("", );
    CHECK_PIECES("\n\n\n", );
    CHECK_PIECES(NOTE, {NOTE_WHOLE, NOTE}, );
    CHECK_PIECES(NOTE "\n", {NOTE_WHOLE, NOTE}, );
    CHECK_PIECES(NOTE "\n" SECOND "\n", {NOTE_WHOLE, NOTE}, {NOTE_WHOLE, SECOND}, );
    CHECK_PIECES(NOTE SECOND, {NOTE_WHOLE, NOTE}, {NOTE_WHOLE, SECOND}, );
    CHECK_PIECES("\n" NOTE "\n\n\n" SECOND "\n\n", {NOTE_WHOLE, NOTE}, {NOTE_WHOLE, SECOND}, );
    /* a cut note, ended by the next appender, does not take the next one with it */
    CHECK_PIECES(BODY "\n" NOTE "\n", {NOTE_CUT, BODY "\n"}, {NOTE_WHOLE, NOTE}, );
    CHECK_PIECES("tollgate/gw-1\n20\n\n" NOTE, {NOTE_CUT, "tollgate/gw-1\n20\n\n"},
                 {NOTE_WHOLE, NOTE}, );
    CHECK_PIECES(SIGNATURE "\n" NOTE, {NOTE_CUT, SIGNATURE "\n"}, {NOTE_WHOLE, NOTE}, );
}

/* Wherever the last append breaks off, the notes before are whole and the rest is told as cut. */
static void test_a_crash_in_an_append_is_told(void **state)
{
    static const char file[] = NOTE "\n" NOTE "\n";
    size_t second = strlen(NOTE "\n");

    (void)state;
    for (size_t len = second; len <= strlen(file); len++) {
        struct note_iterator iterator = {.data = file, .len = len};
        const char *text = NULL;
        size_t text_len = 0;

        assert_int_equal(note_next(&iterator, &text, &text_len), NOTE_WHOLE);
        assert_int_equal(text_len, strlen(NOTE));
        if (len > second) {
            bool whole = len >= second + strlen(NOTE);
            assert_int_equal(note_next(&iterator, &text, &text_len), whole ? NOTE_WHOLE : NOTE_CUT);
            assert_ptr_equal(text, file + second);
            assert_int_equal(text_len, whole ? strlen(NOTE) : len - second);
        }
        assert_int_equal(note_next(&iterator, &text, &text_len), NOTE_END);
    }
}

/* Whatever the bytes: pieces come to an end, lie in the file, and can be read without harm. */
static void test_any_bytes_come_to_an_end(void **state)
{
    static const char *const bits[] = {"\n", "\n\n", "— ", "a",  " ",       "AAAAAAE=", "\xE2\x80",
                                       "0",  "\0",   BODY, NOTE, SIGNATURE, ROOT};
    struct note_verifier verifier = verifier_of(VKEY);
    uint32_t random = 1;

    (void)state;
    for (int round = 0; round < 3000; round++) {
        char file[4096];
        size_t len = 0;
        for (int i = 0; i < round % 15; i++) {
            random = random * 1664525U + 1013904223U;
            const char *bit = bits[(random >> 16) % ARRAY_LEN(bits)];
            size_t bit_len = bit[0] != '\0' ? strlen(bit) : 1;
            memcpy(file + len, bit, bit_len);
            len += bit_len;
        }
        CLEANUP(cleanup_free) char *exact = xcalloc(1, len);
        memcpy(exact, file, len);
        struct note_iterator iterator = {.data = exact, .len = len};
        const char *text = NULL;
        size_t text_len = 0;
        size_t before = 0;
        while (note_next(&iterator, &text, &text_len) != NOTE_END) {
            struct checkpoint checkpoint;
            assert_true(text >= exact + before && text_len > 0);
            assert_ptr_equal(text + text_len, exact + iterator.offset);
            before = iterator.offset;
            if (note_verify(text, text_len, &verifier, NULL) == OK) {
                assert_int_equal(note_parse_checkpoint(text, text_len, &checkpoint, NULL), OK);
                assert_true(checkpoint.size == 20852163);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples_of_others_verify),
        cmocka_unit_test(test_the_example_checkpoint_is_read),
        cmocka_unit_test(test_signing_gives_the_known_bytes),
        cmocka_unit_test(test_the_whole_range_of_sizes_and_names),
        cmocka_unit_test(test_what_is_no_note_is_malformed),
        cmocka_unit_test(test_what_is_no_checkpoint_is_malformed),
        cmocka_unit_test(test_numbers_and_lengths_are_bounded),
        cmocka_unit_test(test_extensions_are_signed_and_others_ignored),
        cmocka_unit_test(test_every_changed_byte_is_seen),
        cmocka_unit_test(test_vkeys_come_back_as_they_were),
        cmocka_unit_test(test_what_is_no_vkey_is_refused),
        cmocka_unit_test(test_names_of_keys),
        cmocka_unit_test(test_public_key_files),
        cmocka_unit_test(test_files_are_split_into_notes),
        cmocka_unit_test(test_a_crash_in_an_append_is_told),
        cmocka_unit_test(test_any_bytes_come_to_an_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
