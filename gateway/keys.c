/* Keys: see keys.h. */
#include "gateway/keys.h"

#include "common/clock.h"
#include "common/crypto.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

struct key_entry {
    const char *id;
    uint8_t digest[SHA256_BYTES];
    int64_t not_after_ms; /* INT64_MAX: never */
    struct principal principal;
};

struct key_table {
    size_t count;
    struct key_entry **by_digest;
    struct key_entry **by_id;
    struct key_entry entries[];
};

void key_mint(struct minted_key *ret_key)
{
    uint8_t digest[SHA256_BYTES];
    char *at = ret_key->text;

    crypto_random_text(ret_key->id, KEY_ID_LEN);
    memcpy(at, "tg_", 3);
    memcpy(at + 3, ret_key->id, KEY_ID_LEN);
    at[3 + KEY_ID_LEN] = '_';
    crypto_random_text(at + 4 + KEY_ID_LEN, KEY_SECRET_LEN);
    crypto_checksum_text(at, KEY_LEN - KEY_CHECK_LEN, at + KEY_LEN - KEY_CHECK_LEN);
    crypto_sha256(ret_key->text, KEY_LEN, digest);
    memcpy(ret_key->hash, "sha256:", 7);
    crypto_hex(digest, sizeof(digest), ret_key->hash + 7);
}

bool key_well_formed(const char *text)
{
    char check[KEY_CHECK_LEN + 1];

    if (strnlen(text, KEY_LEN + 1) != KEY_LEN || strncmp(text, "tg_", 3) != 0 ||
        text[3 + KEY_ID_LEN] != '_') {
        return false;
    }
    crypto_checksum_text(text, KEY_LEN - KEY_CHECK_LEN, check);
    return strcmp(text + KEY_LEN - KEY_CHECK_LEN, check) == 0;
}

static int compare_id(const void *a, const void *b)
{
    return strcmp((*(struct key_entry *const *)a)->id, (*(struct key_entry *const *)b)->id);
}

static int compare_digest(const void *a, const void *b)
{
    return memcmp((*(struct key_entry *const *)a)->digest, (*(struct key_entry *const *)b)->digest,
                  SHA256_BYTES);
}

static void add_client(struct key_table *table, const struct client_config *client)
{
    for (size_t i = 0; i < client->keys.count; i++) {
        const struct key_config *key = (const struct key_config *)client->keys.items + i;
        struct key_entry *entry = &table->entries[table->count];
        entry->id = key->id;
        entry->not_after_ms = INT64_MAX;
        entry->principal = (struct principal){.client = client, .key = key};
        /* Both forms were checked when the configuration was read. */
        if (crypto_unhex(key->hash + 7, entry->digest, sizeof(entry->digest)) != OK ||
            (key->not_after != NULL && clock_parse(key->not_after, &entry->not_after_ms) != OK)) {
            abort();
        }
        table->by_id[table->count] = table->by_digest[table->count] = entry;
        table->count++;
    }
}

struct key_table *key_table_new(const struct config *config)
{
    struct key_table *table;
    size_t count = 0;

    for (size_t i = 0; i < config->clients.count; i++) {
        count += config_client(config, i)->keys.count;
    }
    table = xcalloc(1, sizeof(*table) + count * sizeof(table->entries[0]));
    table->by_id = xcalloc(count, sizeof(*table->by_id));
    table->by_digest = xcalloc(count, sizeof(*table->by_digest));
    for (size_t i = 0; i < config->clients.count; i++) {
        add_client(table, config_client(config, i));
    }
    qsort(table->by_id, count, sizeof(*table->by_id), compare_id);
    qsort(table->by_digest, count, sizeof(*table->by_digest), compare_digest);
    return table;
}

void key_table_free(struct key_table *table)
{
    if (table != NULL) {
        free(table->by_id);
        free(table->by_digest);
        free(table);
    }
}

enum err key_table_authenticate(const struct key_table *table, const char *text, int64_t wall_ms,
                                struct principal *ret_principal)
{
    static const uint8_t nobody[SHA256_BYTES];
    char id[KEY_ID_LEN + 1] = "";
    struct key_entry wanted = {.id = id};
    struct key_entry *pointer = &wanted;
    struct key_entry **by_id;
    struct key_entry **by_digest;
    const struct key_entry *entry;
    bool formed = key_well_formed(text);
    bool equal;

    if (formed) {
        memcpy(id, text + 3, KEY_ID_LEN);
    }
    crypto_sha256(text, strlen(text), wanted.digest);
    by_id = bsearch(&pointer, table->by_id, table->count, sizeof(*by_id), compare_id);
    by_digest =
        bsearch(&pointer, table->by_digest, table->count, sizeof(*by_digest), compare_digest);
    entry = by_id != NULL ? *by_id : NULL;
    equal = crypto_equal(wanted.digest, entry != NULL ? entry->digest : nobody, SHA256_BYTES);
    if (!equal && by_digest != NULL) { /* configured under an id of the operator's */
        entry = *by_digest;
        equal = crypto_equal(wanted.digest, entry->digest, SHA256_BYTES);
    }
    if (!formed || entry == NULL || !equal || wall_ms >= entry->not_after_ms) {
        return ERR_DENIED;
    }
    *ret_principal = entry->principal;
    return OK;
}
