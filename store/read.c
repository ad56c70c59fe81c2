/* Reads: building them on the sender's thread, doing them on the reader's, and answering them on
 * the sender's again. Knows no database. */
#include "store/store_priv.h"

#include <stdlib.h>

struct read_kind;

struct store_read {
    struct mail mail; /* takes it to the reader, and what was found back */
    const struct read_kind *kind;
    struct arena arena; /* of what is asked and of what is found */
    struct mailbox *reply_to;
    void *arg;
    enum err result;
    union {
        struct {
            const char *id;
            struct store_action action;
            store_action_cb on_done;
        } by_id;
        struct {
            struct store_idempotency idempotency;
            struct store_action action;
            store_idempotency_cb on_done;
        } by_key;
        struct {
            struct store_action_query query;
            struct store_page page;
            store_actions_cb on_done;
        } list;
    };
};

struct read_kind {
    enum err (*find)(struct store_read *read, const struct store_backend *backend,
                     struct store_db *db);
    void (*answer)(const struct store_read *read);
};

static struct store_read *read_new(const struct read_kind *kind, struct mailbox *reply_to,
                                   void *arg)
{
    struct store_read *read = xcalloc(1, sizeof(*read));

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

static enum err post(struct store *store, struct store_read *read)
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

static enum err find_by_id(struct store_read *read, const struct store_backend *backend,
                           struct store_db *db)
{
    return backend->read_action(db, read->by_id.id, &read->arena, &read->by_id.action, NULL);
}

static void answer_by_id(const struct store_read *read)
{
    read->by_id.on_done(read->result, read->result == OK ? &read->by_id.action : NULL, read->arg);
}

enum err store_read_action(struct store *store, const char *id, struct mailbox *reply_to,
                           store_action_cb on_done, void *arg)
{
    static const struct read_kind kind = {find_by_id, answer_by_id};
    struct store_read *read = read_new(&kind, reply_to, arg);

    read->by_id.id = arena_text(&read->arena, id);
    read->by_id.on_done = on_done;
    return post(store, read);
}

/* ---- An action by its idempotency key ---- */

static enum err find_by_key(struct store_read *read, const struct store_backend *backend,
                            struct store_db *db)
{
    return backend->read_idempotency(db, &read->by_key.idempotency, &read->arena,
                                     &read->by_key.action, NULL);
}

static void answer_by_key(const struct store_read *read)
{
    bool found = read->result == OK;

    read->by_key.on_done(read->result, found ? &read->by_key.idempotency : NULL,
                         found ? &read->by_key.action : NULL, read->arg);
}

enum err store_read_idempotency(struct store *store, const char *team, const char *key,
                                int64_t now_ms, struct mailbox *reply_to,
                                store_idempotency_cb on_done, void *arg)
{
    static const struct read_kind kind = {find_by_key, answer_by_key};
    struct store_read *read = read_new(&kind, reply_to, arg);

    read->by_key.idempotency = (struct store_idempotency){
        .team = arena_text(&read->arena, team),
        .key = arena_text(&read->arena, key),
        .now_ms = now_ms,
    };
    read->by_key.on_done = on_done;
    return post(store, read);
}

/* ---- A page of actions ---- */

static enum err find_list(struct store_read *read, const struct store_backend *backend,
                          struct store_db *db)
{
    return backend->list_actions(db, &read->list.query, &read->arena, &read->list.page, NULL);
}

static void answer_list(const struct store_read *read)
{
    const struct store_page *page = &read->list.page;

    read->list.on_done(read->result, page->actions, page->count, page->next, read->arg);
}

enum err store_list_actions(struct store *store, const struct store_action_query *query,
                            struct mailbox *reply_to, store_actions_cb on_done, void *arg)
{
    static const struct read_kind kind = {find_list, answer_list};
    struct store_read *read;

    if (query->limit < 1 || query->limit > STORE_LIST_MAX || query->before < 0) {
        return ERR_INVALID;
    }
    read = read_new(&kind, reply_to, arg);
    read->list.query = *query;
    read->list.query.team = arena_text(&read->arena, query->team);
    read->list.query.state = arena_text(&read->arena, query->state);
    read->list.on_done = on_done;
    return post(store, read);
}
