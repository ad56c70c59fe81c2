/* Outlet: one stream's turn: what it reads from the store, when it opens, what it does when it
 * fails. On the streams' thread. See streams_priv.h. */
#include "gateway/streams_priv.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/record.h"
#include "gateway/metrics.h"
#include "store/store.h"

#include <string.h>

#define CHUNK_MIN      16
#define CHUNK_MAX      1024 /* records of one stream before the others have their turn */
#define BACKOFF_MIN_MS 1000
#define BACKOFF_MAX_MS 60000
#define STEADY_MS      5000 /* what was open for so long begins anew with the shortest wait */

static bool load(struct outlet *outlet);
static void on_open(struct outlet *outlet);
static void on_down(struct outlet *outlet);
static void come_to_an_end(struct outlet *outlet);

void outlet_take_turn(struct outlet *outlet)
{
    struct stream *stream = outlet->stream;
    struct streams *streams = outlet->streams;

    if (outlet->finished || !load(outlet)) {
        return;
    }
    if (stream->state == STREAM_CLOSED && outlet->done < store_audit_size(streams->store) &&
        clock_boot_ms() >= outlet->retry_ms) {
        stream->kind->open(stream, outlet->done);
    }
    stream->kind->check(stream);
    if (stream->state == STREAM_OPEN) {
        on_open(outlet);
    }
    if (stream->state == STREAM_ENDED || stream->state == STREAM_FAILED) {
        on_down(outlet);
    }
    if (streams->stop_ms > 0) {
        come_to_an_end(outlet);
    }
}

void outlet_wake(void *outlet)
{
    static const struct timeval now = {0};

    (void)evtimer_add(((struct outlet *)outlet)->turn, &now);
}

/* ---- Saying what is wrong ---- */

static void count_error(const struct outlet *outlet)
{
    metrics_add(METRIC_AUDIT_STREAM_ERRORS, outlet->config->name, NULL, 1);
}

static void on_trouble(struct outlet *outlet, const char *why)
{
    count_error(outlet);
    if (!outlet->failing) {
        outlet->failing = true;
        log_error("an audit stream fails: it goes on where it was when it can", "s:s, s:s",
                  "stream", outlet->config->name, "detail", why);
    }
}

static void on_store_result(struct streams *streams, enum err err, const struct error *error)
{
    if (err != OK && !streams->store_failing) {
        log_error("the audit streams cannot read the store", "s:s", "detail", error->text);
    } else if (err == OK && streams->store_failing) {
        log_info("the audit streams can read the store again", "");
    }
    streams->store_failing = err != OK;
}

void outlet_publish(struct outlet *outlet)
{
    int64_t lag = store_audit_size(outlet->streams->store) - outlet->done;

    metrics_set(METRIC_AUDIT_STREAM_LAG, outlet->config->name, NULL, lag > 0 ? (double)lag : 0);
    while (outlet->cut_count < outlet->stream->cut_count) {
        if (outlet->cut_count++ == 0) {
            log_warning("a record was too long for an audit stream: it was sent cut, and says so",
                        "s:s", "stream", outlet->config->name);
        }
        count_error(outlet);
    }
}

/* Well again is what got something through, or has nothing to do. */
void outlet_settle(struct outlet *outlet)
{
    if (outlet->stream->state == STREAM_OPEN) {
        outlet->done = outlet->stream->kind->settle(outlet->stream);
    }
    if (outlet->failing && outlet->stream->state == STREAM_OPEN &&
        (outlet->done > outlet->opened_seq ||
         outlet->done >= store_audit_size(outlet->streams->store))) {
        outlet->failing = false;
        log_info("an audit stream works again", "s:s, s:I", "stream", outlet->config->name, "seq",
                 (json_int_t)outlet->done);
    }
}

/* ---- Reading ---- */

/* Where an earlier run got to. */
static bool load(struct outlet *outlet)
{
    struct streams *streams = outlet->streams;
    const char *node = streams->config->node;
    struct error error = {0};
    int64_t seq = 0;
    int64_t end = 0;
    enum err err = OK;

    if (outlet->loaded) {
        return true;
    }
    if (streams->audit == NULL) {
        err = store_audit_open(streams->config->store, &streams->audit, &error);
    }
    if (err == OK) {
        err = store_audit_stream(streams->audit, outlet->config->name, node, &seq, &error);
    }
    if (err == OK) {
        err = store_audit_end(streams->audit, node, &end, &error);
    }
    on_store_result(streams, err, &error);
    if (err == OK) {
        outlet->next = outlet->done = seq < end ? seq : end;
        outlet->saved = seq;
        outlet->chunk = CHUNK_MAX;
        outlet->loaded = true;
    }
    return outlet->loaded;
}

struct batch {
    struct outlet *outlet;
    int64_t count;
    bool full; /* the stream takes no more for now */
};

static bool on_record(const struct store_record *record, void *arg)
{
    struct batch *batch = arg;
    struct outlet *outlet = batch->outlet;
    struct stream *stream = outlet->stream;

    if (record->seq > outlet->next) {
        count_error(outlet);
        log_error("records were removed from the store before an audit stream had sent them",
                  "s:s, s:I, s:I", "stream", outlet->config->name, "from", (json_int_t)outlet->next,
                  "to", (json_int_t)record->seq - 1);
        outlet->next = record->seq;
    }
    if (stream->kind->send(stream, record) != OK || stream->state != STREAM_OPEN) {
        batch->full = true;
        return false;
    }
    outlet->next = record->seq + 1;
    return ++batch->count < CHUNK_MAX;
}

static enum err read_records(struct outlet *outlet, int64_t to, struct batch *batch)
{
    struct streams *streams = outlet->streams;
    struct error error = {0};
    enum err err = store_audit_each_record(streams->audit, streams->config->node, outlet->next, to,
                                           on_record, batch, &error);

    on_store_result(streams, err, &error);
    return err;
}

/* Gives it what there is and what it takes. What a slow one did not take is read again, so for that
 * only few are read at once. */
static void feed(struct outlet *outlet)
{
    struct batch batch = {.outlet = outlet};
    int64_t size = store_audit_size(outlet->streams->store);

    if (outlet->next >= size || read_records(outlet, outlet->next + outlet->chunk, &batch) != OK) {
        return;
    }
    if (batch.count == 0 && !batch.full &&
        read_records(outlet, INT64_MAX, &batch) != OK) { /* some were pruned */
        return;
    }
    outlet->chunk = batch.full ? batch.count * 2 : outlet->chunk * 2;
    outlet->chunk = outlet->chunk < CHUNK_MIN   ? CHUNK_MIN
                    : outlet->chunk > CHUNK_MAX ? CHUNK_MAX
                                                : outlet->chunk;
    if (outlet->stream->state == STREAM_OPEN) {
        outlet->stream->kind->flush(outlet->stream);
    }
    if (batch.count > 0 && !batch.full && outlet->next < size) {
        outlet_wake(outlet);
    }
}

/* ---- What a file holds already ---- */

struct comparison {
    const struct stream *stream;
    bool equal;
};

static bool on_compared(const struct store_record *record, void *arg)
{
    struct comparison *comparison = arg;
    const struct stream *stream = comparison->stream;

    comparison->equal =
        record->len == stream->last_len && memcmp(record->bytes, stream->last, record->len) == 0;
    return false;
}

/* A file may hold more than was remembered, when the process was killed: if it ends with a record
 * of this log, it has all before it, too. */
static void skip_written(struct outlet *outlet)
{
    struct stream *stream = outlet->stream;
    struct streams *streams = outlet->streams;
    struct comparison comparison = {.stream = stream};
    struct record record;
    struct error error;

    if (outlet->resumed || stream->last == NULL ||
        record_read(stream->last, stream->last_len, &record) != OK || record.seq < outlet->next ||
        store_audit_each_record(streams->audit, streams->config->node, record.seq, record.seq + 1,
                                on_compared, &comparison, &error) != OK) {
        return;
    }
    if (comparison.equal) {
        outlet->next = record.seq + 1;
        stream->kind->close(stream);
        stream->kind->open(stream, outlet->next);
    }
}

/* ---- Open, and down ---- */

static void on_open(struct outlet *outlet)
{
    if (outlet->opened_ms == 0) {
        skip_written(outlet);
        outlet->resumed = true;
        outlet->opened_ms = clock_boot_ms();
        outlet->opened_seq = outlet->next;
    }
    if (outlet->stream->state == STREAM_OPEN && !outlet->finishing) {
        feed(outlet);
    }
}

static void back_off(struct outlet *outlet)
{
    int64_t now = clock_boot_ms();
    int64_t wait = outlet->backoff_ms * 2;

    if (outlet->opened_ms > 0 && now - outlet->opened_ms >= STEADY_MS) {
        wait = 0;
    }
    outlet->backoff_ms = wait < BACKOFF_MIN_MS   ? BACKOFF_MIN_MS
                         : wait > BACKOFF_MAX_MS ? BACKOFF_MAX_MS
                                                 : wait;
    outlet->retry_ms = now + outlet->backoff_ms;
}

void outlet_close(struct outlet *outlet)
{
    if (outlet->stream->state != STREAM_CLOSED) {
        outlet->stream->kind->close(outlet->stream);
        outlet->next = outlet->done = outlet->stream->from;
        outlet->opened_ms = 0;
    }
}

/* It ended or failed: what did not arrive is given to it again, in time. A receiver that closes a
 * connection on which nothing was under way does nothing wrong. */
static void on_down(struct outlet *outlet)
{
    const struct error why = outlet->stream->why;
    bool failed = outlet->stream->state == STREAM_FAILED || outlet->stream->from < outlet->next;

    back_off(outlet);
    outlet_close(outlet);
    if (outlet->streams->stop_ms > 0) {
        outlet->finished = true;
    } else if (failed) {
        on_trouble(outlet, why.text);
    }
}

/* While stopping: all is sent, or it is not worth waiting for. */
static void come_to_an_end(struct outlet *outlet)
{
    struct streams *streams = outlet->streams;
    struct stream *stream = outlet->stream;

    if (outlet->finished || streams->target < 0) {
        return;
    }
    if (stream->state == STREAM_CLOSED) {
        outlet->finished = true;
    } else if (stream->state == STREAM_OPEN && !outlet->finishing &&
               stream->kind->settle(stream) >= streams->target) {
        outlet->finishing = true;
        stream->kind->finish(stream);
        outlet_wake(outlet);
    }
}
