/* Syslog: audit records as messages of RFC 5424. Pure; any thread. */
#ifndef GATEWAY_SYSLOG_H
#define GATEWAY_SYSLOG_H

#include "common/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store_record;

/* What facilities are called, in the order of their numbers (RFC 5424 §6.2.1); NULL-ended. */
extern const char *const syslog_facilities[];

/* What all messages of a stream have in common. */
struct syslog_origin {
    int facility;
    char app_name[49];
    char host[256]; /* of this machine */
    long pid;
};

/* facility is one of the names above. */
void syslog_origin_init(struct syslog_origin *origin, const char *facility, const char *app_name);

/* Appends a record's message, without framing:
 *   <PRI>1 TIME HOST APP-NAME PID EVENT [tollgate@32473 node="…" seq="…" …] RECORD
 * TIME is the record's own. The structured data has those of client, team, action_id, call_id,
 * account, action, outcome, problem and request_id that the record has, as they are written there:
 * JSON's escapes stay. Severity: warning for what was refused, failed, or has an unknown outcome;
 * else informational. A record that cannot be read has TIME and EVENT "-", and is a warning.
 *
 * max: the longest message that can be sent. One that would be longer has its RECORD cut off at the
 * end (RFC 5424 §6.1; between characters of UTF-8), and says so: cut="LENGTH OF THE WHOLE RECORD"
 * in the structured data. Returns whether that was done. to must have room for the message. */
bool syslog_write(const struct syslog_origin *origin, const struct store_record *record, size_t max,
                  struct buffer *to);

#endif
