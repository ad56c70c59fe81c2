/* Settings: see settings.h. */
#include "gateway/settings.h"

#include "common/note.h"
#include "gateway/tls.h"

#include <stdlib.h>
#include <string.h>

static atomic_uint_fast64_t last_serial;

static void make_tls(struct settings *settings, struct problems *problems)
{
    const struct config *config = settings->config;

    settings->tls = xcalloc(config->listen.count, sizeof(SSL_CTX *));
    for (size_t i = 0; i < config->listen.count; i++) {
        const struct listen_config *listen = config_listen(config, i);
        const char *option = "";
        struct error error;
        if (listen->has_tls &&
            tls_server_context(listen, &settings->tls[i], &option, &error) != OK) {
            CLEANUP(cleanup_free) char *at = xasprintf("/listen/%zu/tls/%s", i, option);
            problems_add(problems, at, "%s", error.text);
        }
    }
}

static void make_gauges(struct settings *settings, const struct settings *before)
{
    const struct config *config = settings->config;

    settings->gauges = xcalloc(config->accounts.count, sizeof(struct gauge *));
    for (size_t i = 0; i < config->accounts.count; i++) {
        ssize_t old = before != NULL
                          ? config_find_account(before->config, config_account(config, i)->name)
                          : -1;
        settings->gauges[i] = old >= 0 ? gauge_ref(before->gauges[old]) : gauge_new();
    }
}

static void load_audit_key(struct settings *settings, struct problems *problems)
{
    const char *file = settings->config->audit.signing_key_file;
    struct error error;

    if (file != NULL && signing_key_load(file, &settings->audit_key, &error) != OK) {
        problems_add(problems, "/audit/signing_key_file", "%s", error.text);
    }
}

enum err settings_new(struct config *config_take, const struct settings *before,
                      const struct settings **ret_settings, struct problems *problems)
{
    struct settings *settings = xcalloc(1, sizeof(*settings));

    settings->references = 1;
    settings->serial = ++last_serial;
    settings->config = config_take;
    settings->keys = key_table_new(config_take);
    settings->certificates = certificate_table_new(config_take);
    make_tls(settings, problems);
    make_gauges(settings, before);
    load_audit_key(settings, problems);
    if (problems->count > 0) {
        settings_unref(settings);
        return ERR_INVALID;
    }
    *ret_settings = settings;
    return OK;
}

const struct settings *settings_ref(const struct settings *settings)
{
    ((struct settings *)settings)->references++;
    return settings;
}

void settings_unref(const struct settings *settings)
{
    struct settings *mine = (struct settings *)settings;

    if (mine == NULL || --mine->references > 0) {
        return;
    }
    for (size_t i = 0; i < mine->config->listen.count; i++) {
        SSL_CTX_free(mine->tls[i]);
    }
    for (size_t i = 0; i < mine->config->accounts.count; i++) {
        gauge_unref(mine->gauges[i]);
    }
    free(mine->tls);
    free(mine->gauges);
    signing_key_free(mine->audit_key);
    certificate_table_free(mine->certificates);
    key_table_free(mine->keys);
    config_free((struct config *)mine->config);
    free(mine);
}

char *settings_verifier(const struct settings *settings)
{
    CLEANUP(cleanup_free) char *origin = xasprintf("tollgate/%s", settings->config->node);
    uint8_t public_key[PUBLIC_KEY_BYTES];
    struct note_verifier verifier;

    if (settings->audit_key == NULL) {
        return NULL;
    }
    signing_key_public(settings->audit_key, public_key);
    return note_verifier_init(&verifier, origin, public_key, NULL) == OK
               ? note_vkey_format(&verifier)
               : NULL;
}

json_t *settings_detail(const struct settings *settings)
{
    const struct config *config = settings->config;
    CLEANUP(cleanup_free) char *verifier = settings_verifier(settings);
    json_t *accounts = json_object();

    for (size_t i = 0; i < config->accounts.count; i++) {
        const struct account_config *account = config_account(config, i);
        (void)json_object_set_new(accounts, account->name,
                                  json_pack("{s:I, s:I}", "requests",
                                            (json_int_t)account->budget.requests, "window_s",
                                            (json_int_t)account->budget.window_s));
    }
    return json_pack("{s:s, s:o, s:s*}", "sha256", config->sha256, "accounts", accounts, "verifier",
                     verifier);
}
