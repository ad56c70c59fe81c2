/* Config, the table: one row an option. See config.h. */
#include "common/clock.h"
#include "gateway/config.h"
#include "gateway/stream_address.h"
#include "gateway/syslog.h"

#include <stddef.h>
#include <string.h>

#define ROW(kind, owner, member, ...)                                                              \
    .name = #member, .type = OPTION_##kind, .offset = offsetof(struct owner, member), __VA_ARGS__
#define NAMED(kind, owner, text, member, ...)                                                      \
    .name = text, .type = OPTION_##kind, .offset = offsetof(struct owner, member), __VA_ARGS__
#define END                                                                                        \
    {                                                                                              \
        .name = NULL                                                                               \
    }

#define MAX_TEXT      1024
#define MAX_LIST      10000
#define DAY_S         86400
#define MAX_TIMEOUT_S 3600

/* ---- Forms of strings ---- */

static const char *check_name(const char *text)
{
    size_t len = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");

    return len > 0 && len <= 64 && text[len] == '\0' ? NULL : "1 to 64 of A-Z a-z 0-9 . _ -";
}

static const char *check_address(const char *text)
{
    char host[256];
    uint16_t port;

    return config_split_address(text, host, sizeof(host), &port) == OK
               ? NULL
               : "an IP address and port, such as 127.0.0.1:8080 or [::1]:8080";
}

static const char *check_hash(const char *text)
{
    return strncmp(text, "sha256:", 7) == 0 && strlen(text) == 71 &&
                   strspn(text + 7, "0123456789abcdefABCDEF") == 64
               ? NULL
               : "sha256: and 64 hex digits, as printed by 'tollgate key new'";
}

static const char *check_fingerprint(const char *text)
{
    return strlen(text) == 64 && strspn(text, "0123456789abcdefABCDEF") == 64
               ? NULL
               : "64 hex digits, as 'openssl x509 -fingerprint -sha256' prints them, without "
                 "colons";
}

static const char *check_time(const char *text)
{
    int64_t ms;

    return clock_parse(text, &ms) == OK ? NULL : "a time such as 2027-01-01T00:00:00Z";
}

static const char *check_hour(const char *text)
{
    return strlen(text) == 5 && text[2] == ':' && strspn(text, "0123456789") == 2 &&
                   strspn(text + 3, "0123456789") == 2 && strncmp(text, "24", 2) < 0 &&
                   text[3] < '6'
               ? NULL
               : "an hour and minute such as 08:00";
}

/* A pattern without separators would match nothing, and protect nothing. */
static const char *check_mac_pattern(const char *text)
{
    bool separated = strpbrk(text, ":-") != NULL || strcmp(text, "*") == 0;

    return separated && strspn(text, "0123456789abcdefABCDEF:-*") == strlen(text)
               ? NULL
               : "a MAC address with colons, such as 00:0c:29:*";
}

static const char *check_stream_address(const char *text)
{
    return stream_address_read(text, NULL);
}

/* RFC 5424, APP-NAME. */
static const char *check_app_name(const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        if (*at < '!' || *at > '~') {
            return "1 to 48 printable ASCII characters without spaces";
        }
    }
    return NULL;
}

static const char *check_store(const char *text)
{
    return strncmp(text, "sqlite:", 7) == 0 && text[7] != '\0'
               ? NULL
               : "sqlite:FILE (this version knows no other store)";
}

static const char *check_action(const char *text)
{
    return action_type_find(text) != NULL
               ? NULL
               : "an action: exempt, unexempt, ignore, unignore, delete, dhcprenew, re-identify, "
                 "assign_to_group or fetch_agent_log";
}

/* ---- The tables, inner ones first ---- */

static const char *const days[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun", NULL};
static const char *const zones[] = {"UTC", NULL};
static const char *const roles[] = {"auditor", "operator", NULL};

static const char *const certificate_modes[] = {"required", "optional", NULL};

static const struct option_row tls_options[] = {
    {NAMED(FILE, listen_config, "certificate", tls.certificate, .required = true, .min = 1,
           .max = MAX_TEXT, .doc = "certificate chain, PEM")},
    {NAMED(FILE, listen_config, "key", tls.key, .required = true, .min = 1, .max = MAX_TEXT,
           .doc = "private key, PEM, readable by the gateway's user only")},
    {NAMED(FILE, listen_config, "client_ca", tls.client_ca, .min = 1, .max = MAX_TEXT,
           .doc = "CAs that sign client certificates, PEM: clients may show one instead of a key")},
    {NAMED(STRING, listen_config, "client_certificate", tls.client_certificate, .min = 1,
           .max = MAX_TEXT, .choices = certificate_modes,
           .doc = "with client_ca: required (default): no connection without a certificate; "
                  "optional: or a key")},
    {NAMED(FILE, listen_config, "crl_file", tls.crl_file, .min = 1, .max = MAX_TEXT,
           .doc = "with client_ca: revoked certificates, PEM; a list of every CA in use")},
    END,
};

/* Members of an embedded struct are given by their offset in the outer one: the object itself
 * lies at offset 0. */
#define INNER(owner, text, table, ...)                                                             \
    .name = text, .type = OPTION_OBJECT, .offset = 0, .members = (table), __VA_ARGS__

static const struct option_row listen_options[] = {
    {ROW(STRING, listen_config, address, .required = true, .min = 1, .max = 262, .fixed = true,
         .check = check_address, .doc = "IP address and port to listen on; port 0 picks one")},
    {INNER(listen_config, "tls", tls_options,
           .present = offsetof(struct listen_config, has_tls) + 1, .doc = "serve HTTPS")},
    END,
};

static const struct option_row admin_options[] = {
    {ROW(STRING, listen_config, address, .required = true, .min = 1, .max = 262,
         .check = check_address, .doc = "IP address and port of /livez, /readyz, /metrics")},
    END,
};

static const char *const stream_types[] = {"file", "syslog", NULL};

static const struct option_row stream_options[] = {
    {ROW(STRING, stream_config, name, .required = true, .min = 1, .max = 64, .check = check_name,
         .doc = "names the stream in metrics and log; how far it got is kept under this name")},
    {ROW(STRING, stream_config, type, .required = true, .min = 1, .max = 64,
         .choices = stream_types, .doc = "file: JSON lines; syslog: RFC 5424")},
    {ROW(FILE, stream_config, path, .min = 1, .max = MAX_TEXT,
         .doc = "file: what the records are appended to")},
    {ROW(STRING, stream_config, address, .min = 1, .max = MAX_TEXT, .check = check_stream_address,
         .doc = "syslog: tls://HOST:PORT, tcp://LOOPBACK-ADDRESS:PORT or unix:/PATH")},
    {ROW(FILE, stream_config, ca_file, .min = 1, .max = MAX_TEXT,
         .doc = "tls: CA that signs the receiver's certificate, PEM; default the system's")},
    {ROW(FILE, stream_config, certificate, .min = 1, .max = MAX_TEXT,
         .doc = "tls: the gateway's own certificate chain, PEM, if the receiver wants one")},
    {ROW(FILE, stream_config, key, .min = 1, .max = MAX_TEXT,
         .doc = "tls: its private key, PEM, readable by the gateway's user only")},
    {ROW(STRING, stream_config, facility, .min = 1, .max = 64, .choices = syslog_facilities,
         .fallback_text = "authpriv", .doc = "syslog: facility of the messages")},
    {ROW(STRING, stream_config, app_name, .min = 1, .max = 48, .check = check_app_name,
         .fallback_text = "tollgate", .doc = "syslog: APP-NAME of the messages")},
    END,
};

static const struct option_row audit_options[] = {
    {NAMED(FILE, config, "signing_key_file", audit.signing_key_file, .min = 1, .max = MAX_TEXT,
           .doc = "Ed25519 key that signs checkpoints")},
    {NAMED(FILE, config, "checkpoint_file", audit.checkpoint_file, .min = 1, .max = MAX_TEXT,
           .doc = "file that each checkpoint is appended to")},
    {NAMED(INTEGER, config, "checkpoint_interval_s", audit.checkpoint_interval_s, .min = 1,
           .max = DAY_S, .fallback = 60, .doc = "seconds between checkpoints, when there is news")},
    {NAMED(TEXTS, config, "checkpoint_command", audit.checkpoint_command, .max = 64,
           .doc = "program and arguments that get each checkpoint on standard input; no shell")},
    {NAMED(INTEGER, config, "retain_days", audit.retain_days, .min = 0, .max = 36500,
           .doc = "records older than this are dropped behind a checkpoint; 0 keeps all")},
    {NAMED(LIST, config, "streams", audit.streams, .max = 16, .members = stream_options,
           .size = sizeof(struct stream_config), .fixed = true,
           .doc = "where each record is sent, too")},
    END,
};

static const struct option_row limits_options[] = {
    {NAMED(INTEGER, config, "max_connections", limits.max_connections, .min = 1, .max = 1000000,
           .fallback = 10000, .doc = "open client connections, all listeners together")},
    {NAMED(INTEGER, config, "max_connections_per_address", limits.max_connections_per_address,
           .min = 1, .max = 1000000,
           .doc = "of those, from one IPv4 address or IPv6 /64; default half of max_connections, "
                  "but at least 16")},
    {NAMED(INTEGER, config, "max_header_bytes", limits.max_header_bytes, .min = 1024,
           .max = 1048576, .fallback = 16384, .doc = "request line and headers; more is 431")},
    {NAMED(INTEGER, config, "max_body_bytes", limits.max_body_bytes, .min = 1024, .max = 67108864,
           .fallback = 1048576, .doc = "request body; more is 413")},
    {NAMED(INTEGER, config, "max_devices_per_request", limits.max_devices_per_request, .min = 1,
           .max = 10000, .fallback = 1000, .doc = "devices in one request; more is 422")},
    {NAMED(INTEGER, config, "header_timeout_s", limits.header_timeout_s, .min = 1,
           .max = MAX_TIMEOUT_S, .fallback = 10, .doc = "seconds for a request's headers")},
    {NAMED(INTEGER, config, "body_timeout_s", limits.body_timeout_s, .min = 1, .max = MAX_TIMEOUT_S,
           .fallback = 30, .doc = "seconds for a request's body")},
    {NAMED(INTEGER, config, "idle_timeout_s", limits.idle_timeout_s, .min = 1, .max = MAX_TIMEOUT_S,
           .fallback = 75, .doc = "seconds between requests")},
    {NAMED(INTEGER, config, "bad_keys_per_minute", limits.bad_keys_per_minute, .min = 1,
           .max = 1000000, .fallback = 20,
           .doc = "bad keys from one address that are refused at once; more wait a second each")},
    END,
};

static const struct option_row credentials_options[] = {
    {NAMED(STRING, account_config, "client_id", credentials.client_id, .min = 1, .max = MAX_TEXT,
           .doc = "OAuth client id")},
    {NAMED(FILE, account_config, "client_secret_file", credentials.client_secret_file, .min = 1,
           .max = MAX_TEXT, .doc = "file with the OAuth client secret")},
    {NAMED(FILE, account_config, "access_token_file", credentials.access_token_file, .min = 1,
           .max = MAX_TEXT, .doc = "file with a token issued elsewhere, instead of id and secret")},
    {NAMED(STRING, account_config, "token_url", credentials.token_url, .min = 1, .max = MAX_TEXT,
           .doc = "token endpoint; default base_url + /o/oauth/token")},
    END,
};

static const struct option_row budget_options[] = {
    {NAMED(INTEGER, account_config, "requests", budget.requests, .min = 1, .max = 1000000,
           .fallback = 10, .doc = "upstream calls in any window")},
    {NAMED(INTEGER, account_config, "window_s", budget.window_s, .min = 1, .max = DAY_S,
           .fallback = 60, .doc = "length of the window in seconds")},
    END,
};

static const struct option_row account_options[] = {
    {ROW(STRING, account_config, base_url, .min = 1, .max = MAX_TEXT,
         .fallback_text = "https://gears.opswat.com", .doc = "where the upstream is")},
    {INNER(account_config, "credentials", credentials_options, .required = true,
           .doc = "client_id and client_secret_file, or access_token_file")},
    {INNER(account_config, "budget", budget_options, .doc = "calls the account may make")},
    {ROW(FILE, account_config, ca_file, .min = 1, .max = MAX_TEXT,
         .doc = "CA that signs the upstream's certificate, PEM; default the system's")},
    {ROW(INTEGER, account_config, max_devices_per_call, .min = 1, .max = 10000, .fallback = 100,
         .doc = "devices in one upstream call")},
    {ROW(INTEGER, account_config, batch_linger_ms, .min = 0, .max = 60000, .fallback = 1000,
         .doc = "longest wait for others to share a call with")},
    {ROW(INTEGER, account_config, connect_timeout_s, .min = 1, .max = 300, .fallback = 5,
         .doc = "seconds to connect to the upstream, name look-up included")},
    {ROW(INTEGER, account_config, timeout_s, .min = 1, .max = MAX_TIMEOUT_S, .fallback = 30,
         .doc = "seconds for a whole upstream call")},
    END,
};

static const struct option_row hours_options[] = {
    {NAMED(TEXTS, rule, "days", hours.days, .max = 7, .choices = days, .doc = "default every day")},
    {NAMED(STRING, rule, "from", hours.from, .min = 5, .max = 5, .check = check_hour,
           .doc = "first minute, such as 08:00")},
    {NAMED(STRING, rule, "to", hours.to, .min = 5, .max = 5, .check = check_hour,
           .doc = "minute after the last, such as 18:00")},
    {NAMED(STRING, rule, "zone", hours.zone, .min = 1, .max = 64, .choices = zones,
           .fallback_text = "UTC", .doc = "time zone")},
    END,
};

static const struct option_row rule_options[] = {
    {ROW(TEXTS, rule, actions, .required = true, .min = 1, .max = 64, .check = check_action,
         .doc = "actions that the rule allows")},
    {ROW(INTEGER, rule, max_devices, .min = 1, .max = 10000, .doc = "devices in one request")},
    {ROW(INTEGER, rule, max_exempt_hours, .min = 0, .max = 64999, .fallback = -1,
         .doc = "longest exemption; for ever (0) is over every limit")},
    {ROW(TEXTS, rule, groups, .max = MAX_LIST, .doc = "group_id values allowed")},
    {ROW(BOOL, rule, require_reason, .doc = "the request must carry Action-Reason")},
    {ROW(TEXTS, rule, approvers, .max = 64, .doc = "teams that must approve")},
    {INNER(rule, "hours", hours_options, .present = offsetof(struct rule, has_hours) + 1,
           .doc = "when the rule applies")},
    {ROW(BOOL, rule, shadow, .doc = "only report what the rule would have refused")},
    END,
};

static const struct option_row team_options[] = {
    {ROW(STRING, team_config, account, .required = true, .min = 1, .max = 64,
         .doc = "the account whose budget the team uses")},
    {ROW(INTEGER, team_config, weight, .min = 1, .max = 1000, .fallback = 1,
         .doc = "share of the budget against other teams")},
    {ROW(INTEGER, team_config, reserved, .min = 0, .max = 1000000,
         .doc = "calls of each window kept for the team")},
    {ROW(INTEGER, team_config, max, .min = 1, .max = 1000000,
         .doc = "most calls of a window; default the account's budget.requests")},
    {ROW(INTEGER, team_config, queue_limit, .min = 1, .max = 1000000, .fallback = 1000,
         .doc = "requests that may wait; more get 429")},
    {ROW(INTEGER, team_config, sync_wait_s, .min = 0, .max = 300, .fallback = 65,
         .doc = "how long a request waits for its results")},
    {ROW(LIST, team_config, rules, .max = 1000, .members = rule_options,
         .size = sizeof(struct rule),
         .doc = "tried in order; the first that fits allows; none: nothing is allowed")},
    END,
};

static const struct option_row key_options[] = {
    {ROW(STRING, key_config, id, .required = true, .min = 1, .max = 64, .check = check_name,
         .doc = "names the key in the audit log")},
    {ROW(STRING, key_config, hash, .required = true, .min = 71, .max = 71, .check = check_hash,
         .unquoted = true,
         .doc = "sha256: and the SHA-256 of the whole key, as 'tollgate key new' prints")},
    {ROW(STRING, key_config, not_after, .min = 1, .max = 40, .check = check_time,
         .doc = "the key is refused from then on")},
    END,
};

static const struct option_row certificate_options[] = {
    {NAMED(STRING, client_config, "san", certificate.san, .min = 1, .max = MAX_TEXT,
           .doc = "a subject alternative name of the client's certificate: a URI, an email address "
                  "or a DNS name, byte for byte")},
    {NAMED(STRING, client_config, "fingerprint", certificate.fingerprint, .min = 1, .max = MAX_TEXT,
           .check = check_fingerprint,
           .doc = "SHA-256 of the client's certificate (DER), 64 hex digits")},
    END,
};

static const struct option_row client_options[] = {
    {ROW(STRING, client_config, team, .min = 1, .max = 64, .doc = "the team it acts for")},
    {ROW(TEXTS, client_config, roles, .max = 2, .choices = roles,
         .doc = "auditor: read the audit log; operator: that, and cancel")},
    {ROW(LIST, client_config, keys, .max = 16, .members = key_options,
         .size = sizeof(struct key_config), .doc = "two, while one is being replaced")},
    {INNER(client_config, "certificate", certificate_options,
           .present = offsetof(struct client_config, has_certificate) + 1,
           .doc = "authenticate by client certificate")},
    END,
};

static const struct option_row protection_options[] = {
    {ROW(TEXTS, protection, ids, .max = MAX_LIST, .doc = "device ids; * stands for anything")},
    {ROW(TEXTS, protection, macs, .max = MAX_LIST, .check = check_mac_pattern,
         .doc = "MAC addresses with colons; * stands for anything")},
    {ROW(TEXTS, protection, actions, .max = 64, .check = check_action,
         .doc = "actions refused; none listed: all")},
    END,
};

const struct option_row config_options[] = {
    {NAMED(STRING, config, "$schema", schema, .max = MAX_TEXT, .doc = "for editors; ignored")},
    {ROW(STRING, config, node, .required = true, .min = 1, .max = 64, .check = check_name,
         .fixed = true, .doc = "name of this gateway in its audit log; keep it for ever")},
    {ROW(LIST, config, listen, .required = true, .min = 1, .max = 64, .members = listen_options,
         .size = sizeof(struct listen_config), .doc = "where clients connect")},
    {.name = "admin",
     .type = OPTION_OBJECT,
     .offset = offsetof(struct config, admin),
     .members = admin_options,
     .present = offsetof(struct config, has_admin) + 1,
     .fixed = true,
     .doc = "where operations connect: /livez, /readyz, /metrics"},
    {ROW(INTEGER, config, workers, .min = 0, .max = 256, .fixed = true,
         .doc = "threads; 0 = one for each core")},
    {ROW(STRING, config, store, .min = 1, .max = MAX_TEXT, .fallback_text = "sqlite:tollgate.db",
         .check = check_store, .fixed = true,
         .doc = "where actions, budget and audit log are kept")},
    {INNER(config, "audit", audit_options, .doc = "the audit log")},
    {ROW(BOOL, config, accept_query_token,
         .doc = "accept the key as ?access_token=, as scripts written for the upstream send it")},
    {ROW(BOOL, config, seccomp, .fixed = true,
         .doc = "be killed at the first system call that a gateway has no use for")},
    {INNER(config, "limits", limits_options, .doc = "bounds on what a client may do")},
    {ROW(MAP, config, accounts, .required = true, .min = 1, .max = 1000, .members = account_options,
         .size = sizeof(struct account_config), .check = check_name,
         .doc = "upstream accounts, by name")},
    {ROW(MAP, config, teams, .required = true, .min = 1, .max = 10000, .members = team_options,
         .size = sizeof(struct team_config), .check = check_name,
         .doc = "teams that share the accounts, by name")},
    {ROW(MAP, config, clients, .required = true, .min = 1, .max = 100000, .members = client_options,
         .size = sizeof(struct client_config), .check = check_name,
         .doc = "scripts and people, by name")},
    {ROW(LIST, config, protected_devices, .max = 1000, .members = protection_options,
         .size = sizeof(struct protection), .doc = "devices refused whatever the rules say")},
    END,
};
