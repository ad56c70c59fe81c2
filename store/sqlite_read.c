/* SQLite: reading, on the reader's thread or the caller's. Each statement is a transaction of
 * its own, which sees every commit before it. */
#include "store/sqlite_priv.h"

#include <stdlib.h>

#define PAGE_BYTES (1U << 20)

static const char *text_at(sqlite3_stmt *statement, int column)
{
    return (const char *)sqlite3_column_text(statement, column);
}

/* The strings are the statement's, until its next step. */
static struct store_action action_at(sqlite3_stmt *statement)
{
    return (struct store_action){
        .id = text_at(statement, ACTION_ID),
        .account = text_at(statement, ACTION_ACCOUNT),
        .team = text_at(statement, ACTION_TEAM),
        .client = text_at(statement, ACTION_CLIENT),
        .key_id = text_at(statement, ACTION_KEY_ID),
        .request_id = text_at(statement, ACTION_REQUEST_ID),
        .state = text_at(statement, ACTION_STATE),
        .submitted_ms = sqlite3_column_int64(statement, ACTION_SUBMITTED),
        .finished_ms = sqlite3_column_int64(statement, ACTION_FINISHED),
        .priority = sqlite3_column_int64(statement, ACTION_PRIORITY),
        .deadline_ms = sqlite3_column_int64(statement, ACTION_DEADLINE),
        .reason = text_at(statement, ACTION_REASON),
        .rule = text_at(statement, ACTION_RULE),
        .request = text_at(statement, ACTION_REQUEST),
        .results = text_at(statement, ACTION_RESULTS),
        .problem = text_at(statement, ACTION_PROBLEM),
        .call_id = text_at(statement, ACTION_CALL_ID),
        .progress = text_at(statement, ACTION_PROGRESS),
    };
}

static struct store_action copy_action(struct arena *arena, const struct store_action *action)
{
    struct store_action copy = *action;
    const char **texts[] = {&copy.id,      &copy.account, &copy.team,       &copy.client,
                            &copy.key_id,  &copy.state,   &copy.request_id, &copy.reason,
                            &copy.rule,    &copy.request, &copy.results,    &copy.problem,
                            &copy.call_id, &copy.progress};

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        *texts[i] = arena_text(arena, *texts[i]);
    }
    return copy;
}

enum err sqlite_read_action(struct store_db *db, const char *id, struct arena *arena,
                            struct store_action *ret_action, struct error *error)
{
    sqlite3_stmt *statement = db->statements[SQL_READ_ACTION];
    enum err err = OK;
    int rc;

    sqlite_bind_text(statement, 1, id);
    rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW) {
        struct store_action action = action_at(statement);
        *ret_action = copy_action(arena, &action);
    } else {
        err = rc == SQLITE_DONE ? error_set(error, ERR_NOT_FOUND, "no action has this id")
                                : sqlite_fail(db, "read it", error);
    }
    (void)sqlite3_reset(statement);
    return err;
}

enum err sqlite_read_idempotency(struct store_db *db, struct store_idempotency *idempotency,
                                 struct arena *arena, struct store_action *ret_action,
                                 struct error *error)
{
    sqlite3_stmt *statement = db->statements[SQL_READ_IDEMPOTENCY];
    enum err err = OK;
    int rc;

    sqlite_bind_text(statement, 1, idempotency->team);
    sqlite_bind_text(statement, 2, idempotency->key);
    sqlite_bind_int(statement, 3, idempotency->now_ms);
    rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW) {
        struct store_action action = action_at(statement);
        *ret_action = copy_action(arena, &action);
        idempotency->action_id = ret_action->id;
        idempotency->body_sha256 = arena_text(arena, text_at(statement, IDEMPOTENCY_BODY));
        idempotency->expires_ms = sqlite3_column_int64(statement, IDEMPOTENCY_EXPIRES);
    } else {
        err = rc == SQLITE_DONE ? error_set(error, ERR_NOT_FOUND, "the key is free")
                                : sqlite_fail(db, "read it", error);
    }
    (void)sqlite3_reset(statement);
    return err;
}

/* Its limit is one more than asked, to see whether there is a next page. */
static sqlite3_stmt *bind_query(struct store_db *db, const struct store_action_query *query)
{
    static const enum sqlite_sql by_team_state[2][2] = {
        {SQL_LIST_ACTIONS, SQL_LIST_ACTIONS_IN_STATE},
        {SQL_LIST_ACTIONS_OF_TEAM, SQL_LIST_ACTIONS_OF_TEAM_IN_STATE},
    };
    sqlite3_stmt *statement =
        db->statements[by_team_state[query->team != NULL][query->state != NULL]];

    sqlite_bind_int(statement, 1, query->before != 0 ? query->before : INT64_MAX);
    sqlite_bind_int(statement, 2, query->limit + 1);
    if (query->team != NULL) {
        sqlite_bind_text(statement, 3, query->team);
    }
    if (query->state != NULL) {
        sqlite_bind_text(statement, 4, query->state);
    }
    return statement;
}

enum err sqlite_list_actions(struct store_db *db, const struct store_action_query *query,
                             struct arena *arena, struct store_page *ret_page, struct error *error)
{
    sqlite3_stmt *statement = bind_query(db, query);
    size_t limit = (size_t)query->limit;
    struct store_page page = {.actions = arena_alloc(arena, limit * sizeof(*page.actions))};
    size_t full = arena->bytes + PAGE_BYTES;
    int64_t last = 0;
    enum err err = OK;
    int rc = SQLITE_ROW;

    while (page.next == 0 && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
        if (page.count == limit || arena->bytes >= full) {
            page.next = last;
        } else {
            struct store_action action = action_at(statement);
            page.actions[page.count++] = copy_action(arena, &action);
            last = sqlite3_column_int64(statement, LIST_NUMBER);
        }
    }
    if (rc == SQLITE_ROW || rc == SQLITE_DONE) {
        *ret_page = page;
    } else {
        err = sqlite_fail(db, "read it", error);
    }
    (void)sqlite3_reset(statement);
    return err;
}

enum err sqlite_load_accounts(struct store_db *db, bool (*each)(const char *account, void *arg),
                              void *arg, struct error *error)
{
    sqlite3_stmt *statement = db->statements[SQL_LOAD_ACCOUNTS];
    bool more = true;
    enum err err = OK;
    int rc = SQLITE_DONE;

    while (more && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
        more = each(text_at(statement, 0), arg);
    }
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
        err = sqlite_fail(db, "read it", error);
    }
    (void)sqlite3_reset(statement);
    return err;
}

enum err sqlite_load_open_actions(struct store_db *db, const char *account,
                                  bool (*each)(const struct store_action *action, void *arg),
                                  void *arg, struct error *error)
{
    sqlite3_stmt *statement = db->statements[SQL_LOAD_OPEN_ACTIONS];
    bool more = true;
    enum err err = OK;
    int rc = SQLITE_DONE;

    sqlite_bind_text(statement, 1, account);
    while (more && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
        struct store_action action = action_at(statement);
        more = each(&action, arg);
    }
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
        err = sqlite_fail(db, "read it", error);
    }
    (void)sqlite3_reset(statement);
    return err;
}

enum err sqlite_load_grants(struct store_db *db, const char *account,
                            bool (*each)(const struct store_grant *grant, void *arg), void *arg,
                            struct error *error)
{
    sqlite3_stmt *statement = db->statements[SQL_LOAD_GRANTS];
    bool more = true;
    enum err err = OK;
    int rc = SQLITE_DONE;

    sqlite_bind_text(statement, 1, account);
    while (more && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
        struct store_grant grant = {
            .call_id = text_at(statement, 0),
            .account = text_at(statement, 1),
            .boot_id = text_at(statement, 2),
            .taken_boot_ms = sqlite3_column_int64(statement, 3),
            .taken_wall_ms = sqlite3_column_int64(statement, 4),
            .answered_boot_ms = sqlite3_column_int64(statement, 5),
            .answered_wall_ms = sqlite3_column_int64(statement, 6),
            .detail = text_at(statement, 7),
        };
        more = each(&grant, arg);
    }
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
        err = sqlite_fail(db, "read it", error);
    }
    (void)sqlite3_reset(statement);
    return err;
}
