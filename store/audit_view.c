/* The audit log, read by commands and streams: a connection of their own, blocking. Records are
 * read some at a time into memory, so that a slow reader holds no transaction open. See audit.h. */
#include "store/store_priv.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_ROWS  1024
#define PAGE_BYTES (4U << 20)

struct store_audit {
    const struct store_backend *backend;
    struct store_db *db;
};

enum err store_audit_open(const char *url, struct store_audit **ret_audit, struct error *error)
{
    const struct store_backend *backend = store_find_backend(url, error);
    struct store_db *db;
    enum err err;

    if (backend == NULL) {
        return ERR_INVALID;
    }
    err = backend->open(url, NULL, &db, error);
    if (err == OK) {
        *ret_audit = xcalloc(1, sizeof(**ret_audit));
        (*ret_audit)->backend = backend;
        (*ret_audit)->db = db;
    }
    return err;
}

void store_audit_close(struct store_audit *audit)
{
    if (audit != NULL) {
        audit->backend->close(audit->db);
        free(audit);
    }
}

enum err store_audit_each_node(struct store_audit *audit, bool (*each)(const char *node, void *arg),
                               void *arg, struct error *error)
{
    struct arena arena = {0};
    const char *node = NULL;
    enum err err;

    while ((err = audit->backend->log->next_node(audit->db, node, &arena, &node, error)) == OK &&
           each(node, arg)) {
    }
    arena_done(&arena);
    return err == ERR_NOT_FOUND ? OK : err;
}

/* ---- Records ---- */

struct page {
    struct arena arena;
    struct store_record records[PAGE_ROWS];
    size_t count;
};

static bool on_record(const struct store_record *record, void *arg)
{
    struct page *page = arg;
    struct store_record *copy = &page->records[page->count++];

    *copy = *record;
    copy->bytes = arena_copy(&page->arena, record->bytes, record->len);
    copy->leaf = (const uint8_t *)arena_copy(&page->arena, record->leaf, record->leaf_len);
    return page->arena.bytes < PAGE_BYTES;
}

enum err store_audit_each_record(struct store_audit *audit, const char *node, int64_t from,
                                 int64_t to,
                                 bool (*each)(const struct store_record *record, void *arg),
                                 void *arg, struct error *error)
{
    struct page *page = xcalloc(1, sizeof(*page));
    bool more = true;
    enum err err = OK;

    while (more && from < to) {
        int64_t count = 0;
        page->count = 0;
        err = audit->backend->log->records(audit->db, node, from, to, false, PAGE_ROWS, on_record,
                                           page, &count, error);
        more = err == OK && page->count > 0;
        for (size_t i = 0; more && i < page->count; i++) {
            more = each(&page->records[i], arg);
        }
        if (more) {
            int64_t last = page->records[page->count - 1].seq;
            from = last < INT64_MAX ? last + 1 : last;
            more = last < INT64_MAX;
        }
        arena_done(&page->arena);
    }
    free(page);
    return err;
}

enum err store_audit_end(struct store_audit *audit, const char *node, int64_t *ret_end,
                         struct error *error)
{
    return audit->backend->log->end(audit->db, node, ret_end, error);
}

/* ---- Hashes and checkpoints ---- */

struct hash_page {
    struct {
        int64_t level;
        int64_t number;
        uint8_t hash[STORE_HASH_BYTES];
        size_t len;
    } rows[PAGE_ROWS];
    size_t count;
};

static bool on_hash(int64_t level, int64_t number, const uint8_t *hash, size_t len, void *arg)
{
    struct hash_page *page = arg;

    page->rows[page->count].level = level;
    page->rows[page->count].number = number;
    page->rows[page->count].len = len;
    memcpy(page->rows[page->count].hash, hash, len < STORE_HASH_BYTES ? len : STORE_HASH_BYTES);
    page->count++;
    return true;
}

enum err store_audit_each_hash(struct store_audit *audit, const char *node,
                               bool (*each)(int64_t level, int64_t number, const uint8_t *hash,
                                            size_t len, void *arg),
                               void *arg, struct error *error)
{
    struct hash_page *page = xcalloc(1, sizeof(*page));
    int64_t level = INT64_MIN;
    int64_t number = INT64_MIN;
    bool more = true;
    enum err err = OK;

    while (more) {
        page->count = 0;
        err = audit->backend->log->hashes(audit->db, node, level, number, PAGE_ROWS, on_hash, page,
                                          error);
        more = err == OK && page->count > 0;
        for (size_t i = 0; more && i < page->count; i++) {
            level = page->rows[i].level;
            number = page->rows[i].number;
            more = each(level, number, page->rows[i].hash, page->rows[i].len, arg);
        }
        more = more && page->count == PAGE_ROWS && number < INT64_MAX;
        number += more ? 1 : 0;
    }
    free(page);
    return err;
}

struct checkpoint_page {
    struct arena arena;
    struct {
        int64_t size;
        const char *note;
        size_t len;
    } rows[PAGE_ROWS];
    size_t count;
};

static bool on_checkpoint(int64_t size, const char *note, size_t len, void *arg)
{
    struct checkpoint_page *page = arg;

    page->rows[page->count].size = size;
    page->rows[page->count].note = arena_copy(&page->arena, note, len);
    page->rows[page->count].len = len;
    page->count++;
    return page->arena.bytes < PAGE_BYTES;
}

enum err store_audit_each_checkpoint(struct store_audit *audit, const char *node,
                                     bool (*each)(int64_t size, const char *note, size_t len,
                                                  void *arg),
                                     void *arg, struct error *error)
{
    struct checkpoint_page *page = xcalloc(1, sizeof(*page));
    int64_t after = INT64_MIN;
    bool more = true;
    enum err err = OK;

    while (more) {
        page->count = 0;
        err = audit->backend->log->checkpoints(audit->db, node, after, PAGE_ROWS, on_checkpoint,
                                               page, error);
        more = err == OK && page->count > 0;
        for (size_t i = 0; more && i < page->count; i++) {
            after = page->rows[i].size;
            more = each(after, page->rows[i].note, page->rows[i].len, arg);
        }
        arena_done(&page->arena);
    }
    free(page);
    return err;
}

enum err store_audit_pruned(struct store_audit *audit, const char *node, int64_t *ret_size,
                            char **ret_note, struct error *error)
{
    struct arena arena = {0};
    const char *note = NULL;
    int64_t size = 0;
    enum err err = audit->backend->log->pruned(audit->db, node, &arena, &size, &note, error);

    if (err == OK || err == ERR_NOT_FOUND) {
        *ret_size = size;
        *ret_note = xstrdup(note);
        err = OK;
    }
    arena_done(&arena);
    return err;
}

/* ---- Finding, streams ---- */

struct found {
    struct arena arena;
    struct store_record *records;
    size_t count;
};

static void on_found(const struct store_record *record, void *arg)
{
    struct found *found = arg;
    struct store_record *copy = &found->records[found->count++];

    *copy = *record;
    copy->node = arena_text(&found->arena, record->node);
    copy->bytes = arena_copy(&found->arena, record->bytes, record->len);
    copy->leaf = (const uint8_t *)arena_copy(&found->arena, record->leaf, record->leaf_len);
}

enum err store_audit_find(struct store_audit *audit, const struct store_record_query *query,
                          bool (*each)(const struct store_record *record, void *arg), void *arg,
                          char ret_next[STORE_CURSOR_SIZE], struct error *error)
{
    struct found found = {0};
    struct finder *finder;
    bool more = true;
    enum err err = finder_new(query, &finder);

    if (err != OK) {
        return error_set(error, err, "the limit or the cursor is none");
    }
    found.records = xcalloc((size_t)query->limit, sizeof(*found.records));
    err = finder_run(finder, audit->backend->log, audit->db, on_found, &found, ret_next, error);
    for (size_t i = 0; err == OK && more && i < found.count; i++) {
        more = each(&found.records[i], arg);
    }
    finder_free(finder);
    arena_done(&found.arena);
    free(found.records);
    return err;
}

enum err store_audit_stream(struct store_audit *audit, const char *name, const char *node,
                            int64_t *ret_seq, struct error *error)
{
    enum err err = audit->backend->log->stream(audit->db, name, node, ret_seq, error);

    if (err == ERR_NOT_FOUND) {
        *ret_seq = 0;
        return OK;
    }
    return err;
}

/* ---- All of it ---- */

struct all {
    bool (*each)(const char *node, int64_t seq, const char *record, size_t len, void *arg);
    void *arg;
    struct store_audit *audit;
    struct error *error;
    bool more;
    enum err err;
};

static bool on_any_record(const struct store_record *record, void *arg)
{
    struct all *all = arg;

    all->more = all->each(record->node, record->seq, record->bytes, record->len, all->arg);
    return all->more;
}

static bool on_node(const char *node, void *arg)
{
    struct all *all = arg;

    all->err = store_audit_each_record(all->audit, node, INT64_MIN, INT64_MAX, on_any_record, all,
                                       all->error);
    return all->err == OK && all->more;
}

enum err store_each_record(const char *url,
                           bool (*each)(const char *node, int64_t seq, const char *record,
                                        size_t len, void *arg),
                           void *arg, struct error *error)
{
    struct all all = {.each = each, .arg = arg, .error = error, .more = true};
    enum err err = store_audit_open(url, &all.audit, error);

    if (err == OK) {
        err = store_audit_each_node(all.audit, on_node, &all, error);
        store_audit_close(all.audit);
    }
    return err == OK ? all.err : err;
}
