/* Tests of the configuration as a whole: a good file, and what only shows across options. */
#include "gateway/config.h"

#include "common/json.h"

#include <fcntl.h>
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

#define HASH "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char good[] =
    "{\"node\":\"gw-1\",\"listen\":[{\"address\":\"127.0.0.1:0\"}],"
    "\"accounts\":{\"main\":{\"credentials\":{\"client_id\":\"ID\","
    "\"client_secret_file\":\"secret\"}}},"
    "\"teams\":{\"helpdesk\":{\"account\":\"main\",\"rules\":[{\"actions\":[\"exempt\"]}]}},"
    "\"clients\":{\"c\":{\"team\":\"helpdesk\",\"keys\":[{\"id\":\"k1\",\"hash\":\"" HASH "\"}]}}}";

struct fixture {
    char folder[64];
    struct problems problems;
    struct error error;
};

static void write_file(const struct fixture *fixture, const char *name, const char *text,
                       mode_t mode)
{
    CLEANUP(cleanup_free) char *path = xasprintf("%s/%s", fixture->folder, name);
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, mode);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    (void)close(fd);
}

static int set_up(void **state)
{
    struct fixture *fixture = xcalloc(1, sizeof(*fixture));

    (void)snprintf(fixture->folder, sizeof(fixture->folder), "/tmp/tollgate-config-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    write_file(fixture, "secret", "s3cret", 0600);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    static const char *const names[] = {"secret", "gw.json"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        CLEANUP(cleanup_free) char *path = xasprintf("%s/%s", fixture->folder, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(fixture->folder);
    problems_done(&fixture->problems);
    free(fixture);
    return 0;
}

/* Loads a text as the configuration, with every appearance of from replaced by to. */
static enum err load(struct fixture *fixture, const char *text, const char *from, const char *to,
                     struct config **ret_config)
{
    CLEANUP(cleanup_free) char *path = xasprintf("%s/gw.json", fixture->folder);
    CLEANUP(cleanup_free) char *changed = NULL;
    const char *at = from != NULL ? strstr(text, from) : NULL;

    assert_true(from == NULL || at != NULL);
    changed = at == NULL ? xstrdup(text)
                         : xasprintf("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    write_file(fixture, "gw.json", changed, 0644);
    problems_done(&fixture->problems);
    return config_load(path, ret_config, &fixture->problems, &fixture->error);
}

static void test_a_good_one_has_the_contracts_defaults(void **state)
{
    struct config *config = NULL;
    const struct account_config *account;
    const struct team_config *team;

    assert_int_equal(load(*state, good, NULL, NULL, &config), OK);
    account = config_account(config, 0);
    assert_string_equal(account->base_url, "https://gears.opswat.com");
    assert_int_equal(account->budget.requests, 10);
    assert_int_equal(account->budget.window_s, 60);
    assert_int_equal(account->max_devices_per_call, 100);
    assert_int_equal(account->batch_linger_ms, 1000);
    assert_int_equal(account->connect_timeout_s, 5);
    assert_int_equal(account->timeout_s, 30);
    team = config_team(config, 0);
    assert_int_equal(team->weight, 1);
    assert_int_equal(team->reserved, 0);
    assert_int_equal(team->max, 10);
    assert_int_equal(team->queue_limit, 1000);
    assert_int_equal(team->sync_wait_s, 65);
    assert_int_equal(config->limits.max_connections, 10000);
    assert_int_equal(config->limits.max_connections_per_address, 5000);
    assert_int_equal(config->limits.max_devices_per_request, 1000);
    assert_int_equal(config_client(config, 0)->team_index, 0);
    assert_int_equal(strlen(config->sha256), 64);
    assert_non_null(strstr(config->store, "/tollgate.db"));
    config_free(config);
}

static void test_an_address_has_half_of_the_connections(void **state)
{
    static const struct {
        const char *limits;
        int64_t each;
    } cases[] = {
        {"{\"limits\":{\"max_connections\":100},", 50},
        {"{\"limits\":{\"max_connections\":20},", 16},
        {"{\"limits\":{\"max_connections\":10},", 10},
        {"{\"limits\":{\"max_connections\":100,\"max_connections_per_address\":7},", 7},
        {"{\"limits\":{\"max_connections\":100,\"max_connections_per_address\":100},", 100},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct config *config = NULL;
        assert_int_equal(load(*state, good, "{", cases[i].limits, &config), OK);
        assert_int_equal(config->limits.max_connections_per_address, cases[i].each);
        config_free(config);
    }
}

static void test_problems_across_options(void **state)
{
    static const struct {
        const char *from;
        const char *to;
        const char *pointer;
    } cases[] = {
        {"{", "{\"limits\":{\"max_connections\":20,\"max_connections_per_address\":21},",
         "/limits/max_connections_per_address"},
        {"\"account\":\"main\"", "\"account\":\"other\"", "/teams/helpdesk/account"},
        {"\"account\":\"main\"", "\"account\":\"main\",\"reserved\":11", "/teams/helpdesk"},
        {"\"account\":\"main\"", "\"account\":\"main\",\"max\":11", "/teams/helpdesk"},
        {"\"team\":\"helpdesk\"", "\"team\":\"nobody\"", "/clients/c/team"},
        {"\"team\":\"helpdesk\",", "", "/clients/c"},
        {",\"client_secret_file\":\"secret\"", "", "/accounts/main/credentials"},
        {"\"client_secret_file\":\"secret\"",
         "\"client_secret_file\":\"secret\",\"access_token_file\":\"secret\"",
         "/accounts/main/credentials"},
        {"\"client_secret_file\":\"secret\"", "\"client_secret_file\":\"missing\"",
         "/accounts/main/credentials/client_secret_file"},
        {"{\"credentials\"", "{\"base_url\":\"http://example.com\",\"credentials\"",
         "/accounts/main/base_url"},
        {"{\"credentials\"", "{\"base_url\":\"ftp://example.com\",\"credentials\"",
         "/accounts/main/base_url"},
        {"{\"id\":\"k1\"", "{\"id\":\"k1\",\"hash\":\"" HASH "\"},{\"id\":\"k1\"", "/clients"},
        {"127.0.0.1:0", "localhost:0", "/listen/0/address"},
        {"127.0.0.1:0", "127.0.0.1", "/listen/0/address"},
        {"127.0.0.1:0", "127.0.0.1:65536", "/listen/0/address"},
        {"\"exempt\"", "\"explode\"", "/teams/helpdesk/rules/0/actions/0"},
        {"\"node\":\"gw-1\"", "\"node\":\"g w\"", "/node"},
        {"\"node\":\"gw-1\",", "", "/node"},
        {"[\"exempt\"]", "[\"exempt\"],\"hours\":{\"from\":\"08:00\",\"to\":\"08:00\"}",
         "/teams/helpdesk/rules/0/hours"},
        {"\"node\"", "\"protected_devices\":[{\"macs\":[\"000c29*\"]}],\"node\"",
         "/protected_devices/0/macs/0"},
        {"\"id\":\"k1\"", "\"id\":\"k1\",\"not_after\":\"soon\"", "/clients/c/keys/0/not_after"},
    };
    struct fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct config *config = NULL;
        assert_int_equal(load(fixture, good, cases[i].from, cases[i].to, &config), ERR_INVALID);
        assert_null(config);
        assert_string_equal(fixture->problems.items[0].pointer, cases[i].pointer);
    }
}

static void test_problems_of_both_kinds_come_together(void **state)
{
    struct fixture *fixture = *state;
    struct config *config = NULL;

    assert_int_equal(load(fixture, good, "\"account\":\"main\"",
                          "\"account\":\"other\",\"weight\":0,\"colour\":1", &config),
                     ERR_INVALID);
    assert_int_equal(fixture->problems.count, 3);
}

static void test_a_secret_that_others_can_read_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct config *config = NULL;

    write_file(fixture, "secret", "s3cret", 0644);
    assert_int_equal(load(fixture, good, NULL, NULL, &config), ERR_INVALID);
    assert_string_equal(fixture->problems.items[0].pointer,
                        "/accounts/main/credentials/client_secret_file");
    assert_non_null(strstr(fixture->problems.items[0].detail, "chmod 600"));
    write_file(fixture, "secret", "s3cret", 0600);
}

static void test_what_is_not_json_is_said_with_its_line(void **state)
{
    struct fixture *fixture = *state;
    struct config *config = NULL;

    assert_int_equal(load(fixture, "{\n\"node\":}", NULL, NULL, &config), ERR_MALFORMED);
    assert_non_null(strstr(fixture->error.text, "line 2"));
}

static void test_a_rule_with_approvers_is_a_warning(void **state)
{
    struct config *config = NULL;

    assert_int_equal(
        load(*state, good, "[\"exempt\"]", "[\"exempt\"],\"approvers\":[\"x\"]", &config), OK);
    assert_int_equal(config->warnings.count, 1);
    assert_string_equal(config->warnings.items[0].pointer, "/teams/helpdesk/rules/0/approvers");
    config_free(config);
}

static void test_addresses(void **state)
{
    char host[64];
    uint16_t port = 0;

    (void)state;
    assert_int_equal(config_split_address("[::1]:8080", host, sizeof(host), &port), OK);
    assert_string_equal(host, "::1");
    assert_int_equal(port, 8080);
    assert_int_equal(config_split_address("0.0.0.0:0", host, sizeof(host), &port), OK);
    assert_int_equal(config_split_address("::1:8080", host, sizeof(host), &port), ERR_INVALID);
    assert_int_equal(config_split_address("1.2.3.4:+80", host, sizeof(host), &port), ERR_INVALID);
    assert_int_equal(config_split_address(":80", host, sizeof(host), &port), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_good_one_has_the_contracts_defaults),
        cmocka_unit_test(test_an_address_has_half_of_the_connections),
        cmocka_unit_test(test_problems_across_options),
        cmocka_unit_test(test_problems_of_both_kinds_come_together),
        cmocka_unit_test(test_a_secret_that_others_can_read_is_refused),
        cmocka_unit_test(test_what_is_not_json_is_said_with_its_line),
        cmocka_unit_test(test_a_rule_with_approvers_is_a_warning),
        cmocka_unit_test(test_addresses),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
