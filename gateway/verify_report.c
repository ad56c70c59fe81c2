/* What a verification came to, printed: see verify_report.h. */
#include "gateway/verify_report.h"

#include "common/json.h"
#include "gateway/command_audit.h"

#include <inttypes.h>
#include <stdio.h>

#define SHOWN_MAX 20

static json_t *finding_json(const struct verify *verify, const struct finding *finding)
{
    struct verify_node_summary node = verify_node(verify, finding->node);

    return json_pack("{s:o, s:I, s:s, s:s}", "node", audit_json_text(node.name), "seq",
                     (json_int_t)finding->seq, "reason", finding_reason_name(finding->reason),
                     "detail", finding->detail);
}

static json_t *nodes_json(const struct verify *verify)
{
    json_t *nodes = json_array();

    for (size_t i = 0; i < verify_node_count(verify); i++) {
        struct verify_node_summary node = verify_node(verify, i);
        (void)json_array_append_new(
            nodes, json_pack("{s:o, s:I, s:I, s:I, s:s, s:s, s:I, s:I, s:I}", "node",
                             audit_json_text(node.name), "records", (json_int_t)node.records,
                             "from", (json_int_t)node.from, "size", (json_int_t)node.size,
                             "from_time", node.from_time, "to_time", node.to_time, "checkpoints",
                             (json_int_t)node.checkpoints, "unproven", (json_int_t)node.unproven,
                             "signed_size", (json_int_t)node.signed_size));
    }
    return nodes;
}

static json_t *accounts_json(const struct verify *verify)
{
    json_t *accounts = json_array();

    for (size_t i = 0; i < verify_account_count(verify); i++) {
        struct verify_account_summary account = verify_account(verify, i);
        (void)json_array_append_new(accounts, json_pack("{s:o, s:I, s:I, s:I, s:I}", "account",
                                                        audit_json_text(account.name), "calls",
                                                        (json_int_t)account.calls, "unchecked",
                                                        (json_int_t)account.unchecked, "requests",
                                                        (json_int_t)account.requests, "window_s",
                                                        (json_int_t)account.window_s));
    }
    return accounts;
}

void verify_print_json(const struct verify *verify)
{
    const struct findings *findings = verify_findings(verify);
    CLEANUP(cleanup_json) json_t *out = NULL;
    CLEANUP(cleanup_free) char *text = NULL;
    json_t *problems = json_array();

    for (size_t i = 0; i < findings->count; i++) {
        (void)json_array_append_new(problems, finding_json(verify, &findings->kept[i]));
    }
    out = json_pack("{s:b, s:o, s:I, s:o, s:o, s:o, s:I}", "ok", findings->total == 0, "first",
                    findings->total > 0 ? finding_json(verify, &findings->first) : json_null(),
                    "problem_count", (json_int_t)findings->total, "problems", problems, "nodes",
                    nodes_json(verify), "accounts", accounts_json(verify), "cut_notes",
                    (json_int_t)verify_cut_notes(verify));
    text = json_write(out);
    (void)puts(text);
}

static void print_finding(const struct verify *verify, const char *before,
                          const struct finding *finding)
{
    CLEANUP(cleanup_free) char *node = audit_printable(verify_node(verify, finding->node).name);

    (void)printf("%s%s %" PRId64 ": %s: %s\n", before, node, finding->seq,
                 finding_reason_name(finding->reason), finding->detail);
}

static void print_node(const struct verify_node_summary *node)
{
    CLEANUP(cleanup_free) char *name = audit_printable(node->name);

    if (node->records > 0) {
        (void)printf("node %s: %" PRIu64 " records, %" PRId64 " to %" PRId64 ", %s to %s\n", name,
                     node->records, node->from, node->size - 1, node->from_time, node->to_time);
    }
    if (node->checkpoints > 0) {
        (void)printf("node %s: %" PRIu64 " checkpoints verified; the last one covers the records "
                     "below %" PRId64 "\n",
                     name, node->checkpoints, node->signed_size);
    } else if (node->records > 0) {
        (void)fprintf(stderr,
                      "warning: node %s is not signed: whoever can write the database can rewrite "
                      "it\n",
                      name);
    }
    if (node->from > 0) {
        (void)printf("node %s: the records below %" PRId64 " were dropped under a checkpoint\n",
                     name, node->from);
    }
    if (node->unproven > 0) {
        (void)fprintf(stderr,
                      "warning: node %s: of %" PRIu64 " checkpoints only the signature could be "
                      "verified: the records of that time were dropped\n",
                      name, node->unproven);
    }
}

static void print_account(const struct verify_account_summary *account)
{
    CLEANUP(cleanup_free) char *name = audit_printable(account->name);

    if (account->calls > account->unchecked) {
        (void)printf("account %s: %" PRIu64 " calls checked against its budget, %" PRId64
                     " in %" PRId64 " s at last\n",
                     name, account->calls - account->unchecked, account->requests,
                     account->window_s);
    }
    if (account->unchecked > 0) {
        (void)fprintf(stderr, "warning: account %s: of %" PRIu64 " calls the budget is not known\n",
                      name, account->unchecked);
    }
}

void verify_print_text(const struct verify *verify)
{
    const struct findings *findings = verify_findings(verify);

    if (findings->total > 0) {
        print_finding(verify, "the log does not hold; first at ", &findings->first);
    }
    for (size_t i = 0; i < findings->count && i < SHOWN_MAX; i++) {
        print_finding(verify, "  ", &findings->kept[i]);
    }
    if (findings->total > SHOWN_MAX) {
        (void)printf("  and %" PRIu64 " more\n", findings->total - SHOWN_MAX);
    }
    for (size_t i = 0; i < verify_node_count(verify); i++) {
        struct verify_node_summary node = verify_node(verify, i);
        print_node(&node);
    }
    for (size_t i = 0; i < verify_account_count(verify); i++) {
        struct verify_account_summary account = verify_account(verify, i);
        print_account(&account);
    }
    if (verify_cut_notes(verify) > 0) {
        (void)fprintf(stderr,
                      "warning: %" PRIu64 " of the saved checkpoints were cut short, and prove "
                      "nothing\n",
                      verify_cut_notes(verify));
    }
    if (findings->total == 0) {
        (void)puts("everything holds");
    }
}
