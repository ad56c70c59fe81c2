/* Store: see store.h. The two threads, their mailboxes, health, and bounds. Knows no database:
 * that is the backend's. */
#include "store/store_priv.h"

#include <assert.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct worker {
    struct store_db *db;
    struct event_base *base;
    struct mailbox *mailbox;
    struct mail stop; /* the last mail */
    pthread_t thread;
    bool running;
};

struct store {
    const struct store_backend *backend;
    char *url;
    struct worker writer;
    struct worker reader;
    struct indexer *indexer;
    atomic_size_t waiting_bytes; /* of writes that are not committed yet */
    atomic_bool healthy;
    atomic_llong log_size;
    pthread_mutex_t lock;
    struct error problem; /* under lock: of the last commit that failed */

    /* The writer's. */
    struct event *probe;
    struct store_write *group[STORE_GROUP_MAX + 1]; /* and one of the store's own */
    size_t group_len;
    int64_t prune_at_ms; /* boot clock */
};

static const struct store_backend *const backends[] = {&store_backend_sqlite};

static enum err start(struct store *store, const char *node, struct error *error);
static void stop(struct worker *worker);
static void on_writes(struct mail *list, void *receiver);
static void on_reads(struct mail *list, void *receiver);
static void on_probe(evutil_socket_t fd, short what, void *arg);

/* ---- Opening ---- */

enum err store_open(const char *url, const char *node, struct store **ret_store,
                    struct error *error)
{
    struct store *store;
    const struct store_backend *backend = store_find_backend(url, error);
    enum err err;

    if (backend == NULL) {
        return ERR_INVALID;
    }
    store = xcalloc(1, sizeof(*store));
    store->backend = backend;
    store->url = xstrdup(url);
    (void)pthread_mutex_init(&store->lock, NULL);
    atomic_init(&store->healthy, true);
    err = start(store, node, error);
    if (err != OK) {
        store_close(store);
        return err;
    }
    *ret_store = store;
    return OK;
}

void store_stop(struct store *store)
{
    struct worker *workers[2];

    indexer_stop(store->indexer);
    workers[0] = &store->writer;
    workers[1] = &store->reader;
    for (size_t i = 0; i < ARRAY_LEN(workers); i++) {
        stop(workers[i]);
        mailbox_free(workers[i]->mailbox);
        workers[i]->mailbox = NULL; /* takes nothing any more */
    }
    if (store->probe != NULL) {
        event_free(store->probe);
    }
    for (size_t i = 0; i < ARRAY_LEN(workers); i++) {
        if (workers[i]->base != NULL) {
            event_base_free(workers[i]->base);
        }
    }
    indexer_free(store->indexer); /* takes its last answer */
    /* The reader first: the last connection to close folds the log into the database. */
    store->backend->close(store->reader.db);
    store->backend->close(store->writer.db);
}

void store_free(struct store *store)
{
    (void)pthread_mutex_destroy(&store->lock);
    free(store->url);
    free(store);
}

void store_close(struct store *store)
{
    if (store != NULL) {
        store_stop(store);
        store_free(store);
    }
}

bool store_healthy(const struct store *store)
{
    return atomic_load(&store->healthy);
}

void store_problem(struct store *store, struct error *ret_problem)
{
    (void)pthread_mutex_lock(&store->lock);
    *ret_problem = store->problem;
    (void)pthread_mutex_unlock(&store->lock);
}

int64_t store_audit_size(const struct store *store)
{
    return atomic_load(&store->log_size);
}

/* ---- Writing and reading: handing over ---- */

enum err store_submit(struct store *store, struct store_write *write, struct mailbox *reply_to,
                      store_write_cb on_done, void *arg)
{
    size_t bytes = write->arena.bytes + write->bytes;
    enum err err = ERR_FULL;

    assert(on_done == NULL || reply_to != NULL);
    write->reply_to = reply_to;
    write->on_done = on_done;
    write->arg = arg;
    if (atomic_fetch_add(&store->waiting_bytes, bytes) + bytes <= STORE_WRITE_BYTES_MAX &&
        store->writer.mailbox != NULL) {
        err = mailbox_post(store->writer.mailbox, &write->mail);
    }
    /* From here on the write may be gone. */
    if (err != OK) {
        atomic_fetch_sub(&store->waiting_bytes, bytes);
    }
    return err;
}

enum err store_post_read(struct store *store, struct mail *mail)
{
    return store->reader.mailbox != NULL ? mailbox_post(store->reader.mailbox, mail) : ERR_FULL;
}

/* ---- Blocking ---- */

enum err store_load_accounts(struct store *store, bool (*each)(const char *account, void *arg),
                             void *arg, struct error *error)
{
    struct store_db *db;
    enum err err = store->backend->open(store->url, NULL, &db, error);

    if (err == OK) {
        err = store->backend->load_accounts(db, each, arg, error);
        store->backend->close(db);
    }
    return err;
}

enum err store_load_open_actions(struct store *store, const char *account,
                                 bool (*each)(const struct store_action *action, void *arg),
                                 void *arg, struct error *error)
{
    struct store_db *db;
    enum err err = store->backend->open(store->url, NULL, &db, error);

    if (err == OK) {
        err = store->backend->load_open_actions(db, account, each, arg, error);
        store->backend->close(db);
    }
    return err;
}

enum err store_load_grants(struct store *store, const char *account,
                           bool (*each)(const struct store_grant *grant, void *arg), void *arg,
                           struct error *error)
{
    struct store_db *db;
    enum err err = store->backend->open(store->url, NULL, &db, error);

    if (err == OK) {
        err = store->backend->load_grants(db, account, each, arg, error);
        store->backend->close(db);
    }
    return err;
}

/* ---- Threads ---- */

/* NULL: the url is of none of them. */
const struct store_backend *store_find_backend(const char *url, struct error *error)
{
    for (size_t i = 0; i < ARRAY_LEN(backends); i++) {
        size_t len = strlen(backends[i]->scheme);
        if (strncmp(url, backends[i]->scheme, len) == 0 && url[len] == ':') {
            return backends[i];
        }
    }
    /* The url is not repeated: it may hold a password. */
    (void)error_set(error, ERR_INVALID, "the store's url does not begin with \"sqlite:\"");
    return NULL;
}

static void *run_worker(void *arg)
{
    struct worker *worker = arg;

    (void)event_base_dispatch(worker->base);
    return NULL;
}

/* Signals are the main thread's, but for those that a thread's own fault raises. */
enum err store_start_thread(pthread_t *ret_thread, void *(*run)(void *arg), void *arg,
                            struct error *error)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    sigset_t blocked;
    sigset_t before;
    int failed;

    (void)sigfillset(&blocked);
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        (void)sigdelset(&blocked, faults[i]);
    }
    (void)pthread_sigmask(SIG_SETMASK, &blocked, &before);
    failed = pthread_create(ret_thread, NULL, run, arg);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed == 0 ? OK
                       : error_set(error, ERR_UNAVAILABLE, "cannot start the store's thread: %s",
                                   strerror(failed));
}

static enum err start_worker(struct worker *worker, const char *name, struct error *error)
{
    enum err err = store_start_thread(&worker->thread, run_worker, worker, error);

    if (err == OK) {
        (void)pthread_setname_np(worker->thread, name);
        worker->running = true;
    }
    return err;
}

static void make_loop(struct worker *worker, size_t limit, mailbox_cb on_mail, struct store *store)
{
    worker->base = event_base_new();
    assert(worker->base != NULL);
    worker->mailbox = mailbox_new(worker->base, limit, on_mail, store);
}

static enum err start_indexer(struct store *store, const char *node, struct error *error)
{
    struct store_db *db;
    enum err err = store->backend->open(store->url, NULL, &db, error);

    return err == OK ? indexer_start(store, store->backend, db, node, &store->indexer, error) : err;
}

static enum err start(struct store *store, const char *node, struct error *error)
{
    enum err err = store->backend->open(store->url, node, &store->writer.db, error);

    if (err == OK) {
        err = store->backend->open(store->url, NULL, &store->reader.db, error);
    }
    if (err != OK) {
        return err;
    }
    atomic_store(&store->log_size, store->backend->log_size(store->writer.db));
    make_loop(&store->writer, STORE_WRITES_MAX, on_writes, store);
    make_loop(&store->reader, STORE_READS_MAX, on_reads, store);
    store->probe = evtimer_new(store->writer.base, on_probe, store);
    assert(store->probe != NULL);
    err = start_worker(&store->writer, "store", error);
    if (err == OK) {
        err = start_worker(&store->reader, "store-read", error);
    }
    return err == OK ? start_indexer(store, node, error) : err;
}

/* Mail is taken in order, so everything that was posted before is done first. */
static void stop(struct worker *worker)
{
    if (worker->running) {
        mailbox_answer(worker->mailbox, &worker->stop);
        (void)pthread_join(worker->thread, NULL);
        worker->running = false;
    }
}

/* ---- The writer's thread ---- */

static void deliver_written(struct mail *mail, void *receiver)
{
    struct store_write *write = (struct store_write *)mail;

    (void)receiver;
    write->on_done(write->result, write->arg);
    store_write_free(write);
}

static void answer_write(struct store *store, struct store_write *write)
{
    atomic_fetch_sub(&store->waiting_bytes, write->arena.bytes + write->bytes);
    if (write->on_done == NULL) {
        store_write_free(write);
        return;
    }
    write->mail.deliver = deliver_written;
    mailbox_answer(write->reply_to, &write->mail);
}

static void set_health(struct store *store, enum err err, const struct error *problem)
{
    static const struct timeval interval = {.tv_usec = STORE_PROBE_MS * 1000L};

    if (err == OK) {
        (void)evtimer_del(store->probe);
        atomic_store(&store->healthy, true);
        return;
    }
    (void)pthread_mutex_lock(&store->lock);
    store->problem = *problem;
    (void)pthread_mutex_unlock(&store->lock);
    atomic_store(&store->healthy, false);
    (void)evtimer_add(store->probe, &interval);
}

/* Once a minute a group also forgets expired keys, and while there are any every group does: small
 * steps, which yet keep up with the keys that are added. NULL: not now. */
static struct store_write *add_pruning(struct store *store)
{
    struct store_write *write = NULL;

    if (clock_boot_ms() >= store->prune_at_ms) {
        write = store_write_new();
        store_write_drop_expired(write, clock_wall_ms());
        store->group[store->group_len] = write;
    }
    return write;
}

static void commit_group(struct store *store)
{
    struct error problem = {0};
    struct store_write *pruning = add_pruning(store);
    size_t count = store->group_len + (pruning != NULL ? 1 : 0);
    enum err err = store->backend->commit(store->writer.db, store->group, count, &problem);

    set_health(store, err, &problem);
    if (err == OK) {
        atomic_store(&store->log_size, store->backend->log_size(store->writer.db));
    }
    if (pruning != NULL && pruning->result != OK) {
        store->prune_at_ms = clock_boot_ms() + STORE_PRUNE_MS;
    }
    store_write_free(pruning);
    for (size_t i = 0; i < store->group_len; i++) {
        answer_write(store, store->group[i]);
    }
    store->group_len = 0;
}

static void on_probe(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    commit_group(arg);
}

static void on_writes(struct mail *list, void *receiver)
{
    struct store *store = receiver;

    while (list != NULL) {
        struct mail *mail = list;
        list = mail->next;
        if (mail == &store->writer.stop) {
            (void)event_base_loopbreak(store->writer.base);
            continue;
        }
        store->group[store->group_len++] = (struct store_write *)mail;
        if (store->group_len == STORE_GROUP_MAX) {
            commit_group(store);
        }
    }
    if (store->group_len > 0) {
        commit_group(store);
    }
}

/* ---- The reader's thread ---- */

static void on_reads(struct mail *list, void *receiver)
{
    struct store *store = receiver;

    while (list != NULL) {
        struct mail *mail = list;
        list = mail->next;
        if (mail == &store->reader.stop) {
            (void)event_base_loopbreak(store->reader.base);
            continue;
        }
        store_read_run(mail, store->backend, store->reader.db);
    }
}
