/* Config: loading, and the checks that need more than one option. See config.h. */
#include "gateway/config.h"

#include "common/clock.h"
#include "common/crypto.h"
#include "common/file.h"
#include "common/json.h"
#include "common/signing_key.h"
#include "gateway/seccomp.h"
#include "gateway/tls.h"
#include "upstream/upstream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_CONFIG_BYTES  (16 * 1024 * 1024)
#define LEAST_PER_ADDRESS 16 /* connections, unless configured */

const struct account_config *config_account(const struct config *config, size_t index)
{
    return (const struct account_config *)config->accounts.items + index;
}

const struct team_config *config_team(const struct config *config, size_t index)
{
    return (const struct team_config *)config->teams.items + index;
}

const struct client_config *config_client(const struct config *config, size_t index)
{
    return (const struct client_config *)config->clients.items + index;
}

const struct listen_config *config_listen(const struct config *config, size_t index)
{
    return (const struct listen_config *)config->listen.items + index;
}

ssize_t config_find_team(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->teams.count; i++) {
        if (strcmp(config_team(config, i)->name, name) == 0) {
            return (ssize_t)i;
        }
    }
    return -1;
}

ssize_t config_find_account(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->accounts.count; i++) {
        if (strcmp(config_account(config, i)->name, name) == 0) {
            return (ssize_t)i;
        }
    }
    return -1;
}

struct policy config_policy(const struct config *config, size_t team)
{
    const struct team_config *of = config_team(config, team);

    return (struct policy){
        .team = of->name,
        .rules = of->rules.items,
        .rule_count = of->rules.count,
        .protections = config->protected_devices.items,
        .protection_count = config->protected_devices.count,
    };
}

enum err config_split_address(const char *address, char *host, size_t size, uint16_t *ret_port)
{
    const char *colon = strrchr(address, ':');
    bool v6 = address[0] == '[';
    const char *from = v6 ? address + 1 : address;
    uint8_t parsed[sizeof(struct in6_addr)];
    char *end;
    long port;
    size_t len;

    if (colon == NULL || (v6 && (colon == address || colon[-1] != ']'))) {
        return ERR_INVALID;
    }
    len = (size_t)(colon - from) - (v6 ? 1 : 0);
    if (len == 0 || len >= size) {
        return ERR_INVALID;
    }
    memcpy(host, from, len);
    host[len] = '\0';
    errno = 0;
    port = strtol(colon + 1, &end, 10);
    if (colon[1] < '0' || colon[1] > '9' || *end != '\0' || errno != 0 || port > 65535 ||
        inet_pton(v6 ? AF_INET6 : AF_INET, host, parsed) != 1) {
        return ERR_INVALID;
    }
    *ret_port = (uint16_t)port;
    return OK;
}

/* Credentials are the service's alone: the other commands cannot check them, nor need them. The
 * gateway reads them when it starts, and does not start without. */
static void check_secret(const char *path, const char *pointer, struct problems *problems)
{
    struct secret *secret = NULL;
    struct error error;

    if (path != NULL && !file_is_unplaced(path)) {
        if (file_read_secret(path, &secret, &error) != OK) {
            problems_add(problems, pointer, "%s", error.text);
        }
        secret_free(secret);
    }
}

static void check_signing_key(const char *path, struct problems *problems)
{
    struct signing_key *key = NULL;
    struct error error;

    if (path != NULL && !file_is_unplaced(path) && signing_key_load(path, &key, &error) != OK) {
        problems_add(problems, "/audit/signing_key_file", "%s", error.text);
    }
    signing_key_free(key);
}

static void check_readable(const char *path, const char *pointer, struct problems *problems)
{
    if (path != NULL && !file_is_unplaced(path) && access(path, R_OK) != 0) {
        problems_add(problems, pointer, "%s: %s", path, strerror(errno));
    }
}

static void check_url(const char *url, const char *pointer, struct problems *problems)
{
    struct error error;

    if (url != NULL && upstream_check_url(url, &error) != OK) {
        problems_add(problems, pointer, "%s", error.text);
    }
}

static void check_account(const struct account_config *account, struct problems *problems)
{
    CLEANUP(cleanup_free) char *at = json_pointer_append("/accounts", account->name);
    CLEANUP(cleanup_free) char *base_url = xasprintf("%s/base_url", at);
    CLEANUP(cleanup_free) char *credentials = xasprintf("%s/credentials", at);
    CLEANUP(cleanup_free) char *secret = xasprintf("%s/client_secret_file", credentials);
    CLEANUP(cleanup_free) char *token = xasprintf("%s/access_token_file", credentials);
    CLEANUP(cleanup_free) char *token_url = xasprintf("%s/token_url", credentials);
    CLEANUP(cleanup_free) char *ca = xasprintf("%s/ca_file", at);
    bool grant =
        account->credentials.client_id != NULL && account->credentials.client_secret_file != NULL;
    struct error error;
    bool some =
        account->credentials.client_id != NULL || account->credentials.client_secret_file != NULL;

    if (account->credentials.access_token_file != NULL ? some : !grant) {
        problems_add(problems, credentials,
                     "needs either client_id and client_secret_file, or access_token_file alone");
    }
    if (account->connect_timeout_s > account->timeout_s) {
        problems_add(problems, at, "connect_timeout_s is longer than timeout_s");
    }
    check_url(account->base_url, base_url, problems);
    check_url(account->credentials.token_url, token_url, problems);
    check_secret(account->credentials.client_secret_file, secret, problems);
    check_secret(account->credentials.access_token_file, token, problems);
    if (account->ca_file != NULL && !file_is_unplaced(account->ca_file) &&
        upstream_check_ca_file(account->ca_file, &error) != OK) {
        problems_add(problems, ca, "%s", error.text);
    }
}

static void check_rules(const struct team_config *team, const char *at, struct problems *problems,
                        struct problems *warnings)
{
    const struct rule *rules = team->rules.items;

    for (size_t i = 0; i < team->rules.count; i++) {
        const struct rule_hours *hours = &rules[i].hours;
        if (hours->from != NULL && hours->to != NULL && strcmp(hours->from, hours->to) == 0) {
            CLEANUP(cleanup_free) char *place = xasprintf("%s/rules/%zu/hours", at, i);
            problems_add(problems, place, "from and to are equal: the rule would never apply");
        }
        if (rules[i].approvers.count > 0) {
            CLEANUP(cleanup_free) char *place = xasprintf("%s/rules/%zu/approvers", at, i);
            problems_add(warnings, place,
                         "this version cannot take approvals yet: what this rule matches is "
                         "refused");
        }
    }
}

static void check_team(struct config *config, struct team_config *team, struct problems *problems)
{
    CLEANUP(cleanup_free) char *at = json_pointer_append("/teams", team->name);
    ssize_t account = team->account != NULL ? config_find_account(config, team->account) : -1;

    if (account < 0) {
        if (team->account != NULL) {
            CLEANUP(cleanup_free) char *place = xasprintf("%s/account", at);
            problems_add(problems, place, "there is no account \"%.64s\" in /accounts",
                         team->account);
        }
        return;
    }
    team->account_index = (size_t)account;
    int64_t requests = config_account(config, team->account_index)->budget.requests;
    if (team->max == 0) {
        team->max = requests;
    }
    if (team->max > requests || team->reserved > team->max) {
        problems_add(problems, at,
                     "reserved (%lld) must not be over max (%lld), nor max over the account's "
                     "budget.requests (%lld)",
                     (long long)team->reserved, (long long)team->max, (long long)requests);
    }
    check_rules(team, at, problems, &config->warnings);
}

static void check_reserved(const struct config *config, struct problems *problems)
{
    for (size_t i = 0; i < config->accounts.count; i++) {
        const struct account_config *account = config_account(config, i);
        int64_t sum = 0;
        for (size_t k = 0; k < config->teams.count; k++) {
            sum +=
                config_team(config, k)->account_index == i ? config_team(config, k)->reserved : 0;
        }
        if (sum > account->budget.requests) {
            CLEANUP(cleanup_free) char *at = json_pointer_append("/accounts", account->name);
            problems_add(problems, at,
                         "its teams reserve %lld calls together, more than budget.requests (%lld)",
                         (long long)sum, (long long)account->budget.requests);
        }
    }
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp((*(const struct key_config *const *)a)->id,
                  (*(const struct key_config *const *)b)->id);
}

/* A key id names one key, or the audit log would lie; the same hash twice is a copying error. */
static void check_key_ids(const struct config *config, struct problems *problems)
{
    size_t count = 0;

    for (size_t i = 0; i < config->clients.count; i++) {
        count += config_client(config, i)->keys.count;
    }
    CLEANUP(cleanup_free) const struct key_config **keys = xcalloc(count, sizeof(*keys));
    count = 0;
    for (size_t i = 0; i < config->clients.count; i++) {
        const struct client_config *client = config_client(config, i);
        for (size_t k = 0; k < client->keys.count; k++) {
            const struct key_config *key = (const struct key_config *)client->keys.items + k;
            if (key->id != NULL && key->hash != NULL) {
                keys[count++] = key;
            }
        }
    }
    qsort(keys, count, sizeof(*keys), compare_keys);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(keys[i - 1]->id, keys[i]->id) == 0) {
            problems_add(problems, "/clients", "two keys have the id \"%s\": ids must differ",
                         keys[i]->id);
        }
    }
}

static void check_client(const struct config *config, struct client_config *client,
                         struct problems *problems)
{
    CLEANUP(cleanup_free) char *at = json_pointer_append("/clients", client->name);

    client->team_index = client->team != NULL ? config_find_team(config, client->team) : -1;
    if (client->team != NULL && client->team_index < 0) {
        CLEANUP(cleanup_free) char *place = xasprintf("%s/team", at);
        problems_add(problems, place, "there is no team \"%.64s\" in /teams", client->team);
    }
    if (client->team == NULL && client->roles.count == 0) {
        problems_add(problems, at, "needs a team, or roles, or both");
    }
    if (client->has_certificate &&
        (client->certificate.san == NULL) == (client->certificate.fingerprint == NULL)) {
        CLEANUP(cleanup_free) char *place = xasprintf("%s/certificate", at);
        problems_add(problems, place, "needs either san or fingerprint");
    }
    if (!client->has_certificate && client->keys.count == 0) {
        problems_add(
            problems, at,
            "has no key and no certificate: run 'tollgate key new' and add one to \"keys\"");
    }
}

static int compare_sans(const void *a, const void *b)
{
    return strcmp((*(const struct client_config *const *)a)->certificate.san,
                  (*(const struct client_config *const *)b)->certificate.san);
}

static int compare_fingerprints(const void *a, const void *b)
{
    return strcasecmp((*(const struct client_config *const *)a)->certificate.fingerprint,
                      (*(const struct client_config *const *)b)->certificate.fingerprint);
}

/* A certificate stands for one client. */
static void check_same(const struct client_config **clients, size_t count,
                       int (*compare)(const void *, const void *), const char *option,
                       struct problems *problems)
{
    qsort(clients, count, sizeof(*clients), compare);
    for (size_t i = 1; i < count; i++) {
        if (compare(&clients[i - 1], &clients[i]) == 0) {
            CLEANUP(cleanup_free) char *at = json_pointer_append("/clients", clients[i]->name);
            CLEANUP(cleanup_free) char *place = xasprintf("%s/certificate/%s", at, option);
            problems_add(problems, place, "is also that of client \"%s\": they must differ",
                         clients[i - 1]->name);
        }
    }
}

static void check_certificates(struct config *config, struct problems *problems)
{
    CLEANUP(cleanup_free)
    const struct client_config **clients = xcalloc(config->clients.count, sizeof(*clients));
    size_t sans = 0;
    size_t fingerprints = 0;
    bool asked = false;

    for (size_t i = 0; i < config->clients.count; i++) {
        const struct client_config *client = config_client(config, i);
        if (client->certificate.san != NULL) {
            clients[sans++] = client;
        }
    }
    check_same(clients, sans, compare_sans, "san", problems);
    for (size_t i = 0; i < config->clients.count; i++) {
        const struct client_config *client = config_client(config, i);
        if (client->certificate.fingerprint != NULL) {
            clients[fingerprints++] = client;
        }
    }
    check_same(clients, fingerprints, compare_fingerprints, "fingerprint", problems);
    for (size_t i = 0; i < config->listen.count; i++) {
        asked = asked || config_listen(config, i)->tls.client_ca != NULL;
    }
    if (!asked && sans + fingerprints > 0) {
        problems_add(&config->warnings, "/clients",
                     "there are clients with a certificate, but no listener has a client_ca");
    }
}

static bool has_unplaced(const struct listen_config *listen)
{
    const char *const files[] = {listen->tls.certificate, listen->tls.key, listen->tls.client_ca,
                                 listen->tls.crl_file};
    bool some = false;

    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        some = some || (files[i] != NULL && file_is_unplaced(files[i]));
    }
    return some;
}

/* What can be said of each file; and once that is well, whether they fit together. */
static void check_tls(const struct listen_config *listen, const char *at, struct config *config,
                      struct problems *problems)
{
    CLEANUP(cleanup_free) char *certificate = xasprintf("%s/certificate", at);
    CLEANUP(cleanup_free) char *key = xasprintf("%s/key", at);
    CLEANUP(cleanup_free) char *ca = xasprintf("%s/client_ca", at);
    CLEANUP(cleanup_free) char *crl = xasprintf("%s/crl_file", at);
    size_t before = problems->count;
    SSL_CTX *context = NULL;
    const char *option = "";
    struct error error;

    if (listen->tls.client_ca == NULL &&
        (listen->tls.client_certificate != NULL || listen->tls.crl_file != NULL)) {
        problems_add(problems, at, "client_certificate and crl_file need a client_ca");
    }
    check_readable(listen->tls.certificate, certificate, problems);
    check_secret(listen->tls.key, key, problems);
    check_readable(listen->tls.client_ca, ca, problems);
    check_readable(listen->tls.crl_file, crl, problems);
    if (problems->count > before || listen->tls.certificate == NULL || listen->tls.key == NULL ||
        has_unplaced(listen)) {
        return;
    }
    if (tls_server_context(listen, &context, &option, &error) != OK) {
        CLEANUP(cleanup_free) char *place = xasprintf("%s/%s", at, option);
        problems_add(problems, place, "%s", error.text);
    }
    SSL_CTX_free(context);
    if (listen->tls.crl_file != NULL && tls_crl_expired(listen->tls.crl_file)) {
        problems_add(&config->warnings, crl,
                     "a list is out of date: no certificate of its CA is accepted");
    }
}

static void check_listen(struct config *config, struct problems *problems)
{
    for (size_t i = 0; i < config->listen.count; i++) {
        const struct listen_config *listen = config_listen(config, i);
        CLEANUP(cleanup_free) char *at = xasprintf("/listen/%zu/tls", i);
        if (listen->has_tls) {
            check_tls(listen, at, config, problems);
        }
    }
}

static void check_limits(struct config *config, struct problems *problems)
{
    int64_t all = config->limits.max_connections;
    int64_t each = config->limits.max_connections_per_address;

    if (each > all) {
        problems_add(problems, "/limits/max_connections_per_address",
                     "must not be over max_connections (%lld)", (long long)all);
    } else if (each == 0) {
        each = all / 2 > LEAST_PER_ADDRESS ? all / 2 : LEAST_PER_ADDRESS;
        config->limits.max_connections_per_address = each < all ? each : all;
    }
}

static void check_whole(struct config *config, struct problems *problems)
{
    check_listen(config, problems);
    check_limits(config, problems);
    config_check_streams(config, problems);
    for (size_t i = 0; i < config->accounts.count; i++) {
        check_account(config_account(config, i), problems);
    }
    for (size_t i = 0; i < config->teams.count; i++) {
        check_team(config, (struct team_config *)config->teams.items + i, problems);
    }
    check_reserved(config, problems);
    for (size_t i = 0; i < config->clients.count; i++) {
        check_client(config, (struct client_config *)config->clients.items + i, problems);
    }
    check_key_ids(config, problems);
    check_certificates(config, problems);
    check_signing_key(config->audit.signing_key_file, problems);
    if (config->seccomp && !seccomp_available()) {
        problems_add(problems, "/seccomp", "this tollgate was built without libseccomp");
    }
}

static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL ? xstrdup(".") : xstrndup(path, (size_t)(slash - path) + 1);
}

/* "sqlite:FILE" is relative to the configuration too. */
static void place_store(struct config *config, const char *folder)
{
    const char *prefix = "sqlite:";

    if (config->store != NULL && strncmp(config->store, prefix, strlen(prefix)) == 0) {
        CLEANUP(cleanup_free) char *file = file_join(folder, config->store + strlen(prefix));
        free(config->store);
        config->store = xasprintf("%s%s", prefix, file);
    }
}

enum err config_load(const char *path, struct config **ret_config, struct problems *problems,
                     struct error *error)
{
    CLEANUP(cleanup_free) char *text = NULL;
    size_t len = 0;
    enum err err = file_read(path, MAX_CONFIG_BYTES, &text, &len, error);

    return err == OK ? config_read(text, len, path, ret_config, problems, error) : err;
}

enum err config_read(const char *text, size_t len, const char *path, struct config **ret_config,
                     struct problems *problems, struct error *error)
{
    CLEANUP(cleanup_free) char *folder = folder_of(path);
    CLEANUP(cleanup_json) json_t *json = NULL;
    struct config *config;
    uint8_t digest[SHA256_BYTES];

    if (json_read(text, len, &json, error) != OK) {
        return error_prefix(error, "%s", path);
    }
    config = xcalloc(1, sizeof(*config));
    crypto_sha256(text, len, digest);
    crypto_hex(digest, sizeof(digest), config->sha256);
    options_read(config_options, json, folder, config, problems);
    place_store(config, folder);
    check_whole(config, problems);
    if (problems->count > 0) {
        config_free(config);
        return error_set(error, ERR_INVALID, "%s: %zu problem%s", path, problems->count,
                         problems->count == 1 ? "" : "s");
    }
    *ret_config = config;
    return OK;
}

void config_check_change(const struct config *before, const struct config *after,
                         struct problems *problems)
{
    options_check_fixed(config_options, before, after, problems);
    if (after->limits.max_connections > before->limits.max_connections) {
        problems_add(problems, "/limits/max_connections",
                     "is more than the gateway started with (%lld): takes a restart",
                     (long long)before->limits.max_connections);
    }
    if (before->seccomp && before->audit.checkpoint_command.count == 0 &&
        after->audit.checkpoint_command.count > 0) {
        problems_add(problems, "/audit/checkpoint_command",
                     "with seccomp, the first command takes a restart");
    }
}

void config_free(struct config *config)
{
    if (config != NULL) {
        options_free(config_options, config);
        problems_done(&config->warnings);
        free(config);
    }
}
