/* Audit: builds the records of contract "The audit log". The store numbers and keeps them.
 * Any thread. */
#ifndef GATEWAY_AUDIT_H
#define GATEWAY_AUDIT_H

#include <jansson.h>
#include <stdint.h>

/* Who asked, as every record about a request says it. Owns its strings; NULL where not known. */
struct subject {
    char *request_id;
    char *client;
    char *key_id;
    char *team;
    char *remote;
    char *traceparent;
};

void subject_copy(struct subject *to, const struct subject *from);
void subject_done(struct subject *subject);

/* Starts a record: {"event":…} and what is known of the subject (may be NULL). New reference. */
json_t *audit_begin(const char *event, const struct subject *subject);

/* Adds a field; what is NULL is left out. value_take is given away. */
void audit_add_text(json_t *record, const char *name, const char *text);
void audit_add(json_t *record, const char *name, json_t *value_take);

/* A moment on the clock since boot, which nobody can set: {"boot_id", "ms"}. New reference. */
json_t *audit_clock(int64_t boot_ms);

/* Ends a record: its text for store_write_add_record(). The caller frees. */
char *audit_end(json_t *record_take);

#endif
