/* What streams.c (the thread, what is remembered, the end) and outlet.c (one stream's turn) share.
 */
#ifndef GATEWAY_STREAMS_PRIV_H
#define GATEWAY_STREAMS_PRIV_H

#include "common/mailbox.h"
#include "gateway/stream.h"
#include "gateway/streams.h"

#include <event2/event.h>
#include <pthread.h>

/* One stream and where it stands. done <= next. */
struct outlet {
    struct streams *streams;
    const struct stream_config *config;
    struct stream *stream;
    struct event *turn;
    int64_t next;       /* the first seq that was not given to the stream */
    int64_t done;       /* the first seq that is not known to have arrived */
    int64_t saved;      /* done, as the store has it */
    int64_t saving;     /* done, as it was given to the store */
    int64_t chunk;      /* records to read at once */
    int64_t cut_count;  /* of the stream's, those that were counted */
    int64_t opened_ms;  /* boot clock; 0: it is not open */
    int64_t opened_seq; /* done, when it was opened */
    int64_t retry_ms;   /* boot clock: not to be opened before */
    int64_t backoff_ms; /* the last wait */
    bool loaded;        /* saved was read from the store */
    bool resumed;       /* it was opened before */
    bool failing;       /* and the log says so */
    bool finishing;     /* all is sent, and the receiver is told so */
    bool finished;      /* there is no more to be done for it */
};

struct streams {
    const struct config *config;
    struct store *store;
    struct event *rotate; /* SIGUSR1, in the main thread's loop */
    struct event_base *base;
    struct mailbox *mailbox;
    struct store_audit *audit; /* NULL: it could not be opened yet */
    struct event *tick;
    struct outlet *outlets;
    size_t count;
    pthread_t thread;
    int waiting;        /* answers of the store that are to come */
    int64_t saved_ms;   /* boot clock, of the last that was given to the store */
    int64_t stop_ms;    /* boot clock: to be at the end by then; 0: not stopping */
    int64_t target;     /* stopping: everything below it shall go; -1: not known yet */
    bool store_failing; /* and the log says so */
    bool ended;
};

/* Has it do what there is to do: open, take records, fail, end. Never waits but for the disk. */
void outlet_take_turn(struct outlet *outlet);

/* It has its turn in the next round of the loop, after what waits there. A stream's wake(). */
void outlet_wake(void *outlet);

/* Sees how far it got, and whether it is well. */
void outlet_settle(struct outlet *outlet);

/* Ends it: done is where the next start goes on. */
void outlet_close(struct outlet *outlet);

/* Sets its metrics. */
void outlet_publish(struct outlet *outlet);

#endif
