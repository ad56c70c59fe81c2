/* What the commands of the audit log share: see command_audit.h. */
#include "gateway/command_audit.h"

#include "common/clock.h"
#include "gateway/findings.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int audit_source_open(const struct command *command, struct audit_source *source)
{
    struct error error = {0};

    if ((source->config_path == NULL) == (source->url == NULL)) {
        return command_usage(command, "needs either -c FILE or --store URL");
    }
    if (source->config_path != NULL) {
        source->config = command_load_config(source->config_path);
        if (source->config == NULL) {
            return EXIT_REFUSED;
        }
        source->url = source->config->store;
    }
    if (store_audit_open(source->url, &source->audit, &error) != OK) {
        int code = audit_failed(command, &error);
        audit_source_close(source);
        return code;
    }
    return EXIT_DONE;
}

void audit_source_close(struct audit_source *source)
{
    store_audit_close(TAKE(source->audit));
    config_free(TAKE(source->config));
}

enum err audit_read_time(const char *text, int64_t *ret_ms)
{
    CLEANUP(cleanup_free) char *midnight = NULL;

    if (strlen(text) != strlen("2026-11-24")) {
        return clock_parse(text, ret_ms);
    }
    midnight = xasprintf("%sT00:00:00Z", text);
    return clock_parse(midnight, ret_ms);
}

struct finding_all {
    bool (*each)(const struct store_record *record, void *arg);
    void *arg;
    bool more;
};

static bool on_found(const struct store_record *record, void *arg)
{
    struct finding_all *all = arg;

    all->more = all->each(record, all->arg);
    return all->more;
}

enum err audit_find_all(struct store_audit *audit, struct store_record_query *query,
                        bool (*each)(const struct store_record *record, void *arg), void *arg,
                        struct error *error)
{
    struct finding_all all = {each, arg, true};
    char cursors[2][STORE_CURSOR_SIZE] = {"", ""};
    enum err err = OK;

    query->oldest_first = true;
    query->limit = STORE_LIST_MAX;
    query->cursor = NULL;
    for (size_t page = 0; err == OK && all.more; page++) {
        char *next = cursors[page % 2];
        err = store_audit_find(audit, query, on_found, &all, next, error);
        if (err != OK || next[0] == '\0') {
            break;
        }
        query->cursor = next;
    }
    return err;
}

json_t *audit_json_text(const char *text)
{
    CLEANUP(cleanup_free) char *shown = audit_printable(text);
    json_t *string = strcmp(shown, text) == 0 ? json_string(text) : NULL;

    if (string == NULL) { /* control characters, or no UTF-8 */
        string = json_string(findings_printable(text, strlen(text), shown, strlen(text) + 1));
    }
    return string;
}

/* The length of the UTF-8 character there, controls and what is none left out; 0 for those. */
static size_t character_at(const unsigned char *at)
{
    size_t len = at[0] < 0x80 ? 1 : (at[0] < 0xe0 ? 2 : (at[0] < 0xf0 ? 3 : 4));

    if (at[0] < 0x20 || at[0] == 0x7f || (at[0] >= 0x80 && at[0] < 0xc2) || at[0] > 0xf4 ||
        (at[0] == 0xc2 && at[1] < 0xa0)) {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return len;
}

char *audit_printable(const char *text)
{
    char *shown = xcalloc(6 * strlen(text) + 1, 1);
    char *out = shown;

    for (const unsigned char *at = (const unsigned char *)text; *at != '\0';) {
        size_t len = character_at(at);
        bool wide = at[0] == 0xc2 && (at[1] & 0xc0) == 0x80;
        if (len > 0) {
            memcpy(out, at, len);
            out += len;
            at += len;
        } else if (at[0] < 0x80 || wide) {
            out += sprintf(out, "\\u%04x", (unsigned)(wide ? at[1] : at[0]));
            at += wide ? 2 : 1;
        } else {
            *out++ = '?';
            at++;
        }
    }
    return shown;
}

int audit_failed(const struct command *command, const struct error *error)
{
    (void)fprintf(stderr, "tollgate %s: %s\n", command->name, error->text);
    return EXIT_REFUSED;
}

int audit_flush(const struct command *command, int code)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        (void)fprintf(stderr, "tollgate %s: standard output cannot be written\n", command->name);
        return EXIT_REFUSED;
    }
    return code;
}
