/* Find: pages of audit records that fit a query, by the index where there is one and by looking at
 * each record where there is none yet. What one page looks at is bounded. Any thread that has the
 * connection; knows no database. */
#include "store/store_priv.h"

#include "common/mac.h"
#include "common/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_KEYS     KEY_KINDS
#define LOOK_MAX     30000             /* records that one page looks at */
#define SEGMENT_COST 8                 /* of looking into a segment, in records */
#define STRETCH      1024              /* records read at a time */
#define FOUND_BYTES  ((size_t)8 << 20) /* of the records found, about; then the page ends */

struct finder {
    struct store_record_query query;
    struct arena arena;
    struct query_key keys[MAX_KEYS];
    size_t key_count;
    const char *after; /* from the cursor: node, and the seq to go on with; NULL: begin */
    int64_t at;
    /* Of a run. */
    const struct log_reader *log;
    struct store_db *db;
    struct error *error;
    void (*each)(const struct store_record *record, void *arg);
    void *arg;
    const char *node;
    int64_t last_segment; /* indexed; -1: none */
    int64_t looked;
    int found;
    size_t found_bytes;
    int64_t last; /* everything up to this seq, in the order asked, was looked at */
};

/* ---- The query ---- */

static void add_key(struct finder *finder, enum key_kind kind, const char *text)
{
    char mac[MAC_TEXT_SIZE];

    if (text != NULL) {
        bool is_mac = kind == KEY_DEVICE && mac_canonical(text, mac) == OK;
        finder->keys[finder->key_count++] = (struct query_key){
            .kind = kind, .text = arena_text(&finder->arena, is_mac ? mac : text)};
    }
}

/* A cursor is the seq to go on with, a colon, and the node. */
static enum err read_cursor(struct finder *finder, const char *cursor)
{
    char *end = NULL;

    if (cursor == NULL) {
        return OK;
    }
    if (cursor[0] < '0' || cursor[0] > '9' || strlen(cursor) >= STORE_CURSOR_SIZE) {
        return ERR_INVALID;
    }
    finder->at = strtoll(cursor, &end, 10);
    if (*end != ':' || finder->at == INT64_MAX) {
        return ERR_INVALID;
    }
    finder->after = arena_text(&finder->arena, end + 1);
    return OK;
}

enum err finder_new(const struct store_record_query *query, struct finder **ret_finder)
{
    struct finder *finder;

    if (query->limit < 1 || query->limit > STORE_LIST_MAX) {
        return ERR_INVALID;
    }
    finder = xcalloc(1, sizeof(*finder));
    if (read_cursor(finder, query->cursor) != OK) {
        finder_free(finder);
        return ERR_INVALID;
    }
    finder->query = *query;
    finder->query.node = arena_text(&finder->arena, query->node);
    finder->query.to_ms = query->to_ms != 0 ? query->to_ms : INT64_MAX;
    add_key(finder, KEY_DEVICE, query->device);
    add_key(finder, KEY_ACTION_ID, query->action_id);
    add_key(finder, KEY_CALL_ID, query->call_id);
    add_key(finder, KEY_TEAM, query->team);
    add_key(finder, KEY_CLIENT, query->client);
    add_key(finder, KEY_ACTION, query->action);
    add_key(finder, KEY_EVENT, query->event);
    *ret_finder = finder;
    return OK;
}

void finder_free(struct finder *finder)
{
    if (finder != NULL) {
        arena_done(&finder->arena);
        free(finder);
    }
}

/* ---- Whether a record fits ---- */

static bool is_device(struct record_piece piece, const char *text)
{
    char spelled[64];
    char mac[MAC_TEXT_SIZE];

    if (record_equals(piece, text)) {
        return true;
    }
    if (strlen(text) != MAC_TEXT_SIZE - 1 || piece.len >= sizeof(spelled)) {
        return false;
    }
    memcpy(spelled, piece.at, piece.len);
    spelled[piece.len] = '\0';
    return mac_canonical(spelled, mac) == OK && strcmp(mac, text) == 0;
}

static bool has_device(const struct record *record, const char *text)
{
    struct record_piece item;
    const char *at = NULL;

    while (record_next_string(record->devices, &at, &item)) {
        if (is_device(item, text)) {
            return true;
        }
    }
    at = NULL;
    while (record_next_member(record->results, "id", &at, &item)) {
        if (is_device(item, text)) {
            return true;
        }
    }
    return false;
}

static bool has_action_id(const struct record *record, const char *text)
{
    struct record_piece item;
    const char *at = NULL;

    if (record->action_id.at != NULL && record_equals(record->action_id, text)) {
        return true;
    }
    while (record_next_string(record_member(record->detail, "actions"), &at, &item)) {
        if (record_equals(item, text)) {
            return true;
        }
    }
    return false;
}

static bool has_key(const struct record *record, const struct query_key *key)
{
    struct record_piece piece = {0};

    switch (key->kind) {
    case KEY_DEVICE:
        return has_device(record, key->text);
    case KEY_ACTION_ID:
        return has_action_id(record, key->text);
    case KEY_CALL_ID:
        piece = record->call_id;
        break;
    case KEY_TEAM:
        piece = record->team;
        break;
    case KEY_CLIENT:
        piece = record->client;
        break;
    case KEY_ACTION:
        piece = record->action;
        break;
    case KEY_EVENT:
    case KEY_KINDS:
        piece = record->event;
        break;
    }
    return piece.at != NULL && record_equals(piece, key->text);
}

static bool is_timed(const struct finder *finder)
{
    return finder->query.from_ms != 0 || finder->query.to_ms != INT64_MAX;
}

static bool in_time(const struct finder *finder, struct record_piece time)
{
    char text[CLOCK_TEXT_SIZE];
    int64_t ms;

    if (time.len >= sizeof(text)) {
        return false;
    }
    memcpy(text, time.at, time.len);
    text[time.len] = '\0';
    return clock_parse(text, &ms) == OK && ms >= finder->query.from_ms && ms < finder->query.to_ms;
}

/* A record that cannot be read is found when nothing is asked of it: somebody should see it. */
static bool fits(const struct finder *finder, const struct store_record *stored)
{
    struct record record;
    bool all =
        finder->key_count == 0 && finder->query.from_ms == 0 && finder->query.to_ms == INT64_MAX;

    if (all || record_read(stored->bytes, stored->len, &record) != OK) {
        return all;
    }
    for (size_t i = 0; i < finder->key_count; i++) {
        if (!has_key(&record, &finder->keys[i])) {
            return false;
        }
    }
    return !is_timed(finder) || in_time(finder, record.time);
}

static bool is_full(const struct finder *finder)
{
    return finder->found >= finder->query.limit || finder->found_bytes >= FOUND_BYTES ||
           finder->looked >= LOOK_MAX;
}

static bool on_record(const struct store_record *record, void *arg)
{
    struct finder *finder = arg;

    finder->looked++;
    finder->last = record->seq;
    if (fits(finder, record)) {
        finder->found++;
        finder->found_bytes += record->len;
        finder->each(record, finder->arg);
    }
    return !is_full(finder);
}

/* ---- Going through a node ---- */

/* Every record from <= seq < to. */
static enum err look_through(struct finder *finder, int64_t from, int64_t to)
{
    enum err err = OK;

    while (err == OK && from < to && !is_full(finder)) {
        int64_t count = 0;
        int64_t last = finder->last;
        err = finder->log->records(finder->db, finder->node, from, to, !finder->query.oldest_first,
                                   STRETCH, on_record, finder, &count, finder->error);
        if (count < STRETCH || finder->last == last) {
            break;
        }
        if (finder->query.oldest_first) {
            from = finder->last + 1;
        } else {
            to = finder->last;
        }
    }
    return err;
}

/* Marks the places of a segment that have all keys; *ret_none: there are none. */
static enum err mark_places(struct finder *finder, int64_t segment, uint8_t *counts, bool *ret_none)
{
    struct arena arena = {0};
    enum err err = OK;

    *ret_none = false;
    for (size_t i = 0; err == OK && !*ret_none && i < finder->key_count; i++) {
        const struct query_key *key = &finder->keys[i];
        const uint8_t *data = NULL;
        size_t len = 0;
        err = finder->log->keys(finder->db, finder->node, segment,
                                segment_bucket(key->kind, key->text), &arena, &data, &len,
                                finder->error);
        *ret_none = err == OK && segment_mark(data, len, key->kind, key->text, counts) == 0;
    }
    arena_done(&arena);
    return err;
}

static enum err look_at_places(struct finder *finder, int64_t start, int64_t from, int64_t to,
                               const uint8_t *counts)
{
    bool back = !finder->query.oldest_first;
    enum err err = OK;

    for (int64_t i = 0; err == OK && i < STORE_SEGMENT_RECORDS && !is_full(finder); i++) {
        int64_t place = back ? STORE_SEGMENT_RECORDS - 1 - i : i;
        int64_t seq = start + place;
        int64_t count;
        if (counts[place] >= finder->key_count && seq >= from && seq < to) {
            err = finder->log->records(finder->db, finder->node, seq, seq + 1, false, 1, on_record,
                                       finder, &count, finder->error);
        }
    }
    return err;
}

/* Whether nothing of a segment is of the time that is asked for. */
static enum err is_out_of_time(struct finder *finder, int64_t segment, bool *ret_out)
{
    int64_t first_ms = INT64_MIN;
    int64_t last_ms = INT64_MAX;
    enum err err =
        finder->log->segment(finder->db, finder->node, segment, &first_ms, &last_ms, finder->error);

    *ret_out = err == OK && (last_ms < finder->query.from_ms || first_ms >= finder->query.to_ms);
    return err == ERR_NOT_FOUND ? OK : err;
}

/* The part from <= seq < to of a segment that is indexed. */
static enum err look_into_index(struct finder *finder, int64_t segment, int64_t from, int64_t to)
{
    uint8_t counts[STORE_SEGMENT_RECORDS] = {0};
    bool none = false;
    enum err err = OK;

    finder->looked++;
    if (is_timed(finder)) {
        err = is_out_of_time(finder, segment, &none);
    }
    if (err == OK && !none && finder->key_count == 0) {
        return look_through(finder, from, to);
    }
    if (err == OK && !none) {
        finder->looked += SEGMENT_COST;
        err = mark_places(finder, segment, counts, &none);
    }
    if (err == OK && !none) {
        err = look_at_places(finder, segment * STORE_SEGMENT_RECORDS, from, to, counts);
    }
    if (!is_full(finder)) { /* all of it is done */
        finder->last = finder->query.oldest_first ? to - 1 : from;
    }
    return err;
}

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* The segments of the index that have to do with from <= seq < to. */
static enum err look_at_index(struct finder *finder, int64_t from, int64_t to)
{
    int64_t first = from / STORE_SEGMENT_RECORDS;
    int64_t last = (to - 1) / STORE_SEGMENT_RECORDS;
    enum err err = OK;

    for (int64_t i = 0; err == OK && i <= last - first && !is_full(finder); i++) {
        int64_t segment = finder->query.oldest_first ? first + i : last - i;
        int64_t start = segment * STORE_SEGMENT_RECORDS;
        err = look_into_index(finder, segment, max64(from, start),
                              min64(to, start + STORE_SEGMENT_RECORDS));
    }
    return err;
}

/* The node's records from <= seq < to: those of the index segment by segment, the others at once,
 * for nobody knows how far apart they are. */
static enum err look_at_node(struct finder *finder, int64_t from, int64_t to)
{
    int64_t indexed = min64((to - 1) / STORE_SEGMENT_RECORDS, finder->last_segment) + 1;
    int64_t middle = max64(from, min64(to, indexed * STORE_SEGMENT_RECORDS));
    enum err err = OK;

    if (!finder->query.oldest_first) {
        err = look_through(finder, middle, to);
    }
    if (err == OK && from < middle && !is_full(finder)) {
        err = look_at_index(finder, from, middle);
    }
    if (err == OK && finder->query.oldest_first) {
        err = look_through(finder, middle, to);
    }
    return err;
}

/* The node to go on with, in the arena. ERR_NOT_FOUND: all were looked at. */
static enum err next_node(struct finder *finder)
{
    const char *only = finder->query.node;

    if (finder->node == NULL && finder->after != NULL) {
        finder->node = finder->after;
        return only != NULL && strcmp(only, finder->node) != 0 ? ERR_NOT_FOUND : OK;
    }
    if (only != NULL) {
        bool first = finder->node == NULL;
        finder->node = only;
        return first ? OK : ERR_NOT_FOUND;
    }
    return finder->log->next_node(finder->db, finder->node, &finder->arena, &finder->node,
                                  finder->error);
}

/* The range of the node that is still to be looked at. */
static enum err range_of(struct finder *finder, int64_t *ret_from, int64_t *ret_to)
{
    int64_t size = 0;
    const char *note;
    enum err err =
        finder->log->last_segment(finder->db, finder->node, &finder->last_segment, finder->error);

    if (err == OK) { /* after that: a segment may become full meanwhile */
        err = finder->log->end(finder->db, finder->node, ret_to, finder->error);
    }
    if (err == OK) {
        err = finder->log->pruned(finder->db, finder->node, &finder->arena, &size, &note,
                                  finder->error);
        err = err == ERR_NOT_FOUND ? OK : err;
    }
    *ret_from = size > 0 ? size : 0;
    *ret_to = min64(*ret_to, INT64_MAX - STORE_SEGMENT_RECORDS); /* rows beyond are strays */
    if (finder->after != NULL && strcmp(finder->after, finder->node) == 0) {
        if (finder->query.oldest_first) {
            *ret_from = max64(*ret_from, finder->at);
        } else {
            *ret_to = min64(*ret_to, finder->at);
        }
    }
    return err;
}

enum err finder_run(struct finder *finder, const struct log_reader *log, struct store_db *db,
                    void (*each)(const struct store_record *record, void *arg), void *arg,
                    char ret_next[STORE_CURSOR_SIZE], struct error *error)
{
    enum err err;

    finder->log = log;
    finder->db = db;
    finder->error = error;
    finder->each = each;
    finder->arg = arg;
    ret_next[0] = '\0';
    while ((err = next_node(finder)) == OK) {
        int64_t from = 0;
        int64_t to = 0;
        err = range_of(finder, &from, &to);
        finder->last = finder->query.oldest_first ? from - 1 : to;
        if (err == OK && from < to) {
            err = look_at_node(finder, from, to);
        }
        if (err != OK || is_full(finder)) {
            break;
        }
    }
    if (err == OK) { /* stopped in the middle */
        int64_t at = finder->query.oldest_first ? finder->last + 1 : finder->last;
        (void)snprintf(ret_next, STORE_CURSOR_SIZE, "%lld:%s", (long long)at, finder->node);
    }
    return err == ERR_NOT_FOUND ? OK : err;
}
