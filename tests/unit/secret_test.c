/* The heap for secrets, and what is overwritten when it is freed. A program of its own: the heap is
 * the process's, and so are the libraries' allocators. */
#include "common/memory.h"
#include "common/secret.h"
#include "common/wipe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#define HEAP_BYTES ((size_t)64 * 1024)

static void test_a_secret_is_in_the_heap(void **state)
{
    struct secret *secret = secret_new("TOKEN", 5);
    size_t len = 0;

    (void)state;
    assert_true(CRYPTO_secure_allocated(secret) == 1);
    assert_string_equal(secret_reveal(secret, &len), "TOKEN");
    assert_int_equal(len, 5);
    secret_free(secret);
    assert_int_equal(CRYPTO_secure_used(), 0);
}

/* The place is handed out again, so that it can be looked at: nothing is left there. */
static void test_nothing_is_left(void **state)
{
    struct secret *secret = secret_new("TOKEN-OF-SOME-LENGTH", 20);
    const char *place = secret_reveal(secret, NULL);
    char *again;

    (void)state;
    secret_free(secret);
    again = OPENSSL_secure_malloc(64);
    assert_true(place > again && place < again + 64);
    assert_null(memmem(again, 64, "OKEN", 4));
    OPENSSL_secure_free(again);
}

static void test_a_full_heap_takes_ordinary_memory(void **state)
{
    char *rest = OPENSSL_secure_malloc(HEAP_BYTES);
    struct secret *secret;

    (void)state;
    assert_non_null(rest);
    secret = secret_new("TOKEN", 5);
    assert_true(CRYPTO_secure_allocated(secret) == 0);
    assert_string_equal(secret_reveal(secret, NULL), "TOKEN");
    secret_free(secret);
    OPENSSL_secure_free(rest);
}

static void test_realloc_keeps_what_is_there(void **state)
{
    char *text = wipe_realloc(NULL, 6);

    (void)state;
    memcpy(text, "TOKEN", 6);
    for (size_t size = 6; size < 100000; size *= 3) {
        text = wipe_realloc(text, size);
        assert_string_equal(text, "TOKEN");
    }
    text = wipe_realloc(text, 6);
    assert_string_equal(text, "TOKEN");
    assert_null(wipe_realloc(text, 0));
    wipe_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_secret_is_in_the_heap),
        cmocka_unit_test(test_nothing_is_left),
        cmocka_unit_test(test_a_full_heap_takes_ordinary_memory),
        cmocka_unit_test(test_realloc_keeps_what_is_there),
    };
    struct error error;
    enum err err;

    wipe_libraries();
    err = secret_heap_init(1, &error);
    if (err != OK && err != ERR_FULL) {
        print_error("%s\n", error.text);
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
