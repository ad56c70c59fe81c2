/* Verdict: what became of a call, from what can be known about its transfer. Pure; any thread.
 * Nothing else decides whether a call may be made again. */
#ifndef UPSTREAM_VERDICT_H
#define UPSTREAM_VERDICT_H

#include "upstream/upstream.h"

#include <stdbool.h>
#include <stdint.h>

struct verdict_facts {
    bool complete;         /* the whole answer came, as HTTP frames it */
    int64_t request_bytes; /* of the request that may have left; 0 is proof that none did */
    int status;            /* of the status line that came, 0 = none; 1xx counts as none */
    bool too_long;         /* broken off at max_answer_bytes */
    bool encoded;          /* compressed, which nobody asked for */
    const char *trouble;   /* when not complete: what happened, for people */
    const char *nonsense;  /* complete 200: what is wrong with the answer, NULL = it is good */
};

struct verdict {
    enum upstream_result result;
    bool nothing_sent;
    bool answered;
    bool token_rejected;
    int status;
    char detail[400]; /* empty when result is UPSTREAM_OK */
};

struct verdict verdict_of(const struct verdict_facts *facts);

#endif
