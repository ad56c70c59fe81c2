/* Config: the gateway's one configuration file as it was read, immutable. What is in force, and how
 * long it lives, is in settings.h.
 * Every option has one row in config_table.c: parsing, bounds, defaults, documentation and the
 * JSON Schema come from there. */
#ifndef GATEWAY_CONFIG_H
#define GATEWAY_CONFIG_H

#include "common/error.h"
#include "common/memory.h"
#include "gateway/options.h"
#include "policy/rules.h"

#include <stdbool.h>
#include <stdint.h>

struct listen_config {
    char *address; /* host:port or [host]:port */
    bool has_tls;
    struct {
        char *certificate;
        char *key;
        char *client_ca;          /* NULL: client certificates are not asked for */
        char *client_certificate; /* NULL: required */
        char *crl_file;
    } tls;
};

struct account_config {
    char *name;
    char *base_url;
    char *ca_file;
    struct {
        char *client_id;
        char *client_secret_file;
        char *access_token_file;
        char *token_url;
    } credentials;
    struct {
        int64_t requests;
        int64_t window_s;
    } budget;
    int64_t max_devices_per_call;
    int64_t batch_linger_ms;
    int64_t connect_timeout_s;
    int64_t timeout_s;
};

struct team_config {
    char *name;
    char *account;
    int64_t weight;
    int64_t reserved;
    int64_t max; /* 0: as many as the account's budget */
    int64_t queue_limit;
    int64_t sync_wait_s;
    struct option_list rules; /* of struct rule */
    size_t account_index;     /* set once the whole is checked */
};

struct key_config {
    char *id;
    char *hash;      /* sha256:<64 hex> */
    char *not_after; /* RFC 3339, or NULL */
};

struct client_config {
    char *name;
    char *team; /* NULL for a client that only has roles */
    struct text_list roles;
    struct option_list keys; /* of struct key_config */
    bool has_certificate;
    struct {
        char *san;
        char *fingerprint;
    } certificate;
    ssize_t team_index; /* -1: none; set once the whole is checked */
};

/* Where the audit log is also sent. */
struct stream_config {
    char *name;
    char *type;    /* file or syslog */
    char *path;    /* file */
    char *address; /* syslog: see stream_address.h; and the rest is syslog's too */
    char *ca_file;
    char *certificate;
    char *key;
    char *facility;
    char *app_name;
};

struct config {
    char *schema; /* "$schema", for editors */
    char *node;
    struct option_list listen; /* of struct listen_config */
    bool has_admin;
    struct listen_config admin;
    int64_t workers; /* 0: one for each core */
    char *store;
    struct {
        char *signing_key_file;
        char *checkpoint_file;
        int64_t checkpoint_interval_s;
        struct text_list checkpoint_command; /* none: empty */
        int64_t retain_days;                 /* 0: for ever */
        struct option_list streams;          /* of struct stream_config */
    } audit;
    bool accept_query_token;
    bool seccomp;
    struct {
        int64_t max_connections;
        int64_t max_connections_per_address;
        int64_t max_header_bytes;
        int64_t max_body_bytes;
        int64_t max_devices_per_request;
        int64_t header_timeout_s;
        int64_t body_timeout_s;
        int64_t idle_timeout_s;
        int64_t bad_keys_per_minute;
    } limits;
    struct option_list accounts;          /* of struct account_config */
    struct option_list teams;             /* of struct team_config */
    struct option_list clients;           /* of struct client_config */
    struct option_list protected_devices; /* of struct protection */
    char sha256[65];                      /* of the file's bytes: names this version in the audit */
    struct problems warnings;             /* accepted, but the operator should know */
};

/* The table of all options. */
extern const struct option_row config_options[];

/* Reads and checks a file. ERR_IO, ERR_NOT_FOUND, ERR_MALFORMED (in error): it could not be read
 * at all. ERR_INVALID: everything that is wrong is in *problems, which the caller starts zeroed
 * and ends. Secret files are checked too: that they can be read and are private. */
enum err config_load(const char *path, struct config **ret_config, struct problems *problems,
                     struct error *error) MUST_CHECK;

/* The same for what a file of that name holds. ERR_MALFORMED, ERR_INVALID. */
enum err config_read(const char *text, size_t len, const char *path, struct config **ret_config,
                     struct problems *problems, struct error *error) MUST_CHECK;

void config_free(struct config *config);

/* Typed access to the lists. */
const struct account_config *config_account(const struct config *config, size_t index);
const struct team_config *config_team(const struct config *config, size_t index);
const struct client_config *config_client(const struct config *config, size_t index);
const struct listen_config *config_listen(const struct config *config, size_t index);
const struct stream_config *config_stream(const struct config *config, size_t index);

/* The index of the team, or account, of that name, or -1. */
ssize_t config_find_team(const struct config *config, const char *name);
ssize_t config_find_account(const struct config *config, const char *name);

/* Adds a problem for everything that a running gateway, which was started with `before`, cannot
 * change to. */
void config_check_change(const struct config *before, const struct config *after,
                         struct problems *problems);

/* What policy needs to decide for a team; borrows from the config. */
struct policy config_policy(const struct config *config, size_t team);

/* The checks of audit.streams that need more than one option. For config_load(). */
void config_check_streams(const struct config *config, struct problems *problems);

/* Splits "host:port" or "[host]:port"; ERR_INVALID. host is at most size - 1 long. */
enum err config_split_address(const char *address, char *host, size_t size,
                              uint16_t *ret_port) MUST_CHECK;

#endif
