/* GET /v1/audit/checkpoint, /v1/audit/consistency and /v1/audit/entries/{seq}: what proves, to
 * whoever has the public key, that a record stands in the log and that the log was only appended
 * to. Worker threads. */
#include "gateway/audit_http.h"

#include "common/buffer.h"
#include "common/json.h"
#include "gateway/worker.h"
#include "store/audit.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

static char *base64(const void *data, size_t len)
{
    char *text = xcalloc(1, (len + 2) / 3 * 4 + 1);

    (void)EVP_EncodeBlock((unsigned char *)text, data, (int)len);
    return text;
}

static json_t *hashes_json(const struct store_proof *proof)
{
    json_t *list = json_array();

    for (size_t i = 0; i < proof->count; i++) {
        CLEANUP(cleanup_free) char *text = base64(proof->hashes[i], STORE_HASH_BYTES);
        (void)json_array_append_new(list, json_string(text));
    }
    return list;
}

/* The node asked for: ?node=, or this one. The caller frees. */
static char *node_of(const struct request *request)
{
    bool twice;
    char *node = request_query(request, "node", &twice);

    return node != NULL ? node : xstrdup(request->config->node);
}

static void reply_failure(struct request *request, enum err result, const char *not_found)
{
    if (result == ERR_NOT_FOUND) {
        request_reply_problem(request, PROBLEM_NOT_FOUND, not_found);
    } else {
        request_reply_problem(request, PROBLEM_UNAVAILABLE, "The audit log cannot be read now.");
    }
}

/* ---- A checkpoint ---- */

static void on_checkpoint(enum err result, const struct store_proof *proof, void *arg)
{
    if (result != OK) {
        reply_failure(arg, result, "No checkpoint of this log was signed yet.");
        return;
    }
    request_reply(arg, 200, "text/plain; charset=utf-8", proof->checkpoint,
                  strlen(proof->checkpoint));
}

void handle_audit_checkpoint(struct request *request)
{
    CLEANUP(cleanup_free) char *node = NULL;

    if (!audit_may_read(request)) {
        return;
    }
    node = node_of(request);
    if (store_read_checkpoint(worker_gateway(request->worker)->store, node,
                              worker_mailbox(request->worker), on_checkpoint, request) != OK) {
        request_reply_problem(request, PROBLEM_UNAVAILABLE, "Too many reads are waiting.");
    }
}

/* ---- An entry ---- */

static void on_entry(enum err result, const struct store_proof *proof, void *arg)
{
    struct request *request = arg;
    CLEANUP(cleanup_json) json_t *json = NULL;
    CLEANUP(cleanup_free) char *text = NULL;
    CLEANUP(cleanup_free) char *whole = NULL;
    const char *bytes;
    size_t len;

    if (result != OK) {
        reply_failure(request, result, "There is no such record.");
        return;
    }
    text = base64(proof->record.bytes, proof->record.len);
    json = json_pack("{s:s, s:I, s:s, s:s?, s:I, s:o}", "node", proof->record.node, "seq",
                     (json_int_t)proof->record.seq, "record_base64", text, "checkpoint",
                     proof->checkpoint, "tree_size", (json_int_t)proof->size, "inclusion_proof",
                     hashes_json(proof));
    free(text);
    text = json_write(json);
    bytes = audit_record_bytes(&proof->record, &len);
    text[strlen(text) - 1] = '\0'; /* its last brace: the record follows */
    whole = xasprintf("%s,\"record\":%.*s}", text, (int)len, bytes);
    request_reply(request, 200, "application/json", whole, strlen(whole));
}

void handle_audit_entry(struct request *request)
{
    CLEANUP(cleanup_free) char *node = NULL;
    int64_t seq;

    if (!audit_may_read(request)) {
        return;
    }
    if (!audit_number(request->argument, 0, &seq)) {
        request_reply_problem(request, PROBLEM_NOT_FOUND, "A record is asked for by its seq.");
        return;
    }
    node = node_of(request);
    if (store_read_entry(worker_gateway(request->worker)->store, node, seq,
                         worker_mailbox(request->worker), on_entry, request) != OK) {
        request_reply_problem(request, PROBLEM_UNAVAILABLE, "Too many reads are waiting.");
    }
}

/* ---- Consistency ---- */

static void on_consistency(enum err result, const struct store_proof *proof, void *arg)
{
    struct request *request = arg;

    if (result != OK) {
        reply_failure(request, result, "The log has no such sizes, or no checkpoint yet.");
        return;
    }
    request_reply_json(request, 200,
                       json_pack("{s:O, s:I, s:s?, s:o}", "from",
                                 json_object_get(request->view, "from"), "to",
                                 (json_int_t)proof->size, "checkpoint", proof->checkpoint,
                                 "consistency_proof", hashes_json(proof)));
}

void handle_audit_consistency(struct request *request)
{
    bool twice[2];
    CLEANUP(cleanup_free) char *from_text = request_query(request, "from", &twice[0]);
    CLEANUP(cleanup_free) char *to_text = request_query(request, "to", &twice[1]);
    CLEANUP(cleanup_free) char *node = NULL;
    int64_t from = 0;
    int64_t to = 0;

    if (!audit_may_read(request)) {
        return;
    }
    if (from_text == NULL || !audit_number(from_text, 1, &from) ||
        (to_text != NULL && !audit_number(to_text, from, &to)) || twice[1]) {
        request_reply_problem(request, PROBLEM_MALFORMED_REQUEST,
                              "from must be the size of an older checkpoint, to (if given) that of "
                              "a newer one.");
        return;
    }
    node = node_of(request);
    request->view = json_pack("{s:I}", "from", (json_int_t)from);
    if (store_read_consistency(worker_gateway(request->worker)->store, node, from, to,
                               worker_mailbox(request->worker), on_consistency, request) != OK) {
        request_reply_problem(request, PROBLEM_UNAVAILABLE, "Too many reads are waiting.");
    }
}
