/* tollgate audit show: what happened to one action or one device, one line for each record. See
 * command.h. */
#include "gateway/command_audit.h"

#include "common/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEVICES_SHOWN 5

struct showing {
    struct audit_source source;
    struct store_record_query query;
    bool json;
    uint64_t count;
};

static int read_arguments(const struct command *command, struct showing *showing, int argc,
                          char **argv)
{
    static const struct option options[] = {AUDIT_SOURCE_OPTIONS,
                                            {"action-id", required_argument, NULL, 'i'},
                                            {"device", required_argument, NULL, 'd'},
                                            {"json", no_argument, NULL, 'j'},
                                            {NULL, 0, NULL, 0}};
    int option;

    opterr = 0;
    while ((option = getopt_long(argc, argv, AUDIT_SOURCE_SHORT, options, NULL)) != -1) {
        switch (option) {
        case 'c':
            showing->source.config_path = optarg;
            break;
        case 's':
            showing->source.url = optarg;
            break;
        case 'i':
            showing->query.action_id = optarg;
            break;
        case 'd':
            showing->query.device = optarg;
            break;
        case 'j':
            showing->json = true;
            break;
        default:
            return command_usage(command, "'%s' is not an option of it, or lacks its value",
                                 argv[optind - 1]);
        }
    }
    if (optind < argc && showing->query.action_id == NULL) {
        showing->query.action_id = argv[optind++];
    }
    if (optind < argc) {
        return command_usage(command, "'%s' is one argument too many", argv[optind]);
    }
    if ((showing->query.action_id == NULL) == (showing->query.device == NULL)) {
        return command_usage(command, "needs an action's ID or --device DEVICE, one of them");
    }
    return EXIT_DONE;
}

/* ---- A line ---- */

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* Prints " WORD TEXT" if there is a text; whoever named it, a terminal can show it. */
static void print_part(const char *word, const char *text)
{
    if (text != NULL) {
        CLEANUP(cleanup_free) char *shown = audit_printable(text);
        (void)printf("%s%s", word, shown);
    }
}

static void print_devices(const json_t *devices)
{
    size_t count = json_array_size(devices);

    for (size_t i = 0; i < count && i < DEVICES_SHOWN; i++) {
        print_part(i == 0 ? " " : ", ", json_string_value(json_array_get(devices, i)));
    }
    if (count > DEVICES_SHOWN) {
        (void)printf(" and %zu more", count - DEVICES_SHOWN);
    }
}

/* The results: how many devices have which status. */
static void print_results(const json_t *results)
{
    json_int_t statuses[16];
    size_t counts[16] = {0};
    size_t kinds = 0;
    size_t i;
    const json_t *item;

    json_array_foreach (results, i, item) {
        json_int_t status = json_integer_value(json_object_get(item, "status"));
        size_t kind = 0;
        while (kind < kinds && statuses[kind] != status) {
            kind++;
        }
        if (kind == ARRAY_LEN(statuses)) {
            continue;
        }
        statuses[kind] = status;
        kinds += kind == kinds ? 1 : 0;
        counts[kind]++;
    }
    for (i = 0; i < kinds; i++) {
        (void)printf("%s%zu with status %" JSON_INTEGER_FORMAT, i == 0 ? ": " : ", ", counts[i],
                     statuses[i]);
    }
}

static void print_line(const json_t *record)
{
    const json_t *params = json_object_get(record, "params");
    const json_t *status = json_object_get(record, "upstream_status");
    const json_t *detail = json_object_get(record, "detail");
    CLEANUP(cleanup_free) char *params_text = params != NULL ? json_write(params) : NULL;

    print_part("", text_of(record, "time"));
    print_part("  ", text_of(record, "node"));
    (void)printf(" %-6" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(record, "seq")));
    print_part(" ", text_of(record, "event"));
    print_part(": ", text_of(detail, "state"));
    print_part(": ", text_of(record, "outcome"));
    if (json_is_integer(status)) {
        (void)printf(", upstream status %" JSON_INTEGER_FORMAT, json_integer_value(status));
    }
    print_part(" ", text_of(record, "action"));
    print_devices(json_object_get(record, "devices"));
    print_part(" ", params_text);
    print_results(json_object_get(record, "results"));
    print_part(", by ", text_of(record, "client"));
    print_part(" of ", text_of(record, "team"));
    print_part(" with key ", text_of(record, "key_id"));
    print_part(" from ", text_of(record, "remote"));
    print_part(", ", text_of(record, "decision"));
    print_part(" by rule ", text_of(record, "rule"));
    print_part(", problem ", text_of(record, "problem"));
    print_part(", reason: ", text_of(record, "reason"));
    print_part(", ", text_of(detail, "text"));
    print_part(", action ", text_of(record, "action_id"));
    print_part(", call ", text_of(record, "call_id"));
    (void)putchar('\n');
}

static bool on_record(const struct store_record *stored, void *arg)
{
    struct showing *showing = arg;
    CLEANUP(cleanup_json) json_t *record = NULL;
    bool readable = json_read(stored->bytes, stored->len, &record, NULL) == OK;

    if (showing->json) {
        CLEANUP(cleanup_free) char *text = readable ? json_write(record) : xstrdup("null");
        (void)printf("%s%s", showing->count > 0 ? ",\n" : "", text);
    } else if (readable) {
        print_line(record);
    } else {
        CLEANUP(cleanup_free) char *node = audit_printable(stored->node);
        (void)printf("%s %" PRId64 ": the record cannot be read\n", node, stored->seq);
    }
    showing->count++;
    return ferror(stdout) == 0;
}

int command_audit_show(const struct command *command, int argc, char **argv)
{
    struct showing showing = {0};
    struct error error = {0};
    int code = read_arguments(command, &showing, argc, argv);
    enum err err;

    if (code == EXIT_DONE) {
        code = audit_source_open(command, &showing.source);
    }
    if (code != EXIT_DONE) {
        return code;
    }
    if (showing.json) {
        (void)putchar('[');
    }
    err = audit_find_all(showing.source.audit, &showing.query, on_record, &showing, &error);
    if (showing.json) {
        (void)puts("]");
    }
    if (err != OK) {
        code = audit_failed(command, &error);
    } else if (showing.count == 0) {
        code = EXIT_REFUSED;
        (void)fprintf(stderr, "tollgate %s: nothing is recorded of it\n", command->name);
    }
    code = audit_flush(command, code);
    audit_source_close(&showing.source);
    return code;
}
