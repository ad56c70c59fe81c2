/* Segment: the index of some thousand audit records by what people search for. Pure; see
 * store_priv.h for the form of a bucket. */
#include "store/store_priv.h"

#include "common/mac.h"
#include "common/record.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_ENTRY 12 /* bytes: hash and beginning */
#define MAX_TEXT    512

struct entry {
    uint64_t hash;
    uint16_t place;
};

struct segment_builder {
    struct segment *segment;
    uint16_t next;
    struct {
        struct entry *entries;
        size_t count;
        size_t capacity;
    } buckets[SEGMENT_BUCKETS];
};

static uint64_t hash_of(enum key_kind kind, const char *text, size_t len)
{
    uint64_t hash = UINT64_C(14695981039346656037) ^ (uint64_t)kind;

    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ (uint8_t)text[i]) * UINT64_C(1099511628211);
    }
    hash ^= hash >> 32;
    hash *= UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

static size_t bucket_of(enum key_kind kind, uint64_t hash)
{
    return kind < KEY_TEAM ? hash % SEGMENT_SPREAD : SEGMENT_SPREAD + (size_t)(kind - KEY_TEAM);
}

size_t segment_bucket(enum key_kind kind, const char *text)
{
    return bucket_of(kind, hash_of(kind, text, strlen(text)));
}

/* ---- Building ---- */

struct segment_builder *segment_builder_new(int64_t number)
{
    struct segment_builder *builder = xcalloc(1, sizeof(*builder));

    builder->segment = xcalloc(1, sizeof(*builder->segment));
    builder->segment->number = number;
    builder->segment->first_ms = INT64_MAX;
    builder->segment->last_ms = INT64_MIN;
    return builder;
}

static void add_text(struct segment_builder *builder, enum key_kind kind, const char *text,
                     size_t len)
{
    uint64_t hash = hash_of(kind, text, len);
    size_t at = bucket_of(kind, hash);

    if (builder->buckets[at].count == builder->buckets[at].capacity) {
        size_t capacity = builder->buckets[at].capacity;
        capacity = capacity > 0 ? 2 * capacity : 256;
        builder->buckets[at].entries =
            xrealloc(builder->buckets[at].entries, capacity, sizeof(struct entry));
        builder->buckets[at].capacity = capacity;
    }
    builder->buckets[at].entries[builder->buckets[at].count++] =
        (struct entry){.hash = hash, .place = builder->next};
}

/* Texts with escapes are not what anybody has for a name: they are left out, and found by looking.
 */
static void add_piece(struct segment_builder *builder, enum key_kind kind,
                      struct record_piece piece)
{
    if (piece.at != NULL && piece.len > 0) {
        add_text(builder, kind, piece.at, piece.len);
    }
}

/* MACs are indexed in their canonical form. */
static void add_device(struct segment_builder *builder, struct record_piece piece)
{
    char text[MAX_TEXT];
    char mac[MAC_TEXT_SIZE];

    if (piece.at == NULL || piece.len == 0 || piece.len >= sizeof(text)) {
        return;
    }
    memcpy(text, piece.at, piece.len);
    text[piece.len] = '\0';
    if (mac_canonical(text, mac) == OK) {
        add_text(builder, KEY_DEVICE, mac, strlen(mac));
    } else {
        add_text(builder, KEY_DEVICE, text, piece.len);
    }
}

static void add_lists(struct segment_builder *builder, const struct record *record)
{
    struct record_piece item;
    const char *at = NULL;

    while (record_next_string(record->devices, &at, &item)) {
        add_device(builder, item);
    }
    at = NULL;
    while (record_next_member(record->results, "id", &at, &item)) {
        add_device(builder, item);
    }
    at = NULL;
    while (record_next_string(record_member(record->detail, "actions"), &at, &item)) {
        add_piece(builder, KEY_ACTION_ID, item);
    }
}

static void add_time(struct segment *segment, struct record_piece time)
{
    char text[CLOCK_TEXT_SIZE];
    int64_t ms;

    if (time.len < sizeof(text)) {
        memcpy(text, time.at, time.len);
        text[time.len] = '\0';
        if (clock_parse(text, &ms) == OK) {
            segment->first_ms = ms < segment->first_ms ? ms : segment->first_ms;
            segment->last_ms = ms > segment->last_ms ? ms : segment->last_ms;
        }
    }
}

void segment_builder_add(struct segment_builder *builder, const struct store_record *stored)
{
    struct record record;

    assert(builder->next < STORE_SEGMENT_RECORDS);
    if (record_read(stored->bytes, stored->len, &record) == OK) {
        add_time(builder->segment, record.time);
        add_piece(builder, KEY_ACTION_ID, record.action_id);
        add_piece(builder, KEY_CALL_ID, record.call_id);
        add_piece(builder, KEY_TEAM, record.team);
        add_piece(builder, KEY_CLIENT, record.client);
        add_piece(builder, KEY_ACTION, record.action);
        add_piece(builder, KEY_EVENT, record.event);
        add_lists(builder, &record);
    }
    builder->next++;
}

static int compare_entries(const void *a, const void *b)
{
    const struct entry *one = a;
    const struct entry *other = b;

    if (one->hash != other->hash) {
        return one->hash < other->hash ? -1 : 1;
    }
    return (one->place > other->place) - (one->place < other->place);
}

static void put(uint8_t *to, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        to[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
    }
}

static uint64_t get(const uint8_t *from, size_t bytes)
{
    uint64_t value = 0;

    for (size_t i = 0; i < bytes; i++) {
        value = value << 8 | from[i];
    }
    return value;
}

/* Sorted, each pair once. Returns how many remain, and how many hashes they have. */
static size_t tidy(struct entry *entries, size_t count, size_t *ret_hashes)
{
    size_t kept = 0;
    size_t hashes = 0;

    qsort(entries, count, sizeof(*entries), compare_entries);
    for (size_t i = 0; i < count; i++) {
        bool fresh = kept == 0 || entries[i].hash != entries[kept - 1].hash;
        if (fresh || entries[i].place != entries[kept - 1].place) {
            hashes += fresh ? 1 : 0;
            entries[kept++] = entries[i];
        }
    }
    *ret_hashes = hashes;
    return kept;
}

static void encode(struct segment *segment, size_t bucket, struct entry *entries, size_t count)
{
    size_t hashes;
    size_t kept = tidy(entries, count, &hashes);
    size_t len = 4 + hashes * TABLE_ENTRY + kept * 2;
    uint8_t *data = xcalloc(1, len);
    uint8_t *list = data + 4 + hashes * TABLE_ENTRY;
    uint8_t *entry = data + 4;

    put(data, hashes, 4);
    for (size_t i = 0; i < kept; i++) {
        if (i == 0 || entries[i].hash != entries[i - 1].hash) {
            put(entry, entries[i].hash, 8);
            put(entry + 8, i, 4);
            entry += TABLE_ENTRY;
        }
        put(list + 2 * i, entries[i].place, 2);
    }
    segment->buckets[bucket].data = data;
    segment->buckets[bucket].len = len;
}

struct segment *segment_builder_end(struct segment_builder *builder)
{
    struct segment *segment = builder->segment;

    for (size_t i = 0; i < SEGMENT_BUCKETS; i++) {
        if (builder->buckets[i].count > 0) {
            encode(segment, i, builder->buckets[i].entries, builder->buckets[i].count);
        }
        free(builder->buckets[i].entries);
    }
    free(builder);
    return segment;
}

void segment_free(struct segment *segment)
{
    for (size_t i = 0; segment != NULL && i < SEGMENT_BUCKETS; i++) {
        free(segment->buckets[i].data);
    }
    free(segment);
}

/* ---- Looking up ---- */

size_t segment_mark(const uint8_t *data, size_t len, enum key_kind kind, const char *text,
                    uint8_t *counts)
{
    uint64_t hash = hash_of(kind, text, strlen(text));
    uint64_t hashes = len >= 4 ? get(data, 4) : 0;
    uint64_t low = 0;
    uint64_t high = hashes;
    uint64_t first;
    uint64_t end;
    uint64_t least = 0; /* the next place is not before */
    size_t marked = 0;

    if (hashes == 0 || hashes > (len - 4) / TABLE_ENTRY) {
        return 0;
    }
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (get(data + 4 + middle * TABLE_ENTRY, 8) < hash) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == hashes || get(data + 4 + low * TABLE_ENTRY, 8) != hash) {
        return 0;
    }
    first = get(data + 4 + low * TABLE_ENTRY + 8, 4);
    end = low + 1 < hashes ? get(data + 4 + (low + 1) * TABLE_ENTRY + 8, 4)
                           : (len - 4 - hashes * TABLE_ENTRY) / 2;
    for (uint64_t i = first; i < end && i < (len - 4 - hashes * TABLE_ENTRY) / 2; i++) {
        uint64_t place = get(data + 4 + hashes * TABLE_ENTRY + 2 * i, 2);
        if (place < least || place >= STORE_SEGMENT_RECORDS) {
            break;
        }
        counts[place]++;
        marked++;
        least = place + 1;
    }
    return marked;
}
