/* Settings: one configuration and everything that is made of it before it is put in force.
 * Immutable, reference-counted, shared by all threads: whoever works by it holds a reference, so a
 * reload never changes anything under anybody's hands. Whatever can fail fails here. */
#ifndef GATEWAY_SETTINGS_H
#define GATEWAY_SETTINGS_H

#include "common/error.h"
#include "common/memory.h"
#include "common/problems.h"
#include "common/signing_key.h"
#include "gateway/certificates.h"
#include "gateway/config.h"
#include "gateway/gauge.h"
#include "gateway/keys.h"

#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdint.h>

struct settings {
    atomic_size_t references;
    uint64_t serial; /* no two of a process have the same; more than 0 */
    const struct config *config;
    struct key_table *keys;
    struct certificate_table *certificates;
    SSL_CTX **tls;                 /* for each of config->listen; NULL: plain */
    struct gauge **gauges;         /* for each of config->accounts */
    struct signing_key *audit_key; /* NULL: none */
};

/* Makes settings of a configuration, which is given away, also on failure. Accounts that `before`
 * (may be NULL) has under the same name keep their gauges. ERR_INVALID: a file that the
 * configuration names is not as it should be; all that is wrong is added to problems. Reads files:
 * main thread. */
enum err settings_new(struct config *config_take, const struct settings *before,
                      const struct settings **ret_settings, struct problems *problems) MUST_CHECK;

/* Any thread. Unref takes NULL. */
const struct settings *settings_ref(const struct settings *settings);
void settings_unref(const struct settings *settings);

/* The name of the audit log's public key (a vkey, see common/note.h), or NULL without a key. The
 * caller frees. */
char *settings_verifier(const struct settings *settings);

/* What config.loaded says of it: its digest, and what 'tollgate audit verify' wants to know (the
 * budgets, and whose signatures to expect). New reference. */
json_t *settings_detail(const struct settings *settings);

#endif
