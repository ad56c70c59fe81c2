/* Mailbox: how threads talk. Many senders, one receiver, whose event loop it wakes.
 * The bound counts requests; answers to requests are bounded by the requests themselves and are
 * always taken, so that a completion is never lost. */
#ifndef COMMON_MAILBOX_H
#define COMMON_MAILBOX_H

#include "common/error.h"
#include "common/memory.h"

#include <stdbool.h>
#include <stddef.h>

struct event_base;
struct mailbox;

/* Embedded as the first member of a message. */
struct mail {
    struct mail *next;
    void (*deliver)(struct mail *mail, void *receiver); /* frees or passes on the mail */
};

/* Called on the receiver's thread with everything that waits, in the order it was posted. */
typedef void (*mailbox_cb)(struct mail *list, void *receiver);

/* Created and freed on the receiver's thread, or while that does not run. base and receiver are
 * borrowed. on_mail NULL calls each mail's deliver. Mail still waiting at mailbox_free() is
 * delivered first. */
struct mailbox *mailbox_new(struct event_base *base, size_t limit, mailbox_cb on_mail,
                            void *receiver);
void mailbox_free(struct mailbox *mailbox);

/* Delivers what waits, without the loop: when that does not run any more. Returns whether there was
 * any. */
bool mailbox_flush(struct mailbox *mailbox);

/* Posts a request from any thread. ERR_FULL: the bound is reached, the caller still owns it. */
enum err mailbox_post(struct mailbox *mailbox, struct mail *mail) MUST_CHECK;

/* Posts an answer to a request that the receiver made. Any thread. Never refused. */
void mailbox_answer(struct mailbox *mailbox, struct mail *mail);

#endif
