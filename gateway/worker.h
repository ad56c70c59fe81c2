/* Worker: one thread that talks HTTP with clients. Each has its own event loop, its own evhttp
 * behind its own guard, and its own listening sockets (SO_REUSEPORT). */
#ifndef GATEWAY_WORKER_H
#define GATEWAY_WORKER_H

#include "common/error.h"
#include "common/mailbox.h"
#include "common/memory.h"
#include "gateway/gateway.h"
#include "gateway/settings.h"

#include <stddef.h>

struct worker;
struct request;

/* Makes a worker that will accept on fds[i] for config->listen[i]; the descriptors are given away.
 * gateway is borrowed. */
struct worker *worker_new(struct gateway *gateway, const struct settings *settings, const int *fds);

/* Starts the thread. */
void worker_start(struct worker *worker);

/* From any other thread: requests and connections that come from now on go by these settings, whose
 * listeners are as many as before. on_done, delivered to reply_to, says that it is so, and frees
 * the mail. */
void worker_configure(struct worker *worker, const struct settings *settings,
                      struct mailbox *reply_to, void (*on_done)(struct mail *mail, void *receiver));

/* From any other thread: stop accepting; answer what still waits for results with still-running;
 * how many requests have no answer yet; end the thread. */
void worker_drain(struct worker *worker);
void worker_finish_waiting(struct worker *worker);
size_t worker_pending(const struct worker *worker);
void worker_stop(struct worker *worker);

/* Takes what waits in the mailbox of a stopped worker; whether there was any. */
bool worker_flush(struct worker *worker);

/* After worker_stop() and store_stop(). */
void worker_free(struct worker *worker);

/* ---- For requests, on the worker's thread ---- */

struct gateway *worker_gateway(const struct worker *worker);
const struct settings *worker_settings(const struct worker *worker); /* in force now */
struct mailbox *worker_mailbox(const struct worker *worker);
struct event_base *worker_base(const struct worker *worker);

/* Remembers a request that waits for replies of the dispatcher, and gives it a token. */
void worker_park(struct worker *worker, struct request *request);
/* Forgets it; later replies for its token are dropped. */
void worker_unpark(struct worker *worker, struct request *request);

/* Delivers a struct dispatcher_reply: for struct submission. */
void worker_on_reply(struct mail *mail, void *receiver);

/* Delivers an answered struct question: for request_ask(). */
void worker_on_answer(struct mail *mail, void *receiver);

/* A request begins, or its answer was given. */
void worker_count(struct worker *worker, int change);

#endif
