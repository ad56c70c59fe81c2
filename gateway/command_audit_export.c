/* tollgate audit export: prints records, as JSON lines or CSV. See command.h. */
#include "gateway/command_audit.h"

#include "common/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct exporting {
    struct audit_source source;
    struct store_record_query query;
    bool csv;
    bool filtered;
    bool failed; /* standard output */
    enum err err;
    struct error error;
};

/* ---- Arguments ---- */

/* Takes an option that says which records; false: it is none of these. */
static bool take_filter(struct exporting *exporting, int option, const char *value)
{
    struct store_record_query *query = &exporting->query;
    const struct {
        int option;
        const char **to;
    } filters[] = {{'t', &query->team},      {'l', &query->client}, {'a', &query->action},
                   {'i', &query->action_id}, {'d', &query->device}, {'e', &query->event},
                   {'n', &query->node}};

    for (size_t i = 0; i < ARRAY_LEN(filters); i++) {
        if (filters[i].option == option) {
            *filters[i].to = value;
            exporting->filtered = true;
            return true;
        }
    }
    return false;
}

static int take_time(const struct command *command, struct exporting *exporting, int option,
                     const char *value)
{
    struct store_record_query *query = &exporting->query;

    exporting->filtered = true;
    if (audit_read_time(value, option == 'T' ? &query->to_ms : &query->from_ms) != OK) {
        return command_usage(command, "'%s' is no time: 2026-11-24 or 2026-11-24T22:00:00Z", value);
    }
    return EXIT_DONE;
}

static int take_format(const struct command *command, struct exporting *exporting,
                       const char *value)
{
    exporting->csv = strcmp(value, "csv") == 0;
    if (!exporting->csv && strcmp(value, "jsonl") != 0) {
        return command_usage(command, "--format is jsonl or csv");
    }
    return EXIT_DONE;
}

static int read_arguments(const struct command *command, struct exporting *exporting, int argc,
                          char **argv)
{
    static const struct option options[] = {AUDIT_SOURCE_OPTIONS,
                                            {"format", required_argument, NULL, 'f'},
                                            {"from", required_argument, NULL, 'F'},
                                            {"to", required_argument, NULL, 'T'},
                                            {"team", required_argument, NULL, 't'},
                                            {"client", required_argument, NULL, 'l'},
                                            {"action", required_argument, NULL, 'a'},
                                            {"action-id", required_argument, NULL, 'i'},
                                            {"device", required_argument, NULL, 'd'},
                                            {"event", required_argument, NULL, 'e'},
                                            {"node", required_argument, NULL, 'n'},
                                            {NULL, 0, NULL, 0}};
    int code = EXIT_DONE;
    int option;

    opterr = 0;
    while (code == EXIT_DONE &&
           (option = getopt_long(argc, argv, AUDIT_SOURCE_SHORT, options, NULL)) != -1) {
        if (option == 'c') {
            exporting->source.config_path = optarg;
        } else if (option == 's') {
            exporting->source.url = optarg;
        } else if (option == 'f') {
            code = take_format(command, exporting, optarg);
        } else if (option == 'F' || option == 'T') {
            code = take_time(command, exporting, option, optarg);
        } else if (!take_filter(exporting, option, optarg)) {
            return command_usage(command, "'%s' is not an option of it, or lacks its value",
                                 argv[optind - 1]);
        }
    }
    if (code == EXIT_DONE && optind < argc) {
        return command_usage(command, "'%s' is one argument too many", argv[optind]);
    }
    return code;
}

/* ---- CSV (RFC 4180) ---- */

static const char *const columns[] = {
    "node",    "seq",     "time",    "event",           "request_id", "client",
    "key_id",  "team",    "remote",  "traceparent",     "action_id",  "call_id",
    "account", "action",  "devices", "params",          "reason",     "decision",
    "rule",    "problem", "outcome", "upstream_status", "results",    "detail"};

/* Prints a field. Control characters are escaped, so it is one line and safe to show; what a
 * spreadsheet would take for a formula gets an apostrophe in front (CWE-1236). */
static void print_field(const char *text)
{
    CLEANUP(cleanup_free) char *shown = audit_printable(text);
    const char *danger = shown[0] != '\0' && strchr("=+-@", shown[0]) != NULL ? "'" : "";

    if (strpbrk(shown, "\",") == NULL) {
        (void)printf("%s%s", danger, shown);
        return;
    }
    (void)printf("\"%s", danger);
    for (const char *at = shown; *at != '\0'; at++) {
        if (*at == '"') {
            (void)putchar('"');
        }
        (void)putchar(*at);
    }
    (void)putchar('"');
}

/* Strings as they are, a list of strings with spaces between, anything else as JSON. */
static void print_value(const json_t *value)
{
    CLEANUP(cleanup_free) char *text = NULL;
    size_t i;
    const json_t *item;

    if (value == NULL) {
        return;
    }
    if (json_is_string(value)) {
        print_field(json_string_value(value));
        return;
    }
    if (json_is_integer(value)) { /* a number is no formula, a minus or not */
        (void)printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return;
    }
    if (json_is_array(value) && json_is_string(json_array_get(value, 0))) {
        text = xstrdup("");
        json_array_foreach (value, i, item) {
            const char *device = json_string_value(item);
            char *more = xasprintf("%s%s%s", text, i > 0 ? " " : "", device != NULL ? device : "");
            free(text);
            text = more;
        }
    } else {
        text = json_write(value);
    }
    print_field(text);
}

static void print_csv(const struct store_record *stored)
{
    CLEANUP(cleanup_json) json_t *record = NULL;
    struct error error = {0};

    if (json_read(stored->bytes, stored->len, &record, &error) != OK) {
        print_field(stored->node);
        (void)printf(",%" PRId64 ",,(not readable)", stored->seq);
        for (size_t i = 4; i < ARRAY_LEN(columns); i++) {
            (void)putchar(',');
        }
    }
    for (size_t i = 0; record != NULL && i < ARRAY_LEN(columns); i++) {
        if (i > 0) {
            (void)putchar(',');
        }
        print_value(json_object_get(record, columns[i]));
    }
    (void)fputs("\r\n", stdout);
}

static void print_header(void)
{
    for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
        (void)printf("%s%s", i > 0 ? "," : "", columns[i]);
    }
    (void)fputs("\r\n", stdout);
}

/* ---- Records ---- */

static bool on_record(const struct store_record *record, void *arg)
{
    struct exporting *exporting = arg;

    if (exporting->csv) {
        print_csv(record);
    } else {
        (void)fwrite(record->bytes, 1, record->len, stdout);
        (void)putchar('\n');
    }
    exporting->failed = ferror(stdout) != 0;
    return !exporting->failed;
}

static bool on_node(const char *node, void *arg)
{
    struct exporting *exporting = arg;

    exporting->err = store_audit_each_record(exporting->source.audit, node, INT64_MIN, INT64_MAX,
                                             on_record, exporting, &exporting->error);
    return exporting->err == OK && !exporting->failed;
}

int command_audit_export(const struct command *command, int argc, char **argv)
{
    struct exporting exporting = {0};
    int code = read_arguments(command, &exporting, argc, argv);
    enum err err;

    if (code == EXIT_DONE) {
        code = audit_source_open(command, &exporting.source);
    }
    if (code != EXIT_DONE) {
        return code;
    }
    if (exporting.csv) {
        print_header();
    }
    if (exporting.filtered) {
        err = audit_find_all(exporting.source.audit, &exporting.query, on_record, &exporting,
                             &exporting.error);
    } else { /* whatever is there, as it is */
        err = store_audit_each_node(exporting.source.audit, on_node, &exporting, &exporting.error);
    }
    err = err == OK ? exporting.err : err;
    code = err != OK ? audit_failed(command, &exporting.error) : audit_flush(command, EXIT_DONE);
    audit_source_close(&exporting.source);
    return code;
}
