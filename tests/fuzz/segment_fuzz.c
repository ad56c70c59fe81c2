/* Segment: the index of the audit log. Input that begins with 'R' is records, one on each line: in
 * the segment made of them, each of their keys is found at its place, and each place once. Other
 * input is a kind, a text, a newline, and a bucket, as a damaged store could hold it: looking it up
 * stays inside it, marks no place twice, and says how many it marked. */
#include "fuzz.h"

#include "common/record.h"
#include "store/store_priv.h"

#include <assert.h>
#include <string.h>

static size_t mark(const uint8_t *data, size_t len, enum key_kind kind, const char *text,
                   uint8_t counts[STORE_SEGMENT_RECORDS])
{
    size_t marked;
    size_t sum = 0;

    memset(counts, 0, STORE_SEGMENT_RECORDS);
    marked = segment_mark(data, len, kind, text, counts);
    for (size_t i = 0; i < STORE_SEGMENT_RECORDS; i++) {
        assert(counts[i] <= 1);
        sum += counts[i];
    }
    assert(sum == marked && marked <= len / 2);
    return marked;
}

static void check_bucket(const uint8_t *data, size_t size)
{
    struct fuzz_piece rest = {(const char *)data + 1, size - 1};
    struct fuzz_piece line = {rest.at, 0};
    uint8_t counts[STORE_SEGMENT_RECORDS];

    (void)fuzz_take_line(&rest, &line);
    CLEANUP(cleanup_free) char *text = fuzz_text(line);
    CLEANUP(cleanup_free) char *bucket = fuzz_copy(rest);
    (void)mark((const uint8_t *)bucket, rest.len, data[0] % KEY_KINDS, text, counts);
}

static void check_key(const struct segment *segment, size_t place, enum key_kind kind,
                      struct record_piece piece)
{
    uint8_t counts[STORE_SEGMENT_RECORDS];

    if (piece.at != NULL && piece.len > 0) {
        CLEANUP(cleanup_free) char *text = xstrndup(piece.at, piece.len);
        size_t bucket = segment_bucket(kind, text);
        assert(bucket < SEGMENT_BUCKETS);
        assert(mark(segment->buckets[bucket].data, segment->buckets[bucket].len, kind, text,
                    counts) > 0);
        assert(counts[place] == 1);
    }
}

static void check_record(const struct segment *segment, size_t place, struct fuzz_piece line)
{
    struct record record;

    if (record_read(line.at, line.len, &record) == OK) {
        check_key(segment, place, KEY_ACTION_ID, record.action_id);
        check_key(segment, place, KEY_CALL_ID, record.call_id);
        check_key(segment, place, KEY_TEAM, record.team);
        check_key(segment, place, KEY_CLIENT, record.client);
        check_key(segment, place, KEY_ACTION, record.action);
        check_key(segment, place, KEY_EVENT, record.event);
    }
}

static void check_records(struct fuzz_piece records)
{
    struct segment_builder *builder = segment_builder_new(7);
    struct fuzz_piece rest = records;
    struct fuzz_piece line;
    struct segment *segment;
    size_t count = 0;

    while (count < STORE_SEGMENT_RECORDS && fuzz_take_line(&rest, &line)) {
        struct store_record record = {.bytes = line.at, .len = line.len};
        segment_builder_add(builder, &record);
        count++;
    }
    segment = segment_builder_end(builder);
    assert(segment->number == 7);
    rest = records;
    for (size_t i = 0; i < count && fuzz_take_line(&rest, &line); i++) {
        check_record(segment, i, line);
    }
    segment_free(segment);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0 && data[0] == 'R') {
        check_records((struct fuzz_piece){(const char *)data + 1, size - 1});
    } else if (size > 0) {
        check_bucket(data, size);
    }
    return 0;
}
