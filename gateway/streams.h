/* Streams: sends this gateway's audit log to other places (audit.streams of the configuration),
 * from the store, each at its own pace, and remembers in the store how far each got. Nothing waits
 * for a stream: a dead or slow one only falls behind.
 *
 * One thread for all of them; it looks for new records five times a second. */
#ifndef GATEWAY_STREAMS_H
#define GATEWAY_STREAMS_H

#include "common/error.h"
#include "common/memory.h"
#include "gateway/config.h"

struct event_base;
struct store;
struct streams;

/* Starts the thread, if there is anything to send to. Whatever is wrong with a stream is logged and
 * tried again. SIGUSR1, which base hears from now on, opens the files of all streams anew. All
 * arguments are borrowed until streams_stop(). Main thread, as is that. */
struct streams *streams_start(const struct config *config, struct store *store,
                              struct event_base *base);

/* Sends what the store was given up to now and what a receiver takes within two seconds, remembers
 * how far each stream got, and ends the thread. Before the store stops. Takes NULL. */
void streams_stop(struct streams *streams);

#endif
