/* Stream ledger: which records of a connection have arrived, as far as bytes can tell. The bytes of
 * a message wait in a buffer of ours, then in the system's until the other side's system has them,
 * and then in the other side's until its program reads them. The last of these cannot be seen.
 * Pure; any thread, one at a time. */
#ifndef GATEWAY_STREAM_LEDGER_H
#define GATEWAY_STREAM_LEDGER_H

#include <stddef.h>
#include <stdint.h>

struct stream_mark {
    int64_t seq; /* everything below it lies before offset */
    uint64_t offset;
};

struct stream_marks {
    struct stream_mark *items; /* a ring */
    size_t first;
    size_t count;
    size_t capacity;
};

/* Zero it to begin. */
struct stream_ledger {
    struct stream_marks buffered; /* offset: bytes put into the buffer */
    struct stream_marks written;  /* offset: bytes given to the system */
    size_t got;                   /* how many of those, from the first, have arrived */
    uint64_t margin;
    uint64_t added;
    int64_t arrived;
    int64_t safe;
};

/* A new connection, on which seq is the first to be sent. margin: how many bytes the other side may
 * have taken and not read. */
void stream_ledger_begin(struct stream_ledger *ledger, int64_t seq, uint64_t margin);
void stream_ledger_done(struct stream_ledger *ledger);

/* A message of so many bytes was put into the buffer: everything below seq is there now. */
void stream_ledger_add(struct stream_ledger *ledger, int64_t seq, size_t bytes);

/* How things stand: bytes still in the buffer; bytes that the system was given since the connection
 * began (more than the messages' own if they are encrypted); how many of those the other side's
 * system has not got. To be told often: what lies between two times counts as the later one. */
void stream_ledger_update(struct stream_ledger *ledger, size_t buffered, uint64_t written,
                          uint64_t missing);

/* What has arrived was read, too: nothing of it will be sent again. */
void stream_ledger_confirm(struct stream_ledger *ledger);

/* The first seq that the other side's system has not got. */
int64_t stream_ledger_arrived(const struct stream_ledger *ledger);

/* The same less the margin, but never before the connection began: where to go on when the other
 * side broke off, and may not have read what it had got. */
int64_t stream_ledger_safe(const struct stream_ledger *ledger);

#endif
