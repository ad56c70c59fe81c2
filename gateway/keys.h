/* Keys: client keys, how they are made and how they are recognised. Only their SHA-256 is ever
 * configured, so the configuration cannot be used to call. Pure but for randomness; any thread.
 *
 * A key is tg_IIIIIIII_SSSS…SSSSCCCCCCC: 8 characters of identity, 52 of secret (260 random bits),
 * 7 of checksum over all before it, in Crockford's base 32. The prefix lets secret scanners find a
 * leaked key; the checksum tells a typing error from a revoked key without asking anybody. */
#ifndef GATEWAY_KEYS_H
#define GATEWAY_KEYS_H

#include "common/error.h"
#include "common/memory.h"
#include "gateway/config.h"

#include <stddef.h>
#include <stdint.h>

#define KEY_ID_LEN     8
#define KEY_SECRET_LEN 52
#define KEY_CHECK_LEN  7
#define KEY_LEN        (3 + KEY_ID_LEN + 1 + KEY_SECRET_LEN + KEY_CHECK_LEN)

struct minted_key {
    char id[KEY_ID_LEN + 1];
    char text[KEY_LEN + 1];
    char hash[72]; /* sha256:<64 hex> */
};

/* Makes a key. The caller cleanses it after showing it. */
void key_mint(struct minted_key *ret_key);

/* Whether text has a key's form, checksum included. */
bool key_well_formed(const char *text);

/* Who calls: borrowed from the config. */
struct principal {
    const struct client_config *client;
    const struct key_config *key; /* NULL: known by its certificate */
};

/* All keys of a configuration, ready for look-up. */
struct key_table;

/* The config must live longer. */
struct key_table *key_table_new(const struct config *config);
void key_table_free(struct key_table *table);

/* Finds whose key text is. Looked up by the id inside the key; an operator may configure a key
 * under an id of his own, then by its hash. Compared in constant time; unknown, wrong and expired
 * keys are the same ERR_DENIED after the same work. */
enum err key_table_authenticate(const struct key_table *table, const char *text, int64_t wall_ms,
                                struct principal *ret_principal) MUST_CHECK;

#endif
