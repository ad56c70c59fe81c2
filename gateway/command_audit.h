/* What the commands of the audit log share: where it is, times, printing. Main thread. */
#ifndef GATEWAY_COMMAND_AUDIT_H
#define GATEWAY_COMMAND_AUDIT_H

#include "gateway/command.h"
#include "store/audit.h"

#include <getopt.h>
#include <jansson.h>

/* Which store: that of a configuration, or one by its URL. Zero it, fill it from the options. */
struct audit_source {
    const char *config_path;
    const char *url;
    struct config *config; /* NULL with --store */
    struct store_audit *audit;
};

/* The rows of a getopt_long() table for it, and what getopt_long() returns for them. */
#define AUDIT_SOURCE_OPTIONS                                                                       \
    {"config", required_argument, NULL, 'c'},                                                      \
    {                                                                                              \
        "store", required_argument, NULL, 's'                                                      \
    }
#define AUDIT_SOURCE_SHORT "c:"
#define AUDIT_SOURCE_HELP                                                                          \
    "  -c FILE             the configuration, for its store\n"                                     \
    "  --store URL         or the store itself: sqlite:FILE\n"

/* EXIT_DONE, or what the command exits with once the reason is on stderr. */
int audit_source_open(const struct command *command, struct audit_source *source);
void audit_source_close(struct audit_source *source);

/* Reads a time that an option has: RFC 3339, or a date, for its midnight UTC. ERR_MALFORMED. */
enum err audit_read_time(const char *text, int64_t *ret_ms) MUST_CHECK;

/* Calls each for all records that fit, the oldest first, page by page. query->limit and cursor are
 * set here. */
enum err audit_find_all(struct store_audit *audit, struct store_record_query *query,
                        bool (*each)(const struct store_record *record, void *arg), void *arg,
                        struct error *error) MUST_CHECK;

/* A name of anybody as a JSON string: as it is, or with '?' for each byte that is no printable
 * ASCII if it is no UTF-8 or has control characters. New reference. */
json_t *audit_json_text(const char *text);

/* Text for a terminal: control characters as \u00XX, what is no UTF-8 as '?'. The caller frees. */
char *audit_printable(const char *text);

/* Says what went wrong on stderr; EXIT_REFUSED. */
int audit_failed(const struct command *command, const struct error *error);

/* Flushes standard output; EXIT_REFUSED, with the reason, if that fails, else code. */
int audit_flush(const struct command *command, int code);

#endif
