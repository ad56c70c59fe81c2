/* Syslog: see syslog.h. */
#include "gateway/syslog.h"

#include "common/record.h"
#include "store/audit.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SEVERITY_WARNING 4
#define SEVERITY_INFO    6
#define MAX_EVENT        32  /* of RFC 5424, as MSGID */
#define MAX_VALUE        512 /* bytes of a value in the structured data; all real ones are shorter */

const char *const syslog_facilities[] = {
    "kern",   "user",     "mail",   "daemon", "auth",   "syslog", "lpr",   "news",   "uucp",
    "cron",   "authpriv", "ftp",    "ntp",    "audit",  "alert",  "clock", "local0", "local1",
    "local2", "local3",   "local4", "local5", "local6", "local7", NULL,
};

/* What is worth a look although nothing failed in the record's outcome. */
static const char *const warning_events[] = {
    "request.refused", "request.unauthenticated", "config.rejected",
    "token.failed",    "action.rejected",         "action.expired",
};

void syslog_origin_init(struct syslog_origin *origin, const char *facility, const char *app_name)
{
    *origin = (struct syslog_origin){.pid = (long)getpid()};
    while (syslog_facilities[origin->facility] != NULL &&
           strcmp(syslog_facilities[origin->facility], facility) != 0) {
        origin->facility++;
    }
    assert(syslog_facilities[origin->facility] != NULL);
    (void)snprintf(origin->app_name, sizeof(origin->app_name), "%s", app_name);
    if (gethostname(origin->host, sizeof(origin->host) - 1) != 0 || origin->host[0] == '\0') {
        (void)snprintf(origin->host, sizeof(origin->host), "-");
    }
    for (char *at = origin->host; *at != '\0'; at++) {
        *at = (char)(*at < '!' || *at > '~' ? '_' : *at);
    }
}

static bool is_bad(struct record_piece piece)
{
    return piece.at != NULL && (record_equals(piece, "failed") || record_equals(piece, "unknown"));
}

static int severity_of(const struct record *record)
{
    if (record->event.at == NULL) {
        return SEVERITY_WARNING;
    }
    for (size_t i = 0; i < ARRAY_LEN(warning_events); i++) {
        if (record_equals(record->event, warning_events[i])) {
            return SEVERITY_WARNING;
        }
    }
    if (is_bad(record->outcome) ||
        (record->detail.at != NULL && is_bad(record_member(record->detail, "state")))) {
        return SEVERITY_WARNING;
    }
    return SEVERITY_INFO;
}

/* A field of the header: printable ASCII without spaces, or "-". */
static void add_word(struct buffer *to, struct record_piece piece, size_t max)
{
    bool good = piece.at != NULL && piece.len > 0 && piece.len <= max;

    for (size_t i = 0; good && i < piece.len; i++) {
        good = piece.at[i] >= '!' && piece.at[i] <= '~';
    }
    (void)!buffer_add(to, good ? piece.at : "-", good ? piece.len : 1);
    (void)!buffer_add(to, " ", 1);
}

/* RFC 5424 §6.3.3: three characters are escaped in a value. */
static void add_value(struct buffer *to, const char *name, const char *text, size_t len)
{
    (void)!buffer_printf(to, " %s=\"", name);
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '"' || text[i] == '\\' || text[i] == ']') {
            (void)!buffer_add(to, "\\", 1);
        }
        (void)!buffer_add(to, text + i, 1);
    }
    (void)!buffer_add(to, "\"", 1);
}

static void add_fields(struct buffer *to, const struct record *record)
{
    const struct {
        const char *name;
        struct record_piece value;
    } fields[] = {
        {"client", record->client},         {"team", record->team},
        {"action_id", record->action_id},   {"call_id", record->call_id},
        {"account", record->account},       {"action", record->action},
        {"outcome", record->outcome},       {"problem", record->problem},
        {"request_id", record->request_id},
    };

    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (fields[i].value.at != NULL && fields[i].value.len <= MAX_VALUE) {
            add_value(to, fields[i].name, fields[i].value.at, fields[i].value.len);
        }
    }
}

/* As much of it as fits, without a piece of a character at its end. */
static size_t fitting(const char *text, size_t len, size_t room)
{
    if (len <= room) {
        return len;
    }
    while (room > 0 && ((unsigned char)text[room] & 0xC0U) == 0x80U) {
        room--;
    }
    return room;
}

bool syslog_write(const struct syslog_origin *origin, const struct store_record *record, size_t max,
                  struct buffer *to)
{
    static const char cut_field[] = " cut=\"18446744073709551615\"] ";
    struct record fields = {0};
    const size_t start = to->len;
    const bool readable = record_read(record->bytes, record->len, &fields) == OK;
    size_t header;
    size_t room;
    bool cut;

    if (!readable) {
        const struct record_piece whole = {record->bytes, record->len};
        fields = (struct record){.time = record_member(whole, "time"),
                                 .event = record_member(whole, "event")};
    }
    (void)!buffer_printf(to, "<%d>1 ", origin->facility * 8 + severity_of(&fields));
    add_word(to, fields.time, 32);
    (void)!buffer_printf(to, "%s %s %ld ", origin->host, origin->app_name, origin->pid);
    add_word(to, fields.event, MAX_EVENT);
    (void)!buffer_printf(to, "[tollgate@32473");
    add_value(to, "node", record->node, strlen(record->node));
    (void)!buffer_printf(to, " seq=\"%" PRId64 "\"", record->seq);
    add_fields(to, &fields);
    header = to->len - start;
    cut = header + 2 + record->len > max;
    if (cut) {
        (void)!buffer_printf(to, " cut=\"%zu\"", record->len);
        header += sizeof(cut_field) - 3;
    }
    room = max > header + 2 ? max - header - 2 : 0;
    (void)!buffer_add(to, "] ", 2);
    (void)!buffer_add(to, record->bytes, fitting(record->bytes, record->len, room));
    return cut;
}
