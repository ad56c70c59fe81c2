/* Stream: one place that the audit log is sent to, of one kind (file, syslog). It is given records
 * in order and says how far they have got; what to give it, and when, is for streams.c to say.
 * Everything here runs on the streams' thread and never waits for another machine. */
#ifndef GATEWAY_STREAM_H
#define GATEWAY_STREAM_H

#include "common/error.h"
#include "common/memory.h"
#include "gateway/config.h"
#include "store/audit.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct stream_kind;

/*            open()             connected
 *   CLOSED ─────────▶ OPENING ────────────▶ OPEN ──▶ ENDED: the receiver closed it, or finish()
 *      ▲                 │                   │         │
 *      │                 └──────▶ FAILED ◀───┘         │
 *      └───── close() ───────────────┴─────────────────┘
 */
enum stream_state { STREAM_CLOSED, STREAM_OPENING, STREAM_OPEN, STREAM_ENDED, STREAM_FAILED };

/* What is a stream's own besides its kind: the kind's struct begins with it. */
struct stream {
    const struct stream_kind *kind;
    enum stream_state state;
    struct error why;  /* FAILED, ENDED: for people */
    int64_t from;      /* ENDED, FAILED: the first seq that has to be sent (again) */
    int64_t cut_count; /* records that could not be sent whole */
    char *last;        /* file: the last line that was there when it was opened, or NULL */
    size_t last_len;
};

struct stream_setup {
    const struct stream_config *config; /* borrowed for the stream's life, as is base */
    struct event_base *base;
    void (*wake)(void *arg); /* the state changed, or there is room again; must return at once and
                                do nothing with the stream */
    void *arg;
};

struct stream_kind {
    const char *type; /* in the configuration */

    struct stream *(*new)(const struct stream_setup *setup);
    void (*free)(struct stream *stream);

    /* CLOSED: begins to open. seq is the first that will be sent. */
    void (*open)(struct stream *stream, int64_t seq);

    /* OPEN: takes the next record, a copy of it. ERR_FULL: not now; wake is called when there is
     * room. May fail the stream, and says OK then. */
    enum err (*send)(struct stream *stream, const struct store_record *record) MUST_CHECK;

    /* OPEN: no more records for now: nothing may stay behind for lack of company. */
    void (*flush)(struct stream *stream);

    /* OPEN, ENDED: the first seq that is not known to have arrived. Does what makes it so: a file
     * is synced. May fail the stream. */
    int64_t (*settle)(struct stream *stream);

    /* Five times a second: time-outs, and a file that was moved. */
    void (*check)(struct stream *stream);

    /* OPEN: opens the file anew. */
    void (*reopen)(struct stream *stream);

    /* OPEN, all sent: says goodbye, and becomes ENDED when the other side did. */
    void (*finish)(struct stream *stream);

    /* Any state: becomes CLOSED; from is where to go on. */
    void (*close)(struct stream *stream);
};

extern const struct stream_kind stream_kind_file;
extern const struct stream_kind stream_kind_syslog;

#endif
