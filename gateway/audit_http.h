/* Audit over HTTP: what audit_list.c and audit_proof.c share. Worker threads. */
#ifndef GATEWAY_AUDIT_HTTP_H
#define GATEWAY_AUDIT_HTTP_H

#include "gateway/routes.h"

#include <stdint.h>

struct store_record;

/* Whether the client may read the audit log; else the request is refused. */
bool audit_may_read(struct request *request);

/* The record's bytes, or something that says they cannot be read: JSON in either case. */
const char *audit_record_bytes(const struct store_record *record, size_t *ret_len);

/* Reads a whole number of at most 18 digits. */
bool audit_number(const char *text, int64_t min, int64_t *ret_number);

#endif
