/* Dispatcher, what an earlier process left, account by account: its grants go back in the book of
 * the budget, its actions in the queue, and what it had in the air is lost. Accounts that are no
 * longer configured have nobody to go on for them: what they left ends. See restore.h. */
#include "gateway/restore.h"

#include "common/json.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>

#define ROWS_IN_A_WRITE 1000 /* the store bounds a write */

static void add_write(struct restoring *restoring)
{
    restoring->writes =
        xrealloc(restoring->writes, restoring->write_count + 1, sizeof(struct store_write *));
    restoring->writes[restoring->write_count++] = store_write_new();
    restoring->rows = 0;
}

struct store_write *restoring_write(struct restoring *restoring)
{
    if (restoring->write_count == 1 || restoring->rows == ROWS_IN_A_WRITE) {
        add_write(restoring);
    }
    restoring->rows++;
    return restoring->writes[restoring->write_count - 1];
}

struct waiting_write {
    struct event_base *base;
    enum err result;
};

static void on_stored(enum err result, void *arg)
{
    struct waiting_write *waiting = arg;

    waiting->result = result;
    (void)event_base_loopbreak(waiting->base);
}

/* Stores a write and waits for it: the dispatcher's loop does not run yet. */
static enum err store_now(struct dispatcher *dispatcher, struct store_write *write,
                          struct error *error)
{
    struct waiting_write waiting = {.base = dispatcher->base};

    if (store_submit(dispatcher->store, write, dispatcher->mailbox, on_stored, &waiting) != OK) {
        store_write_free(write);
        return error_set(error, ERR_FULL, "the store takes no writes");
    }
    (void)event_base_dispatch(dispatcher->base);
    if (waiting.result != OK) {
        return error_set(error, waiting.result, "the store refused what an earlier run left");
    }
    return OK;
}

static void log_restored(const struct restoring *restoring)
{
    if (restoring->queued > 0 || restoring->unknown > 0 || restoring->ended > 0) {
        log_info("restored", "s:s, s:I, s:I, s:I", "account", restoring->name, "queued",
                 (json_int_t)restoring->queued, "unknown", (json_int_t)restoring->unknown, "ended",
                 (json_int_t)restoring->ended);
    }
}

/* account is NULL for one that is no longer configured. */
static enum err restore_account(struct dispatcher *dispatcher, struct account *account,
                                const char *name, struct error *error)
{
    struct store *store = dispatcher->store;
    struct restoring restoring = {
        .dispatcher = dispatcher, .account = account, .name = name, .lost = json_object()};
    enum err err;

    add_write(&restoring);
    err = store_load_grants(store, name, restore_grant, &restoring, error);
    if (err == OK) {
        err = store_load_open_actions(store, name, restore_action, &restoring, error);
    }
    if (err == OK) {
        log_restored(&restoring);
    }
    for (size_t i = 0; i < restoring.write_count; i++) {
        if (err == OK) {
            err = store_now(dispatcher, restoring.writes[i], error);
        } else {
            store_write_free(restoring.writes[i]);
        }
    }
    free(restoring.writes);
    json_decref(restoring.lost);
    return err;
}

static bool on_account(const char *account, void *arg)
{
    (void)json_array_append_new(arg, json_string(account));
    return true;
}

static struct account *find_account(const struct dispatcher *dispatcher, const char *name)
{
    for (size_t i = 0; i < dispatcher->account_count; i++) {
        if (strcmp(dispatcher->accounts[i]->config->name, name) == 0) {
            return dispatcher->accounts[i];
        }
    }
    return NULL;
}

enum err dispatcher_restore(struct dispatcher *dispatcher, struct error *error)
{
    CLEANUP(cleanup_json) json_t *names = json_array();
    enum err err = store_load_accounts(dispatcher->store, on_account, names, error);

    for (size_t i = 0; err == OK && i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        err = restore_account(dispatcher, find_account(dispatcher, name), name, error);
    }
    return err;
}
