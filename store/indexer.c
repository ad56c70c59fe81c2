/* Indexer: a thread that reads the records of a segment once it is full, and has the writer store
 * what is in it. Nobody waits for it: what is not indexed yet is found by looking at each record.
 */
#include "store/store_priv.h"

#include <assert.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_MS 1000 /* how often to see whether a segment is full */

struct indexer {
    struct store *store;
    const struct store_backend *backend;
    struct store_db *db;
    char *node;
    struct event_base *base;
    struct mailbox *mailbox;
    struct event *timer;
    struct mail stop;
    struct segment *segment; /* being stored */
    int64_t next;            /* the next segment to make */
    pthread_t thread;
};

static void look(struct indexer *indexer);

static void look_later(struct indexer *indexer)
{
    static const struct timeval interval = {.tv_sec = LOOK_MS / 1000};

    (void)evtimer_add(indexer->timer, &interval);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    look(arg);
}

static void on_stored(enum err result, void *arg)
{
    struct indexer *indexer = arg;

    segment_free(indexer->segment);
    indexer->segment = NULL;
    if (result == OK) {
        indexer->next++;
        look(indexer);
    } else {
        look_later(indexer);
    }
}

struct building {
    struct segment_builder *builder;
    int64_t next; /* seq */
};

/* A record that is missing leaves its place empty. */
static bool on_record(const struct store_record *record, void *arg)
{
    static const struct store_record nothing = {.bytes = ""};
    struct building *building = arg;

    for (; building->next < record->seq; building->next++) {
        segment_builder_add(building->builder, &nothing);
    }
    segment_builder_add(building->builder, record);
    building->next++;
    return true;
}

/* Makes the next segment and gives it to the writer. */
static enum err make(struct indexer *indexer)
{
    int64_t from = indexer->next * STORE_SEGMENT_RECORDS;
    int64_t count = 0;
    struct building building = {segment_builder_new(indexer->next), from};
    struct store_write *write;
    enum err err = indexer->backend->log->records(
        indexer->db, indexer->node, from, from + STORE_SEGMENT_RECORDS, false,
        STORE_SEGMENT_RECORDS, on_record, &building, &count, NULL);

    indexer->segment = segment_builder_end(building.builder);
    if (err != OK) {
        segment_free(indexer->segment);
        indexer->segment = NULL;
        return err;
    }
    write = store_write_new();
    store_write_add_segment(write, indexer->segment);
    err = store_submit(indexer->store, write, indexer->mailbox, on_stored, indexer);
    if (err != OK) {
        store_write_free(write);
        segment_free(indexer->segment);
        indexer->segment = NULL;
    }
    return err;
}

static void look(struct indexer *indexer)
{
    /* As the writer counts them: a stray row far away is no reason to go there. */
    int64_t size = store_audit_size(indexer->store);

    if ((indexer->next + 1) * STORE_SEGMENT_RECORDS > size || make(indexer) != OK) {
        look_later(indexer);
    }
}

static void *run(void *arg)
{
    struct indexer *indexer = arg;

    (void)pthread_setname_np(pthread_self(), "store-index");
    look(indexer);
    (void)event_base_dispatch(indexer->base);
    return NULL;
}

static void free_indexer(struct indexer *indexer)
{
    mailbox_free(indexer->mailbox);
    event_free(indexer->timer);
    event_base_free(indexer->base);
    indexer->backend->close(indexer->db);
    segment_free(indexer->segment);
    free(indexer->node);
    free(indexer);
}

/* What comes first of what is there and not indexed; records that were pruned never will be. */
static enum err find_next(struct indexer *indexer, struct error *error)
{
    struct arena arena = {0};
    int64_t size = 0;
    int64_t last = -1;
    const char *note;
    enum err err = indexer->backend->log->last_segment(indexer->db, indexer->node, &last, error);

    if (err == OK) {
        err =
            indexer->backend->log->pruned(indexer->db, indexer->node, &arena, &size, &note, error);
        err = err == ERR_NOT_FOUND ? OK : err;
    }
    arena_done(&arena);
    size = size / STORE_SEGMENT_RECORDS;
    indexer->next = last + 1 > size ? last + 1 : size;
    return err;
}

enum err indexer_start(struct store *store, const struct store_backend *backend,
                       struct store_db *db_take, const char *node, struct indexer **ret_indexer,
                       struct error *error)
{
    struct indexer *indexer = xcalloc(1, sizeof(*indexer));
    enum err err;

    indexer->store = store;
    indexer->backend = backend;
    indexer->db = db_take;
    indexer->node = xstrdup(node);
    indexer->base = event_base_new();
    indexer->mailbox = mailbox_new(indexer->base, 1, NULL, indexer);
    indexer->timer = evtimer_new(indexer->base, on_timer, indexer);
    err = find_next(indexer, error);
    if (err == OK) {
        err = store_start_thread(&indexer->thread, run, indexer, error);
    }
    if (err != OK) {
        free_indexer(indexer);
        return err;
    }
    *ret_indexer = indexer;
    return OK;
}

static void on_stop(struct mail *mail, void *receiver)
{
    struct indexer *indexer = receiver;

    (void)mail;
    (void)event_base_loopbreak(indexer->base);
}

void indexer_stop(struct indexer *indexer)
{
    if (indexer != NULL) {
        indexer->stop.deliver = on_stop;
        mailbox_answer(indexer->mailbox, &indexer->stop);
        (void)pthread_join(indexer->thread, NULL);
    }
}

void indexer_free(struct indexer *indexer)
{
    if (indexer != NULL) {
        free_indexer(indexer);
    }
}
