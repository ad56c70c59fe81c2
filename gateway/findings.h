/* Findings: what a verification of the audit log found wrong, the first of it in order, and how
 * much there was in all. Any thread, one at a time. */
#ifndef GATEWAY_FINDINGS_H
#define GATEWAY_FINDINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is wrong; docs/audit.md says of each what it means. Of one seq, those that come first here
 * are told first. */
#define FINDING_REASONS(X)                                                                         \
    X(RECORD_ALTERED, "record-altered")                                                            \
    X(LEAF_ALTERED, "leaf-altered")                                                                \
    X(SEQ_GAP, "seq-gap")                                                                          \
    X(SEQ_DUPLICATE, "seq-duplicate")                                                              \
    X(RECORD_MISPLACED, "record-misplaced")                                                        \
    X(TREE_ALTERED, "tree-altered")                                                                \
    X(ROOT_MISMATCH, "root-mismatch")                                                              \
    X(CHECKPOINT_MALFORMED, "checkpoint-malformed")                                                \
    X(SIGNATURE_INVALID, "signature-invalid")                                                      \
    X(KEY_UNKNOWN, "key-unknown")                                                                  \
    X(TRUNCATED, "truncated")                                                                      \
    X(FORKED, "forked")                                                                            \
    X(NO_RECORDS, "no-records")                                                                    \
    X(INTENT_DUPLICATE, "intent-duplicate")                                                        \
    X(INTENT_WITHOUT_ACTION, "intent-without-action")                                              \
    X(OUTCOME_DUPLICATE, "outcome-duplicate")                                                      \
    X(OUTCOME_WITHOUT_INTENT, "outcome-without-intent")                                            \
    X(FINISHED_WITHOUT_ACCEPTANCE, "finished-without-acceptance")                                  \
    X(OVER_BUDGET, "over-budget")

enum finding_reason {
#define X(name, text) FINDING_##name,
    FINDING_REASONS(X)
#undef X
};

#define FINDINGS_KEPT 100

struct finding {
    size_t node; /* the index of the node: of two, the lower is told first */
    int64_t seq;
    enum finding_reason reason;
    char detail[256]; /* printable ASCII */
};

/* Zero it to start. */
struct findings {
    uint64_t total;
    struct finding first;               /* that with the lowest seq, if total > 0 */
    struct finding kept[FINDINGS_KEPT]; /* the first ones by node and seq */
    size_t count;
};

const char *finding_reason_name(enum finding_reason reason);

void findings_add(struct findings *findings, size_t node, int64_t seq, enum finding_reason reason,
                  const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Copies bytes of anybody into text of that size, as far as they fit and are printable ASCII; what
 * is not becomes '?'. Returns text. */
const char *findings_printable(const char *bytes, size_t len, char *text, size_t size);

#endif
