/* Stream to a syslog receiver: RFC 5424 messages, octet-counted (RFC 6587 §3.4.1) but in datagrams.
 * Receivers do not answer, so how far it got is told by bytes: stream_ledger.h. On the streams'
 * thread. */
#include "common/buffer.h"
#include "gateway/stream.h"
#include "gateway/stream_ledger.h"
#include "gateway/stream_link.h"
#include "gateway/syslog.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define MESSAGE_MAX (65U << 20) /* no record is that long */

struct syslog_stream {
    struct stream stream;
    struct stream_link *link;
    struct stream_ledger ledger;
    struct syslog_origin origin;
    struct buffer message;
    int64_t first; /* of this connection */
};

static struct syslog_stream *of(struct stream *stream)
{
    return (struct syslog_stream *)stream;
}

static void count(struct syslog_stream *syslog)
{
    size_t buffered;
    uint64_t written;
    uint64_t missing;

    stream_link_count(syslog->link, &buffered, &written, &missing);
    stream_ledger_update(&syslog->ledger, buffered, written, missing);
}

/* What the link is, the stream is. */
static void follow(struct syslog_stream *syslog)
{
    struct stream *stream = &syslog->stream;
    enum stream_state before = stream->state;

    stream->state = stream_link_state(syslog->link, &stream->why);
    if (stream->state == before) {
        return;
    }
    if (stream->state == STREAM_OPEN) {
        stream_ledger_begin(&syslog->ledger, syslog->first, stream_link_margin(syslog->link));
    } else if (before == STREAM_OPEN) {
        count(syslog);
        stream->from = stream->state == STREAM_ENDED ? stream_ledger_arrived(&syslog->ledger)
                                                     : stream_ledger_safe(&syslog->ledger);
    }
}

static void open_stream(struct stream *stream, int64_t seq)
{
    struct syslog_stream *syslog = of(stream);

    syslog->first = seq;
    stream->from = seq;
    stream->state = STREAM_OPENING;
    stream_link_open(syslog->link);
    follow(syslog);
}

static void check(struct stream *stream)
{
    struct syslog_stream *syslog = of(stream);

    if (stream->state == STREAM_OPENING || stream->state == STREAM_OPEN) {
        stream_link_check(syslog->link);
        follow(syslog);
    }
}

static enum err send_record(struct stream *stream, const struct store_record *record)
{
    struct syslog_stream *syslog = of(stream);
    struct buffer *message = &syslog->message;
    char head[24];
    size_t max;
    bool datagrams = stream_link_datagrams(syslog->link, &max);
    bool cut;
    int head_len;

    if (!stream_link_has_room(syslog->link)) {
        return ERR_FULL;
    }
    if (datagrams) {
        count(syslog);
    }
    message->len = 0;
    cut = syslog_write(&syslog->origin, record, max, message);
    head_len = datagrams ? 0 : snprintf(head, sizeof(head), "%zu ", message->len);
    if (!stream_link_send(syslog->link, head, (size_t)head_len, message->data, message->len)) {
        follow(syslog);
        return ERR_FULL;
    }
    if (datagrams) {
        /* The receiver lives, so what had left the queue before was read, and not thrown away. */
        stream_ledger_confirm(&syslog->ledger);
    }
    stream->cut_count += cut ? 1 : 0;
    stream_ledger_add(&syslog->ledger, record->seq + 1, (size_t)head_len + message->len);
    return OK;
}

/* The link sends by itself. */
static void flush(struct stream *stream)
{
    count(of(stream));
}

static int64_t settle(struct stream *stream)
{
    struct syslog_stream *syslog = of(stream);

    if (stream->state == STREAM_ENDED) {
        return stream->from;
    }
    count(syslog);
    return stream_ledger_arrived(&syslog->ledger);
}

static void reopen(struct stream *stream)
{
    (void)stream;
}

static void finish(struct stream *stream)
{
    stream_link_finish(of(stream)->link);
    follow(of(stream));
}

static void close_stream(struct stream *stream)
{
    struct syslog_stream *syslog = of(stream);

    if (stream->state == STREAM_OPEN) {
        count(syslog);
        stream->from = stream_ledger_safe(&syslog->ledger);
    }
    stream_link_close(syslog->link);
    stream_ledger_done(&syslog->ledger);
    stream->state = STREAM_CLOSED;
}

static struct stream *new_stream(const struct stream_setup *setup)
{
    struct syslog_stream *syslog = xcalloc(1, sizeof(*syslog));
    struct stream_address address = {.transport = STREAM_UNIX};
    const char *expected = stream_address_read(setup->config->address, &address);

    assert(expected == NULL);
    syslog->stream.kind = &stream_kind_syslog;
    syslog->link = stream_link_new(setup, &address);
    syslog_origin_init(&syslog->origin, setup->config->facility, setup->config->app_name);
    buffer_init(&syslog->message, MESSAGE_MAX);
    return &syslog->stream;
}

static void free_stream(struct stream *stream)
{
    struct syslog_stream *syslog = of(stream);

    stream_link_free(syslog->link);
    stream_ledger_done(&syslog->ledger);
    buffer_done(&syslog->message);
    free(syslog);
}

const struct stream_kind stream_kind_syslog = {
    .type = "syslog",
    .new = new_stream,
    .free = free_stream,
    .open = open_stream,
    .send = send_record,
    .flush = flush,
    .settle = settle,
    .check = check,
    .reopen = reopen,
    .finish = finish,
    .close = close_stream,
};
