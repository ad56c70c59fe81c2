/* Reads: building them on the sender's thread, doing them on the reader's, and answering them on
 * the sender's again. Knows no database. */
#include "store/store_priv.h"

#include <stdlib.h>

struct store_read *store_read_new(const struct read_kind *kind, struct mailbox *reply_to, void *arg)
{
    struct store_read *read = xcalloc(1, kind->size);

    read->kind = kind;
    read->reply_to = reply_to;
    read->arg = arg;
    return read;
}

static void read_free(struct store_read *read)
{
    arena_done(&read->arena);
    free(read);
}

enum err store_read_post(struct store *store, struct store_read *read)
{
    enum err err = store_post_read(store, &read->mail);

    if (err != OK) {
        read_free(read);
    }
    return err;
}

static void deliver_read(struct mail *mail, void *receiver)
{
    struct store_read *read = (struct store_read *)mail;

    (void)receiver;
    read->kind->answer(read);
    read_free(read);
}

void store_read_run(struct mail *mail, const struct store_backend *backend, struct store_db *db)
{
    struct store_read *read = (struct store_read *)mail;

    read->result = read->kind->find(read, backend, db);
    mail->deliver = deliver_read;
    mailbox_answer(read->reply_to, mail);
}

/* ---- An action by its id ---- */

struct id_read {
    struct store_read read;
    const char *id;
    struct store_action action;
    store_action_cb on_done;
};

static enum err find_by_id(struct store_read *read, const struct store_backend *backend,
                           struct store_db *db)
{
    struct id_read *by_id = (struct id_read *)read;

    return backend->read_action(db, by_id->id, &read->arena, &by_id->action, NULL);
}

static void answer_by_id(const struct store_read *read)
{
    const struct id_read *by_id = (const struct id_read *)read;

    by_id->on_done(read->result, read->result == OK ? &by_id->action : NULL, read->arg);
}

enum err store_read_action(struct store *store, const char *id, struct mailbox *reply_to,
                           store_action_cb on_done, void *arg)
{
    static const struct read_kind kind = {sizeof(struct id_read), find_by_id, answer_by_id};
    struct store_read *read = store_read_new(&kind, reply_to, arg);
    struct id_read *by_id = (struct id_read *)read;

    by_id->id = arena_text(&read->arena, id);
    by_id->on_done = on_done;
    return store_read_post(store, read);
}

/* ---- An action by its idempotency key ---- */

struct key_read {
    struct store_read read;
    struct store_idempotency idempotency;
    struct store_action action;
    store_idempotency_cb on_done;
};

static enum err find_by_key(struct store_read *read, const struct store_backend *backend,
                            struct store_db *db)
{
    struct key_read *by_key = (struct key_read *)read;

    return backend->read_idempotency(db, &by_key->idempotency, &read->arena, &by_key->action, NULL);
}

static void answer_by_key(const struct store_read *read)
{
    const struct key_read *by_key = (const struct key_read *)read;
    bool found = read->result == OK;

    by_key->on_done(read->result, found ? &by_key->idempotency : NULL,
                    found ? &by_key->action : NULL, read->arg);
}

enum err store_read_idempotency(struct store *store, const char *team, const char *key,
                                int64_t now_ms, struct mailbox *reply_to,
                                store_idempotency_cb on_done, void *arg)
{
    static const struct read_kind kind = {sizeof(struct key_read), find_by_key, answer_by_key};
    struct store_read *read = store_read_new(&kind, reply_to, arg);
    struct key_read *by_key = (struct key_read *)read;

    by_key->idempotency = (struct store_idempotency){
        .team = arena_text(&read->arena, team),
        .key = arena_text(&read->arena, key),
        .now_ms = now_ms,
    };
    by_key->on_done = on_done;
    return store_read_post(store, read);
}

/* ---- A page of actions ---- */

struct list_read {
    struct store_read read;
    struct store_action_query query;
    struct store_page page;
    store_actions_cb on_done;
};

static enum err find_list(struct store_read *read, const struct store_backend *backend,
                          struct store_db *db)
{
    struct list_read *list = (struct list_read *)read;

    return backend->list_actions(db, &list->query, &read->arena, &list->page, NULL);
}

static void answer_list(const struct store_read *read)
{
    const struct list_read *list = (const struct list_read *)read;

    list->on_done(read->result, list->page.actions, list->page.count, list->page.next, read->arg);
}

enum err store_list_actions(struct store *store, const struct store_action_query *query,
                            struct mailbox *reply_to, store_actions_cb on_done, void *arg)
{
    static const struct read_kind kind = {sizeof(struct list_read), find_list, answer_list};
    struct store_read *read;
    struct list_read *list;

    if (query->limit < 1 || query->limit > STORE_LIST_MAX || query->before < 0) {
        return ERR_INVALID;
    }
    read = store_read_new(&kind, reply_to, arg);
    list = (struct list_read *)read;
    list->query = *query;
    list->query.team = arena_text(&read->arena, query->team);
    list->query.state = arena_text(&read->arena, query->state);
    list->on_done = on_done;
    return store_read_post(store, read);
}
