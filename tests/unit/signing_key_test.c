/* Tests of common/signing_key: the signatures of RFC 8032, PEM and its files. */
#include "common/crypto.h"
#include "common/file.h"
#include "common/signing_key.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

/* ---- RFC 8032 §7.1, tests 1 to 3 ---- */

struct vector {
    const char *seed;
    const char *public_key;
    const char *message;
    const char *signature;
};

static const struct vector vectors[] = {
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b"
     "4"
     "6bd25bf5f0595bbe24655141438e7a100b"},
    {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11"
     "d"
     "8c387b2eaeb4302aeeb00d291612bb0c00"},
    {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
     "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc"
     "6"
     "594a7c15e9716ed28dc027beceea1ec40a"},
};

/* The PEM of a seed, put together by hand from RFC 8410 §7. */
static char *seed_pem(const char *seed_hex)
{
    uint8_t der[48];
    unsigned char text[65];

    assert_int_equal(crypto_unhex("302e020100300506032b657004220420", der, 16), OK);
    assert_int_equal(crypto_unhex(seed_hex, der + 16, 32), OK);
    assert_int_equal(EVP_EncodeBlock(text, der, sizeof(der)), 64);
    return xasprintf("-----BEGIN PRIVATE KEY-----\n%s\n-----END PRIVATE KEY-----\n",
                     (const char *)text);
}

static void test_vectors_of_the_rfc(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        CLEANUP(cleanup_free) char *pem = seed_pem(vectors[i].seed);
        struct signing_key *key = NULL;
        uint8_t message[2];
        uint8_t public_key[PUBLIC_KEY_BYTES];
        uint8_t signature[SIGNATURE_BYTES];
        char hex[2 * SIGNATURE_BYTES + 1];
        size_t len = strlen(vectors[i].message) / 2;

        assert_int_equal(signing_key_from_pem(pem, strlen(pem), &key, NULL), OK);
        signing_key_public(key, public_key);
        crypto_hex(public_key, sizeof(public_key), hex);
        assert_string_equal(hex, vectors[i].public_key);
        assert_int_equal(crypto_unhex(vectors[i].message, message, len), OK);
        signing_key_sign(key, message, len, signature);
        crypto_hex(signature, sizeof(signature), hex);
        assert_string_equal(hex, vectors[i].signature);
        assert_int_equal(public_key_verify(public_key, message, len, signature), OK);
        signing_key_free(key);
    }
}

static void test_every_changed_bit_is_seen(void **state)
{
    struct signing_key *key = signing_key_generate();
    uint8_t public_key[PUBLIC_KEY_BYTES];
    uint8_t signature[SIGNATURE_BYTES];
    uint8_t message[4] = "abc";

    (void)state;
    signing_key_public(key, public_key);
    signing_key_sign(key, message, sizeof(message), signature);
    for (size_t bit = 0; bit < 8 * (SIGNATURE_BYTES + PUBLIC_KEY_BYTES + sizeof(message)); bit++) {
        size_t at = bit / 8;
        uint8_t *byte = at < SIGNATURE_BYTES ? &signature[at]
                        : at < SIGNATURE_BYTES + PUBLIC_KEY_BYTES
                            ? &public_key[at - SIGNATURE_BYTES]
                            : &message[at - SIGNATURE_BYTES - PUBLIC_KEY_BYTES];

        *byte ^= (uint8_t)(1U << bit % 8);
        assert_int_equal(public_key_verify(public_key, message, sizeof(message), signature),
                         ERR_INVALID);
        *byte ^= (uint8_t)(1U << bit % 8);
    }
    assert_int_equal(public_key_verify(public_key, message, sizeof(message), signature), OK);
    assert_int_equal(ERR_peek_error(), 0);
    signing_key_free(key);
    signing_key_free(NULL);
}

/* ---- PEM ---- */

static void test_pem_comes_back_as_the_same_key(void **state)
{
    struct signing_key *key = signing_key_generate();
    struct signing_key *back = NULL;
    struct secret *pem = signing_key_pem(key);
    uint8_t public_key[PUBLIC_KEY_BYTES];
    uint8_t other[PUBLIC_KEY_BYTES];
    size_t len = 0;
    const char *text = secret_reveal(pem, &len);

    (void)state;
    assert_int_equal(signing_key_from_pem(text, len, &back, NULL), OK);
    signing_key_public(key, public_key);
    signing_key_public(back, other);
    assert_memory_equal(public_key, other, sizeof(other));
    signing_key_free(back);
    assert_int_equal(signing_key_from_pem(text, len - 1, &back, NULL), OK); /* no last newline */
    signing_key_free(back);
    signing_key_free(key);
    secret_free(pem);

    CLEANUP(cleanup_free) char *public_text = public_key_pem(public_key);
    memset(other, 0, sizeof(other));
    assert_int_equal(public_key_from_pem(public_text, strlen(public_text), other, NULL), OK);
    assert_memory_equal(public_key, other, sizeof(other));
}

static void test_public_pem_is_that_of_rfc_8410(void **state)
{
    static const char example[] = "-----BEGIN PUBLIC KEY-----\n"
                                  "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
                                  "-----END PUBLIC KEY-----\n";
    uint8_t public_key[PUBLIC_KEY_BYTES];
    char hex[2 * PUBLIC_KEY_BYTES + 1];

    (void)state;
    assert_int_equal(public_key_from_pem(example, strlen(example), public_key, NULL), OK);
    crypto_hex(public_key, sizeof(public_key), hex);
    assert_string_equal(hex, "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1");
    CLEANUP(cleanup_free) char *pem = public_key_pem(public_key);
    assert_string_equal(pem, example);
}

/* The private key of RFC 8410 §10.3, and what is not quite it. */
#define GOOD_BODY "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"
#define GOOD_PEM  "-----BEGIN PRIVATE KEY-----\n" GOOD_BODY "-----END PRIVATE KEY-----\n"

static const char *const not_private[] = {
    "",
    "\n",
    "-----BEGIN ",
    "-----BEGIN PRIVATE KEY-----\n",
    "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
    "text before\n" GOOD_PEM,
    GOOD_PEM "text after\n",
    GOOD_PEM GOOD_PEM,
    "-----BEGIN PRIVATE KEY-----\n" GOOD_BODY,
    "-----BEGIN PRIVATE KEY-----\n" GOOD_BODY "-----END PUBLIC KEY-----\n",
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\n" GOOD_BODY "-----END ENCRYPTED PRIVATE KEY-----\n",
    "-----BEGIN EC PRIVATE KEY-----\n" GOOD_BODY "-----END EC PRIVATE KEY-----\n",
    "-----BEGIN PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n" GOOD_BODY
    "-----END PRIVATE KEY-----\n",
    /* a byte short, a byte long, Ed448's identifier, X25519's */
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVg=\n"
    "-----END PRIVATE KEY-----\n",
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhCAA==\n"
    "-----END PRIVATE KEY-----\n",
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VxBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"
    "-----END PRIVATE KEY-----\n",
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VuBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"
    "-----END PRIVATE KEY-----\n",
};

static void test_what_is_no_private_key_is_refused(void **state)
{
    struct signing_key *key = NULL;
    uint8_t public_key[PUBLIC_KEY_BYTES] = {5};
    struct error error = {0};

    (void)state;
    assert_int_equal(signing_key_from_pem(GOOD_PEM, strlen(GOOD_PEM), &key, &error), OK);
    signing_key_free(TAKE(key));
    for (size_t i = 0; i < ARRAY_LEN(not_private); i++) {
        const char *pem = not_private[i];

        error = (struct error){0};
        assert_int_equal(signing_key_from_pem(pem, strlen(pem), &key, &error), ERR_MALFORMED);
        assert_null(key);
        assert_non_null(strstr(error.text, "Ed25519 private key"));
        assert_null(strstr(error.text, "MC4"));
        assert_int_equal(ERR_peek_error(), 0);
    }
    assert_int_equal(public_key_from_pem(GOOD_PEM, strlen(GOOD_PEM), public_key, &error),
                     ERR_MALFORMED);
    assert_non_null(strstr(error.text, "Ed25519 public key"));
    assert_int_equal(public_key[0], 5);
}

/* Whatever bytes are changed or cut, the answer is a key or a refusal. */
static void test_damaged_pem_is_never_worse_than_refused(void **state)
{
    char pem[sizeof(GOOD_PEM)];
    size_t len = strlen(GOOD_PEM);

    (void)state;
    for (size_t at = 0; at < len; at++) {
        for (unsigned value = 0; value < 256; value += 5) {
            struct signing_key *key = NULL;
            memcpy(pem, GOOD_PEM, sizeof(pem));
            pem[at] = (char)value;
            if (signing_key_from_pem(pem, len, &key, NULL) == OK) {
                signing_key_free(key);
            }
        }
        struct signing_key *key = NULL;
        if (at < len - 1) {
            assert_int_equal(signing_key_from_pem(GOOD_PEM, at, &key, NULL), ERR_MALFORMED);
        }
    }
    assert_int_equal(ERR_peek_error(), 0);
}

static void test_earlier_errors_stay_in_the_queue(void **state)
{
    struct signing_key *key = NULL;

    (void)state;
    ERR_raise(ERR_LIB_USER, 7);
    assert_int_equal(signing_key_from_pem("-----BEGIN X", 12, &key, NULL), ERR_MALFORMED);
    assert_int_equal(ERR_GET_REASON(ERR_get_error()), 7);
    assert_int_equal(ERR_get_error(), 0);
}

/* ---- Files ---- */

static int folder_setup(void **state)
{
    char *folder = xstrdup("/tmp/tollgate-signing-key-XXXXXX");

    assert_non_null(mkdtemp(folder));
    *state = folder;
    return 0;
}

static int folder_teardown(void **state)
{
    CLEANUP(cleanup_free) char *folder = *state;
    CLEANUP(cleanup_free) char *path = file_join(folder, "audit.key");

    (void)unlink(path);
    return rmdir(folder);
}

static void test_a_saved_key_is_private_and_loads(void **state)
{
    CLEANUP(cleanup_free) char *path = file_join(*state, "audit.key");
    struct signing_key *key = signing_key_generate();
    struct signing_key *loaded = NULL;
    uint8_t public_key[PUBLIC_KEY_BYTES];
    uint8_t other[PUBLIC_KEY_BYTES];
    struct error error = {0};
    struct stat info;

    assert_int_equal(signing_key_load(path, &loaded, &error), ERR_NOT_FOUND);
    assert_int_equal(signing_key_save(key, path, &error), OK);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    assert_int_equal(signing_key_load(path, &loaded, &error), OK);
    signing_key_public(key, public_key);
    signing_key_public(loaded, other);
    assert_memory_equal(public_key, other, sizeof(other));
    signing_key_free(TAKE(loaded));

    assert_int_equal(signing_key_save(key, path, &error), ERR_EXISTS);
    assert_non_null(strstr(error.text, path));
    assert_int_equal(signing_key_load(path, &loaded, &error), OK); /* it is still there */
    signing_key_free(TAKE(loaded));
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(signing_key_load(path, &loaded, &error), ERR_DENIED);
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(truncate(path, 60), 0);
    assert_int_equal(signing_key_load(path, &loaded, &error), ERR_MALFORMED);
    assert_non_null(strstr(error.text, path));
    assert_null(loaded);
    signing_key_free(key);
}

static void test_a_key_that_cannot_be_written_leaves_nothing(void **state)
{
    CLEANUP(cleanup_free) char *path = file_join(*state, "no/such/folder.key");
    struct signing_key *key = signing_key_generate();
    struct error error = {0};

    assert_int_equal(signing_key_save(key, path, &error), ERR_IO);
    assert_non_null(strstr(error.text, path));
    assert_int_equal(access(path, F_OK), -1);
    signing_key_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors_of_the_rfc),
        cmocka_unit_test(test_every_changed_bit_is_seen),
        cmocka_unit_test(test_pem_comes_back_as_the_same_key),
        cmocka_unit_test(test_public_pem_is_that_of_rfc_8410),
        cmocka_unit_test(test_what_is_no_private_key_is_refused),
        cmocka_unit_test(test_damaged_pem_is_never_worse_than_refused),
        cmocka_unit_test(test_earlier_errors_stay_in_the_queue),
        cmocka_unit_test_setup_teardown(test_a_saved_key_is_private_and_loads, folder_setup,
                                        folder_teardown),
        cmocka_unit_test_setup_teardown(test_a_key_that_cannot_be_written_leaves_nothing,
                                        folder_setup, folder_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
