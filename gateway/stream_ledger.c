/* Stream ledger: see stream_ledger.h. */
#include "gateway/stream_ledger.h"

#include "common/memory.h"

#include <stdlib.h>

static struct stream_mark *at(struct stream_marks *marks, size_t index)
{
    return &marks->items[(marks->first + index) % marks->capacity];
}

static void push(struct stream_marks *marks, int64_t seq, uint64_t offset)
{
    if (marks->count == marks->capacity) {
        struct stream_marks grown = {.capacity = marks->capacity > 0 ? marks->capacity * 2 : 64};
        grown.items = xcalloc(grown.capacity, sizeof(*grown.items));
        while (grown.count < marks->count) {
            grown.items[grown.count] = *at(marks, grown.count);
            grown.count++;
        }
        free(marks->items);
        *marks = grown;
    }
    *at(marks, marks->count++) = (struct stream_mark){.seq = seq, .offset = offset};
}

static void pop(struct stream_marks *marks)
{
    marks->first = (marks->first + 1) % marks->capacity;
    marks->count--;
}

void stream_ledger_begin(struct stream_ledger *ledger, int64_t seq, uint64_t margin)
{
    stream_ledger_done(ledger);
    *ledger = (struct stream_ledger){.margin = margin, .arrived = seq, .safe = seq};
}

void stream_ledger_done(struct stream_ledger *ledger)
{
    free(ledger->buffered.items);
    free(ledger->written.items);
    *ledger = (struct stream_ledger){0};
}

void stream_ledger_add(struct stream_ledger *ledger, int64_t seq, size_t bytes)
{
    ledger->added += bytes;
    push(&ledger->buffered, seq, ledger->added);
}

void stream_ledger_update(struct stream_ledger *ledger, size_t buffered, uint64_t written,
                          uint64_t missing)
{
    const uint64_t left = ledger->added - buffered;
    const uint64_t got = written > missing ? written - missing : 0;
    int64_t seq = -1;

    while (ledger->buffered.count > 0 && at(&ledger->buffered, 0)->offset <= left) {
        seq = at(&ledger->buffered, 0)->seq;
        pop(&ledger->buffered);
    }
    if (seq >= 0) {
        push(&ledger->written, seq, written);
    }
    while (ledger->got < ledger->written.count &&
           at(&ledger->written, ledger->got)->offset <= got) {
        ledger->arrived = at(&ledger->written, ledger->got++)->seq;
    }
    while (ledger->got > 0 && at(&ledger->written, 0)->offset + ledger->margin <= got) {
        ledger->safe = at(&ledger->written, 0)->seq;
        pop(&ledger->written);
        ledger->got--;
    }
}

void stream_ledger_confirm(struct stream_ledger *ledger)
{
    ledger->safe = ledger->arrived;
    for (; ledger->got > 0; ledger->got--) {
        pop(&ledger->written);
    }
}

int64_t stream_ledger_arrived(const struct stream_ledger *ledger)
{
    return ledger->arrived;
}

int64_t stream_ledger_safe(const struct stream_ledger *ledger)
{
    return ledger->safe;
}
