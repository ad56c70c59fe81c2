/* Refusals: those of clients that nobody knows, by the workers and their guards. A flood of them
 * fills the audit log with a bounded number of records: some one by one, the rest as a count for
 * each address and stretch of time (policy/flood.h). And addresses that send many bad keys are
 * slowed down.
 *
 * One for the process, made and ended on the main thread, whose loop writes the counts. One table
 * for all workers behind a lock that only refusals take: a client's connections come to any of
 * them. Never in the way of a good key. */
#ifndef GATEWAY_REFUSALS_H
#define GATEWAY_REFUSALS_H

#include "common/memory.h"

#include <stdbool.h>

struct config;
struct event_base;
struct refusals;
struct store;

/* When a bad key is answered. */
enum refusal_answer {
    REFUSAL_AT_ONCE,
    REFUSAL_LATER,     /* the address sends too many: wait, then call refusals_waited() */
    REFUSAL_AND_CLOSE, /* too many wait already: at once, but the connection ends with it */
};

/* base is the main thread's; all are borrowed. */
struct refusals *refusals_new(struct event_base *base, const struct config *config,
                              struct store *store);

/* Other limits from now on. Any thread. */
void refusals_configure(struct refusals *refusals, const struct config *config);

/* Writes all counts. After the workers have ended, before the store is stopped. */
void refusals_end(struct refusals *refusals);

/* Takes what waits in its mailbox, after the loop has ended; whether there was any. */
bool refusals_flush(struct refusals *refusals);

/* After store_stop(). NULL is fine. */
void refusals_free(struct refusals *refusals);

/* ---- Any thread ---- */

/* A refusal, with the NAME of its problem (unauthenticated, malformed-request, body-too-large or
 * header-too-large), of a client at the numeric address remote (NULL: not known). True: the caller
 * records it now, by refusals_record(); else it is counted. */
bool refusals_add(struct refusals *refusals, const char *remote, const char *problem) MUST_CHECK;

/* The same for a bad key (or none), and when to answer it. */
bool refusals_add_bad_key(struct refusals *refusals, const char *remote,
                          enum refusal_answer *ret_answer) MUST_CHECK;

/* Stores the record of a refusal, without anybody waiting for it; one that cannot be stored is
 * counted after all. record_take is as audit_end() gives it. */
void refusals_record(struct refusals *refusals, const char *remote, const char *problem,
                     char *record_take);

/* An answer that had to wait is given. */
void refusals_waited(struct refusals *refusals);

#endif
