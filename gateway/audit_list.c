/* GET /v1/audit: a page of audit records, for auditors and operators. What stands in the answer are
 * the records' own bytes. Worker threads. */
#include "gateway/audit_http.h"

#include "common/buffer.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/record.h"
#include "gateway/worker.h"
#include "store/audit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_LIMIT  100
#define MAX_PAGE_BYTES ((size_t)64 << 20)

bool audit_may_read(struct request *request)
{
    if (request_has_role(request, "auditor") || request_has_role(request, "operator")) {
        return true;
    }
    request_refuse(request, PROBLEM_FORBIDDEN,
                   "The audit log is read by clients with the role auditor or operator.", NULL, 0);
    return false;
}

const char *audit_record_bytes(const struct store_record *record, size_t *ret_len)
{
    static const char unreadable[] = "{\"unreadable\":true}";
    struct record read;

    if (record_read(record->bytes, record->len, &read) == OK) {
        *ret_len = record->len;
        return record->bytes;
    }
    *ret_len = sizeof(unreadable) - 1;
    return unreadable;
}

bool audit_number(const char *text, int64_t min, int64_t *ret_number)
{
    size_t digits = strspn(text, "0123456789");

    errno = 0;
    if (digits == 0 || text[digits] != '\0' || digits > 18) {
        return false;
    }
    *ret_number = strtoll(text, NULL, 10);
    return *ret_number >= min;
}

static void on_records(enum err result, const struct store_record *records, size_t count,
                       const char *next, void *arg)
{
    struct request *request = arg;
    struct buffer body;
    CLEANUP(cleanup_json) json_t *cursor = next != NULL ? json_string(next) : json_null();
    CLEANUP(cleanup_free) char *cursor_text = json_dumps(cursor, JSON_ENCODE_ANY);
    enum err err = result;

    buffer_init(&body, MAX_PAGE_BYTES);
    if (err == OK) {
        err = buffer_printf(&body, "{\"records\":[");
    }
    for (size_t i = 0; err == OK && i < count; i++) {
        size_t len;
        const char *bytes = audit_record_bytes(&records[i], &len);
        err = i > 0 ? buffer_add(&body, ",", 1) : OK;
        err = err == OK ? buffer_add(&body, bytes, len) : err;
    }
    if (err == OK) {
        err = buffer_printf(&body, "],\"next\":%s}", cursor_text);
    }
    if (err == OK) {
        request_reply(request, 200, "application/json", body.data, body.len);
    } else {
        request_reply_problem(request, PROBLEM_UNAVAILABLE, "The audit log cannot be read now.");
    }
    buffer_done(&body);
}

/* ---- The query ---- */

enum {
    FROM,
    TO,
    TEAM,
    CLIENT,
    ACTION,
    ACTION_ID,
    CALL_ID,
    DEVICE,
    EVENT,
    NODE,
    ORDER,
    LIMIT,
    CURSOR
};

static const char *const names[] = {
    [FROM] = "from",       [TO] = "to",         [TEAM] = "team",
    [CLIENT] = "client",   [ACTION] = "action", [ACTION_ID] = "action_id",
    [CALL_ID] = "call_id", [DEVICE] = "device", [EVENT] = "event",
    [NODE] = "node",       [ORDER] = "order",   [LIMIT] = "limit",
    [CURSOR] = "cursor",
};

#define NAME_COUNT ARRAY_LEN(names)

/* A date counts as its beginning, in UTC. */
static bool read_time(const char *text, int64_t *ret_ms)
{
    char whole[40];

    if (text != NULL && strlen(text) == 10) {
        (void)snprintf(whole, sizeof(whole), "%sT00:00:00Z", text);
        text = whole;
    }
    return text == NULL || clock_parse(text, ret_ms) == OK;
}

/* NULL, or what is wrong. */
static const char *read_query(char *const *values, struct store_record_query *query)
{
    int64_t limit = DEFAULT_LIMIT;
    bool is_id = values[ACTION] != NULL && strncmp(values[ACTION], "act_", 4) == 0;

    *query = (struct store_record_query){
        .node = values[NODE],
        .team = values[TEAM],
        .client = values[CLIENT],
        .action = is_id ? NULL : values[ACTION],
        .action_id = is_id ? values[ACTION] : values[ACTION_ID],
        .call_id = values[CALL_ID],
        .device = values[DEVICE],
        .event = values[EVENT],
        .cursor = values[CURSOR],
        .oldest_first = values[ORDER] != NULL && strcmp(values[ORDER], "asc") == 0,
    };
    if (!read_time(values[FROM], &query->from_ms) || !read_time(values[TO], &query->to_ms)) {
        return "from and to must be times such as 2026-11-22T10:00:00Z, or dates.";
    }
    if (values[ORDER] != NULL && !query->oldest_first && strcmp(values[ORDER], "desc") != 0) {
        return "order must be asc or desc (the newest first).";
    }
    if (values[LIMIT] != NULL &&
        (!audit_number(values[LIMIT], 1, &limit) || limit > STORE_LIST_MAX)) {
        return "limit must be 1 to 1000.";
    }
    query->limit = (int)limit;
    return NULL;
}

static void find(struct request *request, char *const *values)
{
    struct store_record_query query;
    const char *problem = read_query(values, &query);
    enum err err;

    if (problem != NULL) {
        request_reply_problem(request, PROBLEM_MALFORMED_REQUEST, problem);
        return;
    }
    err = store_find_records(worker_gateway(request->worker)->store, &query,
                             worker_mailbox(request->worker), on_records, request);
    if (err == ERR_INVALID) {
        request_reply_problem(request, PROBLEM_MALFORMED_REQUEST,
                              "cursor must be the \"next\" of the page before.");
    } else if (err != OK) {
        request_reply_problem(request, PROBLEM_UNAVAILABLE, "Too many reads are waiting.");
    }
}

void handle_list_audit(struct request *request)
{
    char *values[NAME_COUNT] = {0};
    bool twice = false;

    if (!audit_may_read(request)) {
        return;
    }
    for (size_t i = 0; i < NAME_COUNT; i++) {
        bool this_one;
        values[i] = request_query(request, names[i], &this_one);
        twice = twice || this_one;
    }
    if (twice || !request_query_knows(request, names, NAME_COUNT)) {
        /* A filter that is not understood must not look as if it found everything. */
        request_reply_problem(request, PROBLEM_MALFORMED_REQUEST,
                              "Filters are from, to, team, client, action, action_id, call_id, "
                              "device, event and node; beside them order, limit and cursor; each "
                              "at most once.");
    } else {
        find(request, values);
    }
    for (size_t i = 0; i < NAME_COUNT; i++) {
        free(values[i]);
    }
}
