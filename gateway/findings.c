/* Findings: see findings.h. */
#include "gateway/findings.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *finding_reason_name(enum finding_reason reason)
{
    static const char *const names[] = {
#define X(name, text) [FINDING_##name] = (text),
        FINDING_REASONS(X)
#undef X
    };

    return names[reason];
}

/* Whether a is told before b: by node first. */
static bool is_before(const struct finding *a, const struct finding *b)
{
    if (a->node != b->node) {
        return a->node < b->node;
    }
    return a->seq != b->seq ? a->seq < b->seq : a->reason < b->reason;
}

static void keep(struct findings *findings, const struct finding *finding)
{
    size_t at = findings->count;

    while (at > 0 && is_before(finding, &findings->kept[at - 1])) {
        at--;
    }
    if (at == FINDINGS_KEPT) {
        return;
    }
    if (findings->count == FINDINGS_KEPT) {
        findings->count--;
    }
    memmove(&findings->kept[at + 1], &findings->kept[at],
            (findings->count - at) * sizeof(findings->kept[0]));
    findings->kept[at] = *finding;
    findings->count++;
}

void findings_add(struct findings *findings, size_t node, int64_t seq, enum finding_reason reason,
                  const char *format, ...)
{
    struct finding finding = {.node = node, .seq = seq, .reason = reason};
    const struct finding *first = &findings->first;
    va_list args;

    va_start(args, format);
    (void)vsnprintf(finding.detail, sizeof(finding.detail), format, args);
    va_end(args);
    if (findings->total == 0 || seq < first->seq ||
        (seq == first->seq && is_before(&finding, first))) {
        findings->first = finding;
    }
    findings->total++;
    keep(findings, &finding);
}

const char *findings_printable(const char *bytes, size_t len, char *text, size_t size)
{
    size_t count = len < size - 1 ? len : size - 1;

    for (size_t i = 0; i < count; i++) {
        text[i] = '?';
        if (bytes[i] >= ' ' && bytes[i] <= '~') {
            text[i] = bytes[i];
        }
    }
    text[count] = '\0';
    return text;
}
