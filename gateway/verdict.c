/* Dispatcher, what the outcome of a call means for each request in it: its results, its failure,
 * or another try. Unknown never goes again. See call.h. */
#include "gateway/call.h"

#include "common/crypto.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_BACKOFF_MS 200
#define MAX_BACKOFF_MS   10000

static enum problem_type problem_of(const struct upstream_outcome *outcome)
{
    if (outcome->result == UPSTREAM_UNKNOWN && !outcome->answered) {
        return PROBLEM_OUTCOME_UNKNOWN;
    }
    return outcome->result == UPSTREAM_FAILED && outcome->status >= 400 && outcome->status < 500
               ? PROBLEM_UPSTREAM_REJECTED
               : PROBLEM_UPSTREAM_ERROR;
}

/* 200 ms, doubled with each attempt up to 10 s, and up to a quarter more. */
static int64_t backoff_ms(int attempts)
{
    int64_t wait = MAX_BACKOFF_MS;
    uint16_t random;

    if (attempts < 6) {
        wait = (int64_t)FIRST_BACKOFF_MS << (attempts > 0 ? attempts - 1 : 0);
    }
    crypto_random(&random, sizeof(random));
    return wait + wait * random / UINT16_MAX / 4;
}

/* Whether the request may go again, nothing of it having been applied; and how. */
static bool goes_again(struct call *call, size_t index, const struct upstream_outcome *outcome,
                       int64_t now_ms)
{
    struct call_part *part = &call->parts[index];
    struct entry *entry = (struct entry *)call->batch->parts[index].job;

    part->not_before_ms = INT64_MIN;
    if (outcome->result != UPSTREAM_FAILED) {
        return false;
    }
    if (outcome->nothing_sent) {
        part->not_before_ms = now_ms + backoff_ms(++entry->attempts);
        return part->not_before_ms < entry->retry_until_ms;
    }
    if (outcome->token_rejected) {
        /* Once; but what was sent before that is not another time. */
        bool first = entry->token_retry_ms == 0 || call->sent_boot_ms < entry->token_retry_ms;
        entry->token_retry_ms = entry->token_retry_ms == 0 ? now_ms : entry->token_retry_ms;
        return first;
    }
    if (outcome->status == 429) {
        return now_ms < entry->retry_until_ms;
    }
    /* One request's bad device must not fail the others: each goes alone, once. */
    part->alone = outcome->status >= 400 && outcome->status < 500 && call->batch->part_count > 1;
    return part->alone;
}

static void note_failure(struct entry *entry, const struct batch_part *part,
                         const struct upstream_outcome *outcome)
{
    struct ending ending = {.unknown = outcome->result == UPSTREAM_UNKNOWN,
                            .problem = problem_of(outcome),
                            .upstream_status = outcome->status,
                            .detail = (char *)outcome->detail};

    progress_fail(&entry->progress, entry->action, part->devices, part->count, &ending);
}

void call_judge_part(struct call *call, size_t index, const struct upstream_outcome *outcome,
                     int64_t now_ms)
{
    struct call_part *part = &call->parts[index];
    const struct batch_part *given = &call->batch->parts[index];
    struct entry *entry = (struct entry *)given->job;

    part->back = goes_again(call, index, outcome, now_ms);
    if (part->back) {
        return;
    }
    if (outcome->result == UPSTREAM_OK) {
        progress_know(&entry->progress, entry->action, given->devices, given->places, given->count,
                      outcome->items, outcome->status);
    } else {
        note_failure(entry, given, outcome);
    }
    if (given->count == entry->action->device_count) { /* the whole request went in this call */
        part->ends = true;
        part->state = progress_outcome(&entry->progress, entry->action, &part->results);
    }
}
