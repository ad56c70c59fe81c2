/* Tests of client keys: form, look-up, expiry. */
#include "gateway/keys.h"

#include "common/crypto.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

#define NOW_MS 1795341600000 /* 2026-11-22T10:00:00Z */

struct fixture {
    struct minted_key minted[3];
    struct key_config keys[3];
    struct client_config clients[2];
    struct config config;
    struct key_table *table;
};

static int set_up(void **state)
{
    struct fixture *fixture = xcalloc(1, sizeof(*fixture));

    for (size_t i = 0; i < ARRAY_LEN(fixture->keys); i++) {
        key_mint(&fixture->minted[i]);
        fixture->keys[i].id = fixture->minted[i].id;
        fixture->keys[i].hash = fixture->minted[i].hash;
    }
    fixture->keys[1].not_after = (char *)"2026-11-22T10:00:00Z";
    fixture->keys[2].id = (char *)"chosen-by-the-operator";
    fixture->clients[0].name = (char *)"two-keys";
    fixture->clients[0].keys = (struct option_list){.items = fixture->keys, .count = 2};
    fixture->clients[1].name = (char *)"renamed";
    fixture->clients[1].keys = (struct option_list){.items = fixture->keys + 2, .count = 1};
    fixture->config.clients = (struct option_list){.items = fixture->clients, .count = 2};
    fixture->table = key_table_new(&fixture->config);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    key_table_free(fixture->table);
    free(fixture);
    return 0;
}

static void test_minted_keys_are_well_formed(void **state)
{
    const struct fixture *fixture = *state;
    struct minted_key key = fixture->minted[0];

    assert_int_equal(strlen(key.text), KEY_LEN);
    assert_int_equal(strlen(key.hash), 71);
    assert_true(key_well_formed(key.text));
    assert_string_not_equal(key.text, fixture->minted[1].text);
    for (size_t i = 0; i < KEY_LEN; i++) { /* every single typing error is seen */
        char right = key.text[i];
        key.text[i] = right == 'x' ? 'y' : 'x';
        assert_false(key_well_formed(key.text));
        key.text[i] = right;
    }
    assert_false(key_well_formed(""));
    assert_false(key_well_formed("tg_"));
}

static void test_both_keys_of_a_client_work(void **state)
{
    const struct fixture *fixture = *state;
    struct principal who = {0};

    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(
            key_table_authenticate(fixture->table, fixture->minted[i].text, NOW_MS - 1, &who), OK);
        assert_string_equal(who.client->name, "two-keys");
        assert_string_equal(who.key->id, fixture->minted[i].id);
    }
}

static void test_a_key_ends_at_its_time(void **state)
{
    const struct fixture *fixture = *state;
    struct principal who = {0};

    assert_int_equal(key_table_authenticate(fixture->table, fixture->minted[1].text, NOW_MS, &who),
                     ERR_DENIED);
    assert_null(who.client);
}

static void test_a_key_under_another_id_is_found(void **state)
{
    const struct fixture *fixture = *state;
    struct principal who = {0};

    assert_int_equal(key_table_authenticate(fixture->table, fixture->minted[2].text, NOW_MS, &who),
                     OK);
    assert_string_equal(who.key->id, "chosen-by-the-operator");
}

static void test_other_keys_are_denied(void **state)
{
    const struct fixture *fixture = *state;
    struct minted_key stranger;
    struct minted_key forged;
    struct principal who = {0};

    key_mint(&stranger);
    assert_int_equal(key_table_authenticate(fixture->table, stranger.text, 0, &who), ERR_DENIED);
    /* The id of a known key with the secret of another, checksum made right. */
    forged = stranger;
    memcpy(forged.text + 3, fixture->minted[0].id, KEY_ID_LEN);
    crypto_checksum_text(forged.text, KEY_LEN - KEY_CHECK_LEN,
                         forged.text + KEY_LEN - KEY_CHECK_LEN);
    assert_true(key_well_formed(forged.text));
    assert_int_equal(key_table_authenticate(fixture->table, forged.text, 0, &who), ERR_DENIED);
    assert_int_equal(key_table_authenticate(fixture->table, "", 0, &who), ERR_DENIED);
    assert_int_equal(key_table_authenticate(fixture->table, fixture->minted[0].hash, 0, &who),
                     ERR_DENIED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_minted_keys_are_well_formed),
        cmocka_unit_test(test_both_keys_of_a_client_work),
        cmocka_unit_test(test_a_key_ends_at_its_time),
        cmocka_unit_test(test_a_key_under_another_id_is_found),
        cmocka_unit_test(test_other_keys_are_denied),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
