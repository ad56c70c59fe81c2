/* Answer: the upstream's answer to a device-action call, checked. Pure; any thread.
 * Source: OPSWAT Device Action v3.1 (documented: id, status, command_id); the bare array is
 * inferred, and one object that wraps such an array under one key is accepted too. */
#ifndef UPSTREAM_ANSWER_H
#define UPSTREAM_ANSWER_H

#include "common/error.h"
#include "common/memory.h"

#include <stdbool.h>
#include <stddef.h>

#define ANSWER_COMMAND_ID_SIZE 129

/* Result for one device. */
struct answer_item {
    int status;                              /* -1 not supported, 0 failed, 1 applied */
    char command_id[ANSWER_COMMAND_ID_SIZE]; /* empty unless given */
};

struct answer {
    struct answer_item *items; /* one for each device asked, in the order asked */
    size_t missing;            /* devices without an item: status 0 */
    size_t foreign;            /* items of devices that nobody asked, and repeated ones: dropped */
};

/* Reads an answer. asked are canonical ids, or canonical MACs when macs is true (the answer may
 * spell those in any way). OK gives *ret_answer, ended with answer_done(). ERR_MALFORMED: the body
 * as a whole is not such an answer (not JSON, wrong shape, a status that is not -1, 0 or 1). */
enum err answer_read(const char *body, size_t len, const char *const *asked, size_t count,
                     bool macs, struct answer *ret_answer, struct error *error) MUST_CHECK;

void answer_done(struct answer *answer);

#endif
