/* Dispatcher, the upstreams of accounts: see struct connector. */
#include "gateway/dispatcher_priv.h"

#include <stdlib.h>
#include <string.h>

#define MAX_ANSWER_BYTES (16 * 1024 * 1024)

static void on_token(enum token_event event, int64_t expires_wall_ms, const char *detail, void *arg)
{
    const struct connector *connector = arg;
    struct account *account = connector->account;

    if (account != NULL && account->connector == connector) {
        account_on_token(account, event, expires_wall_ms, detail);
    }
}

enum err connector_open(struct dispatcher *dispatcher, const struct account_config *config,
                        struct connector **ret_connector, struct error *error)
{
    struct connector *connector = xcalloc(1, sizeof(*connector));
    struct upstream_options options = {
        .base_url = config->base_url,
        .client_id = config->credentials.client_id,
        .client_secret_file = config->credentials.client_secret_file,
        .token_url = config->credentials.token_url,
        .access_token_file = config->credentials.access_token_file,
        .ca_file = config->ca_file,
        .connect_timeout_ms = config->connect_timeout_s * 1000,
        .timeout_ms = config->timeout_s * 1000,
        .max_answer_bytes = MAX_ANSWER_BYTES,
    };
    struct upstream_callbacks callbacks = {.on_token = on_token, .arg = connector};
    enum err err =
        upstream_new(dispatcher->base, &options, &callbacks, &connector->upstream, error);

    if (err != OK) {
        free(connector);
        return err;
    }
    connector->timeout_ms = options.timeout_ms;
    *ret_connector = connector;
    return OK;
}

void connector_free(struct connector *connector)
{
    if (connector != NULL) {
        upstream_free(connector->upstream);
        free(connector);
    }
}

void connector_use(struct account *account, struct connector *connector)
{
    struct connector *before = account->connector;

    connector->account = account;
    account->connector = connector;
    account->token_failed = account->open = false;
    account->failures = 0;
    if (before != NULL && before->calls > 0) {
        before->next = account->old_connectors;
        account->old_connectors = before;
    } else {
        connector_free(before);
    }
}

void connector_release(struct account *account, struct connector *connector)
{
    struct connector **link = &account->old_connectors;

    connector->calls--;
    if (connector->calls > 0 || connector == account->connector) {
        return;
    }
    while (*link != connector) {
        link = &(*link)->next;
    }
    *link = connector->next;
    connector_free(connector);
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

bool connector_differs(const struct account_config *before, const struct account_config *after)
{
    return !same_text(before->base_url, after->base_url) ||
           !same_text(before->ca_file, after->ca_file) ||
           !same_text(before->credentials.client_id, after->credentials.client_id) ||
           !same_text(before->credentials.client_secret_file,
                      after->credentials.client_secret_file) ||
           !same_text(before->credentials.access_token_file,
                      after->credentials.access_token_file) ||
           !same_text(before->credentials.token_url, after->credentials.token_url) ||
           before->connect_timeout_s != after->connect_timeout_s ||
           before->timeout_s != after->timeout_s;
}
