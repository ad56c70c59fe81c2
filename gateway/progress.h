/* Progress: what is known so far of each device of an action that goes in one call or several, and
 * how the action ends once all of it is. It can be written down and read back, so that a restart
 * knows what its predecessor knew. No I/O; one thread. */
#ifndef GATEWAY_PROGRESS_H
#define GATEWAY_PROGRESS_H

#include "common/error.h"
#include "common/memory.h"
#include "gateway/problem.h"
#include "policy/action.h"
#include "policy/action_state.h"
#include "upstream/answer.h"

#include <jansson.h>

/* How far a device is. What is over is never sent again. */
enum device_progress {
    DEVICE_OPEN,  /* not sent, or under way */
    DEVICE_OVER,  /* its call is over and gave no result: it was refused, or is unknown */
    DEVICE_KNOWN, /* its result is known */
};

/* Why an action is not completed: of its worst part. */
struct ending {
    bool failed;
    bool unknown; /* may have been applied */
    enum problem_type problem;
    int upstream_status;
    char *detail;
};

/* Embedded; zeroed is "nothing is known". */
struct progress {
    size_t count;
    enum device_progress *devices; /* count of them, as in the action; NULL: all are open */
    struct answer_item *items;     /* likewise, of those that are known */
    struct ending ending;
};

void progress_done(struct progress *progress);

/* Whether a part of the action is over. */
bool progress_started(const struct progress *progress);

/* How many devices are open. */
size_t progress_open(const struct progress *progress, const struct action *action);

/* Some devices, by their indexes in the action, were answered: each has its item at its place in
 * items. */
void progress_know(struct progress *progress, const struct action *action, const size_t *devices,
                   const size_t *places, size_t count, const struct answer_item *items,
                   int upstream_status);

/* Some devices are over without a result. Takes ending->detail as a loan. */
void progress_fail(struct progress *progress, const struct action *action, const size_t *devices,
                   size_t count, const struct ending *ending);

/* The devices that are open, of those in ranges (see below; NULL: of all), may have been applied
 * and will never be known. ERR_MALFORMED: ranges are none of the action; nothing changed. */
enum err progress_lose(struct progress *progress, const struct action *action, const json_t *ranges,
                       const char *detail) MUST_CHECK;

/* What the action came to; what is open was never sent. The results as its caller sees them (the
 * caller frees), or NULL when there are none: nothing applied at all is failed; anything that may
 * have been applied is unknown, with the results that are known; else it is completed, and what
 * was refused or not sent has status 0. */
enum action_state progress_outcome(const struct progress *progress, const struct action *action,
                                   char **ret_results);

/* As JSON text (the caller frees), NULL when nothing is over; and back, into a zeroed progress.
 * ERR_MALFORMED: it is nothing that progress_write() gave for this action; progress is unchanged.
 */
char *progress_write(const struct progress *progress);
enum err progress_read(struct progress *progress, const struct action *action,
                       const char *text) MUST_CHECK;

/* Devices by their indexes (rising), compactly: [first, last, first, last, …]. */
json_t *progress_ranges(const size_t *devices, size_t count);

#endif
