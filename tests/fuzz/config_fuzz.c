/* Config: any bytes as the configuration file. The files "100" and "101" beside it are a secret and
 * a signing key. A configuration that is taken is whole: each name leads somewhere, each number is
 * in its bounds, and policy and keys work with it. One that is not says everything that is wrong,
 * in words that JSON can carry. */
#include "fuzz.h"

#include "common/json.h"
#include "common/signing_key.h"
#include "gateway/config.h"
#include "gateway/keys.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER    "/proc/self/fd/"
#define SECRET_FD 100
#define KEY_FD    101

static void make_file(int number, const char *text, size_t len)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    assert(fd >= 0 && write(fd, text, len) == (ssize_t)len && fchmod(fd, 0600) == 0);
    assert(dup2(fd, number) == number && close(fd) == 0);
}

static void make_files(void)
{
    static bool made;
    struct signing_key *key;
    struct secret *pem;
    const char *text;
    size_t len;

    if (!made) {
        made = true;
        make_file(SECRET_FD, "secret", 6);
        key = signing_key_generate();
        pem = signing_key_pem(key);
        text = secret_reveal(pem, &len);
        make_file(KEY_FD, text, len);
        secret_free(pem);
        signing_key_free(key);
    }
}

static void check_team(const struct config *config, size_t index)
{
    static const char body[] = "{\"types\":\"exempt\",\"macs\":[\"000c29cdc7b2\"],"
                               "\"params\":{\"exempt_time\":24}}";
    const struct team_config *team = config_team(config, index);
    const struct account_config *account = config_account(config, team->account_index);
    struct policy policy = config_policy(config, index);
    struct problems problems = {0};
    struct action *action = NULL;
    struct decision decision;
    enum err err;

    assert(team->account_index < config->accounts.count);
    assert(strcmp(team->account, account->name) == 0);
    assert(team->weight >= 1 && team->queue_limit >= 1 && team->sync_wait_s >= 0);
    assert(team->reserved >= 0 && team->reserved <= team->max);
    assert(team->max <= account->budget.requests);
    assert(config_find_team(config, team->name) == (ssize_t)index);
    err = action_parse(body, strlen(body), 1, &action, &problems, NULL);
    assert(err == OK);
    policy_decide(&policy, action, "reason", 1700000000000, &decision);
    assert(decision.allowed == (decision.rule != NULL));
    assert(decision.violation_count <= RULES_MAX_VIOLATIONS);
    decision_done(&decision);
    action_unref(action);
}

static void check_account(const struct account_config *account)
{
    bool grant = account->credentials.client_id != NULL;

    assert(account->name[0] != '\0' && account->base_url != NULL);
    assert(grant == (account->credentials.client_secret_file != NULL));
    assert(grant != (account->credentials.access_token_file != NULL));
    assert(account->budget.requests >= 1 && account->budget.window_s >= 1);
    assert(account->max_devices_per_call >= 1 && account->timeout_s >= account->connect_timeout_s);
}

static void check_addresses(const struct config *config)
{
    char host[256];
    uint16_t port;

    assert(config->listen.count >= 1);
    for (size_t i = 0; i < config->listen.count; i++) {
        assert(config_split_address(config_listen(config, i)->address, host, sizeof(host), &port) ==
               OK);
    }
}

static void check_clients(const struct config *config)
{
    struct key_table *keys = key_table_new(config);
    struct principal principal;

    for (size_t i = 0; i < config->clients.count; i++) {
        const struct client_config *client = config_client(config, i);
        assert(client->team == NULL || (size_t)client->team_index < config->teams.count);
        assert(client->team != NULL || client->team_index < 0);
        assert(client->team != NULL || client->roles.count > 0);
    }
    assert(key_table_authenticate(keys, "tg_x", 0, &principal) == ERR_DENIED);
    key_table_free(keys);
}

static void check_config(const struct config *config)
{
    assert(config->node != NULL && strncmp(config->store, "sqlite:", 7) == 0);
    assert(config->accounts.count >= 1 && config->teams.count >= 1 && config->clients.count >= 1);
    assert(config->limits.max_header_bytes > 0 && config->limits.max_body_bytes > 0);
    check_addresses(config);
    for (size_t i = 0; i < config->accounts.count; i++) {
        check_account(config_account(config, i));
    }
    for (size_t i = 0; i < config->teams.count; i++) {
        check_team(config, i);
    }
    check_clients(config);
    if (config->warnings.count > 0) {
        fuzz_check_problems(&config->warnings);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config *config = NULL;
    struct problems problems = {0};
    struct error error = {0};
    enum err err;

    make_files();
    err = config_read((const char *)data, size, FOLDER "config", &config, &problems, &error);
    if (err == OK) {
        assert(problems.count == 0);
        check_config(config);
        config_free(config);
    } else {
        assert(config == NULL && error.code == err && fuzz_is_utf8(error.text));
        assert(err == ERR_MALFORMED || err == ERR_INVALID);
        assert((err == ERR_INVALID) == (problems.count > 0));
    }
    if (problems.count > 0) {
        fuzz_check_problems(&problems);
    }
    problems_done(&problems);
    return 0;
}
