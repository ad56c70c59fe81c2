/* Store: durable state behind one asynchronous API: actions, the idempotency keys they came with,
 * grants (slots of the budget that were taken) and audit records. It stores what it is told and
 * knows no policy.
 *
 * Threads: the store runs two of its own. One owns the only connection that writes; it takes all
 * writes that wait, commits them in one transaction (group commit: one fsync for many), and
 * answers each to its sender's mailbox. The other owns a read-only connection, so that long reads
 * never delay a commit. The functions under "Blocking" use a connection of their own and are for
 * start-up and for commands.
 *
 * A write is atomic. When its callback says OK it is durable (it survives power loss). When it
 * says anything else, nothing of it is stored: ERR_EXISTS (an id, call_id or
 * idempotency key that is there), ERR_NOT_FOUND (nothing to change), ERR_INVALID (a value the
 * table cannot hold, such as NULL for an account), ERR_IO or ERR_UNAVAILABLE (the database; then
 * the store is not healthy). */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "common/error.h"
#include "common/memory.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mailbox;
struct store;
struct store_write;

/* One action. All strings are borrowed by the callee for the call only; NULL is SQL NULL. */
struct store_action {
    const char *id;
    const char *account;
    const char *team;
    const char *client;
    const char *key_id;
    const char *request_id;
    const char *state;
    int64_t submitted_ms; /* wall clock */
    int64_t finished_ms;  /* wall clock; 0 = not finished */
    int64_t priority;     /* RFC 9218 urgency, 0 (first) to 7 */
    int64_t deadline_ms;  /* wall clock; 0 = none */
    const char *reason;
    const char *rule;
    const char *request; /* JSON: the request as asked */
    const char *results; /* JSON array, or NULL */
    const char *problem; /* JSON object, or NULL */
    const char *call_id; /* the last upstream call it was part of, or NULL */
    const char
        *progress; /* JSON: what is known of a part of it while it is not finished; or NULL */
};

/* One slot that a call took. Boot times can be compared only under one boot_id. */
struct store_grant {
    const char *call_id;
    const char *account;
    const char *boot_id;
    int64_t taken_boot_ms;
    int64_t taken_wall_ms;
    int64_t answered_boot_ms; /* -1: no answer known */
    int64_t answered_wall_ms; /* -1: no answer known */
    const char *detail;       /* JSON: what the owner wants to know of it later; or NULL */
};

/* An Idempotency-Key (draft-ietf-httpapi-idempotency-key-header) of a team: until it expires it
 * stands for one action and one body. */
struct store_idempotency {
    const char *team;
    const char *key;
    const char *body_sha256; /* hex */
    const char *action_id;
    int64_t expires_ms; /* wall clock: the first moment at which the key is free again */
    int64_t now_ms;     /* wall clock: what "expired" is measured by */
};

/* Which actions to list. */
struct store_action_query {
    const char *team;  /* NULL: of all */
    const char *state; /* NULL: in any */
    int limit;         /* 1 to STORE_LIST_MAX */
    int64_t before;    /* the cursor that came with the page before; 0: begin with the newest */
};

#define STORE_LIST_MAX 1000

/* ---- Opening ---- */

/* Opens the store at url ("sqlite:FILE"), creates or migrates its tables, reads the last seq of
 * this node's records, and starts the threads. Blocks. node names the log that this process
 * appends to. ERR_INVALID for a bad url, ERR_IO, ERR_UNAVAILABLE when another gateway holds it. */
enum err store_open(const char *url, const char *node, struct store **ret_store,
                    struct error *error) MUST_CHECK;

/* Does what waits, answers it, ends the threads, closes. Takes NULL. Nobody may submit or read any
 * more. Answers go into the mailboxes as ever: one whose loop has ended delivers them in
 * mailbox_free(), so close the store before freeing those. */
void store_close(struct store *store);

/* The two halves of store_close(). Once stopped, the store takes nothing (ERR_FULL) but may still
 * be asked: so that whoever gets its last answers, in whatever order, can be let finish. Only when
 * no other thread uses the store. */
void store_stop(struct store *store);
void store_free(struct store *store);

/* Whether the last commit went well. Any thread. An unhealthy store still tries every write, and
 * tries by itself every half second, so it becomes healthy when the trouble is over. */
bool store_healthy(const struct store *store);

/* Why the newest commit that failed did; code OK when none ever failed. Any thread. */
void store_problem(struct store *store, struct error *ret_problem);

/* ---- Writing: build, then submit ---- */

struct store_write *store_write_new(void);
void store_write_free(struct store_write *write);

void store_write_add_action(struct store_write *write, const struct store_action *action);

/* Moves an action to a state; call_id NULL leaves the one that is there. A finished action moves
 * no more: the write fails with ERR_NOT_FOUND, so of two that race to finish it one wins. */
void store_write_set_state(struct store_write *write, const char *id, const char *state,
                           const char *call_id);

/* The same, call_id left, and replaces what is known of a part of it. */
void store_write_set_progress(struct store_write *write, const char *id, const char *state,
                              const char *progress);

/* Moves an unfinished action to a final state, and forgets its progress: results has it all;
 * finished_ms > 0. results and problem may be NULL. */
void store_write_finish_action(struct store_write *write, const char *id, const char *state,
                               int64_t finished_ms, const char *results, const char *problem);

/* Takes a key for an action that is in the store, or was added to this write before (else
 * ERR_INVALID). A key of the team that has not expired at now_ms fails the write with ERR_EXISTS;
 * one that has is replaced. Expired keys are also forgotten in time, by the wall clock. */
void store_write_add_idempotency(struct store_write *write,
                                 const struct store_idempotency *idempotency);

void store_write_add_grant(struct store_write *write, const struct store_grant *grant);
void store_write_answer_grant(struct store_write *write, const char *call_id, int64_t boot_ms,
                              int64_t wall_ms);

/* Forgets a grant: nothing was sent, or its slot came free long ago (the store keeps all others
 * for ever, and loads them at start). */
void store_write_drop_grant(struct store_write *write, const char *call_id);

/* Appends an audit record. tail_take is the record's JSON object without the first brace, e.g.
 * "\"event\":\"node.started\"}" (malloc'ed, given away): the store puts
 * {"v":1,"node":NODE,"seq":N,"time":"…", in front, where seq is contiguous from 0 for the node in
 * commit order, and keeps exactly these bytes. time is the wall clock then, even if it went back.
 */
void store_write_add_record(struct store_write *write, char *tail_take);

/* Called once on the thread of the mailbox given to store_submit(), when that mailbox delivers
 * (so never before a store_submit() on that thread returned). */
typedef void (*store_write_cb)(enum err result, void *arg);

/* Gives the write to the store. OK: on_done will be called, even while the store closes; NULL:
 * nobody wants to know, and reply_to may be NULL. ERR_FULL: too many wait; on_done is not called
 * and the caller still owns the write. Any thread.
 * A reply_to with an on_mail of its own must call each mail's deliver. */
enum err store_submit(struct store *store, struct store_write *write, struct mailbox *reply_to,
                      store_write_cb on_done, void *arg) MUST_CHECK;

/* ---- Reading ---- */

/* action is NULL when there is none (result ERR_NOT_FOUND) or the read failed; it is borrowed for
 * the call. Called as above. */
typedef void (*store_action_cb)(enum err result, const struct store_action *action, void *arg);

/* Reads one action by id on the reading thread. ERR_FULL as for store_submit(). Sees every write
 * whose callback was called before. */
enum err store_read_action(struct store *store, const char *id, struct mailbox *reply_to,
                           store_action_cb on_done, void *arg) MUST_CHECK;

/* Both are NULL when the result is not OK, else borrowed for the call. now_ms is as asked. */
typedef void (*store_idempotency_cb)(enum err result, const struct store_idempotency *idempotency,
                                     const struct store_action *action, void *arg);

/* Reads what a team's key stands for and that action as it is, at one moment. ERR_NOT_FOUND: the
 * key is free, or has expired at now_ms. Otherwise as store_read_action(). */
enum err store_read_idempotency(struct store *store, const char *team, const char *key,
                                int64_t now_ms, struct mailbox *reply_to,
                                store_idempotency_cb on_done, void *arg) MUST_CHECK;

/* The page, borrowed for the call; count 0 unless the result is OK. next is the cursor of the page
 * after it, 0 when there is none. */
typedef void (*store_actions_cb)(enum err result, const struct store_action *actions, size_t count,
                                 int64_t next, void *arg);

/* Lists actions, the newest (by when they were stored) first. Pages that follow one another by
 * their cursors show each action once, even while others are added; with a state, as it is when
 * its page is read. A page may hold fewer than limit and still have a next: its bytes are bounded
 * too. ERR_INVALID: limit or before is out of range, and on_done is not called. Otherwise as
 * store_read_action(). */
enum err store_list_actions(struct store *store, const struct store_action_query *query,
                            struct mailbox *reply_to, store_actions_cb on_done,
                            void *arg) MUST_CHECK;

/* ---- Blocking: at start, and for commands ---- */

/* Calls each for the name of every account that has unfinished actions or grants, by name; false
 * stops. As the next two. */
enum err store_load_accounts(struct store *store, bool (*each)(const char *account, void *arg),
                             void *arg, struct error *error) MUST_CHECK;

/* Calls each for every unfinished action of an account, oldest first; false stops. Sees
 * every write whose callback was called before. */
enum err store_load_open_actions(struct store *store, const char *account,
                                 bool (*each)(const struct store_action *action, void *arg),
                                 void *arg, struct error *error) MUST_CHECK;

/* The same for every grant of an account. */
enum err store_load_grants(struct store *store, const char *account,
                           bool (*each)(const struct store_grant *grant, void *arg), void *arg,
                           struct error *error) MUST_CHECK;

/* Calls each for the audit records of all nodes, by node and seq; false stops. Opens the store
 * read-only, also while a gateway runs on it. record is exactly the stored bytes, with a NUL after
 * them. each may take its time: no transaction is open while it runs. ERR_NOT_FOUND: no store. */
enum err store_each_record(const char *url,
                           bool (*each)(const char *node, int64_t seq, const char *record,
                                        size_t len, void *arg),
                           void *arg, struct error *error) MUST_CHECK;

#endif
