/* Verdict: see verdict.h.
 *
 *   transfer failed, no byte sent, no answer   failed, nothing sent
 *   no status line                             unknown
 *   502 or 504                                 unknown: a proxy on the way speaks, and the
 *                                              upstream behind it may have done it
 *   another status that is not 2xx             failed: the upstream refused
 *   200, whole, uncompressed, makes sense      ok
 *   everything else that begins with 2xx       unknown: it says it was applied, but not to what
 */
#include "upstream/verdict.h"

#include <stdarg.h>
#include <stdio.h>

static void set(struct verdict *verdict, enum upstream_result result, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void set(struct verdict *verdict, enum upstream_result result, const char *format, ...)
{
    va_list args;

    verdict->result = result;
    va_start(args, format);
    (void)vsnprintf(verdict->detail, sizeof(verdict->detail), format, args);
    va_end(args);
}

static void judge_success(struct verdict *verdict, const struct verdict_facts *facts)
{
    if (facts->status != 200) {
        set(verdict, UPSTREAM_UNKNOWN,
            "the upstream answered %d instead of 200: the action may have been applied",
            facts->status);
    } else if (facts->too_long) {
        set(verdict, UPSTREAM_UNKNOWN,
            "the upstream's answer is too long: the action may have been applied");
    } else if (facts->encoded) {
        set(verdict, UPSTREAM_UNKNOWN,
            "the upstream's answer is encoded in a way nobody asked for: the action may have "
            "been applied");
    } else if (!facts->complete) {
        set(verdict, UPSTREAM_UNKNOWN,
            "the upstream's answer broke off (%s): the action may have been applied",
            facts->trouble);
    } else if (facts->nonsense != NULL) {
        set(verdict, UPSTREAM_UNKNOWN,
            "the upstream's answer makes no sense (%s): the action may have been applied",
            facts->nonsense);
    } else {
        verdict->result = UPSTREAM_OK;
    }
}

static void judge_refusal(struct verdict *verdict, int status)
{
    if (status == 401) {
        verdict->token_rejected = true;
        set(verdict, UPSTREAM_FAILED, "the upstream answered 401: it does not take the token");
    } else if (status == 429) {
        set(verdict, UPSTREAM_FAILED, "the upstream answered 429: its rate limit is used up");
    } else if (status == 502 || status == 504) {
        set(verdict, UPSTREAM_UNKNOWN,
            "a proxy in front of the upstream answered %d: it may have been applied", status);
    } else if (status < 400) {
        set(verdict, UPSTREAM_FAILED,
            "the upstream answered %d: redirects are not followed, check base_url", status);
    } else {
        set(verdict, UPSTREAM_FAILED, "the upstream answered %d", status);
    }
}

struct verdict verdict_of(const struct verdict_facts *facts)
{
    int status = facts->status >= 200 ? facts->status : 0;
    struct verdict verdict = {.answered = status != 0, .status = status};

    if (status >= 200 && status < 300) {
        judge_success(&verdict, facts);
    } else if (status != 0) {
        judge_refusal(&verdict, status);
    } else if (!facts->complete && facts->request_bytes == 0) {
        verdict.nothing_sent = true;
        set(&verdict, UPSTREAM_FAILED, "the upstream could not be reached, nothing was sent: %s",
            facts->trouble);
    } else {
        set(&verdict, UPSTREAM_UNKNOWN,
            "the call was sent and no answer came (%s): the action may have been applied",
            facts->complete ? "the connection was turned to another use" : facts->trouble);
    }
    return verdict;
}
