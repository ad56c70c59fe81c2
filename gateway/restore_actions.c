/* Dispatcher, the actions that an earlier process left. What it knew of their devices is known;
 * what was in calls without an outcome never will be, and is not sent again; the rest goes on as if
 * nothing had happened. See restore.h. */
#include "gateway/restore.h"

#include "common/clock.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNREADABLE "It was accepted by another version of the gateway and cannot be read."

/* One row, while it is looked at. */
struct found {
    const struct store_action *row;
    const json_t *lost;    /* of its devices: see struct restoring; NULL: none */
    struct action *action; /* NULL: it cannot be read */
    struct progress progress;
};

static void read_found(struct found *found)
{
    const char *request = found->row->request;
    struct problems problems = {0};

    if (action_parse(request, strlen(request), SIZE_MAX, &found->action, &problems, NULL) != OK) {
        problems_done(&problems);
        found->action = NULL;
    }
}

/* Where it cannot be said which devices are not known, none is. */
static void lose(struct found *found, const json_t *ranges)
{
    struct progress *progress = &found->progress;

    if (progress_lose(progress, found->action, ranges, CRASH_DETAIL) != OK) {
        enum err err = progress_lose(progress, found->action, NULL, CRASH_DETAIL);
        assert(err == OK);
    }
}

static void recall(struct found *found)
{
    const char *written = found->row->progress;

    if (written != NULL && progress_read(&found->progress, found->action, written) != OK) {
        lose(found, NULL);
    }
    if (found->lost != NULL) {
        lose(found, json_is_array(found->lost) ? found->lost : NULL);
    }
}

/* The team to go on for; -1, with the reason, when there is none. */
static ssize_t find_team(const struct restoring *restoring, const struct found *found,
                         const char **ret_why)
{
    const struct dispatcher *dispatcher = restoring->dispatcher;
    ssize_t team = config_find_team(dispatcher->config, found->row->team);

    *ret_why = restoring->account == NULL ? NO_ACCOUNT : NO_TEAM;
    if (restoring->account == NULL || team < 0 ||
        dispatcher->accounts[config_team(dispatcher->config, (size_t)team)->account_index] !=
            restoring->account) {
        return -1;
    }
    return team;
}

static struct entry *new_entry(struct account *account, struct found *found, size_t team)
{
    const struct store_action *row = found->row;
    struct entry *entry = xcalloc(1, sizeof(*entry));

    *entry = (struct entry){
        .account = account,
        .state = ACTION_QUEUED,
        .subject = {.request_id = xstrdup(row->request_id),
                    .client = xstrdup(row->client),
                    .key_id = xstrdup(row->key_id),
                    .team = xstrdup(row->team)},
        .action = TAKE(found->action),
        .reason = xstrdup(row->reason),
        .rule = xstrdup(row->rule),
        .submitted_ms = row->submitted_ms,
        .deadline_ms = row->deadline_ms > 0 ? row->deadline_ms : row->submitted_ms + ACTION_TTL_MS,
        .accepted_ms = clock_boot_ms(),
        .retry_until_ms = INT64_MAX,
        .progress = found->progress,
    };
    found->progress = (struct progress){0};
    entry->job.action = entry->action;
    entry->job.team = account->dispatcher->team_slots[team];
    entry->job.priority = row->priority;
    (void)snprintf(entry->id, sizeof(entry->id), "%s", row->id);
    return entry;
}

/* What goes on is written as it is now: who looks at it, and the next start, should see it so. */
static void write_going_on(struct restoring *restoring, const struct found *found,
                           const struct entry *entry)
{
    const char *state = action_state_name(entry->state);
    CLEANUP(cleanup_free) char *progress = NULL;

    if (found->lost != NULL) {
        progress = progress_write(&entry->progress);
        store_write_set_progress(restoring->writes[0], entry->id, state, progress);
    } else if (strcmp(found->row->state, state) != 0) {
        store_write_set_state(restoring_write(restoring), entry->id, state, NULL);
    }
}

static void go_on(struct restoring *restoring, struct found *found, size_t team)
{
    struct account *account = restoring->account;
    struct entry *entry = new_entry(account, found, team);
    struct progress *progress = &entry->progress;

    if (progress_started(progress)) {
        action_state_move(&entry->state, ACTION_DISPATCHED);
        entry->job.given = xcalloc(progress->count, sizeof(*entry->job.given));
        for (size_t i = 0; i < progress->count; i++) {
            entry->job.given[i] = progress->devices[i] != DEVICE_OPEN;
        }
    }
    write_going_on(restoring, found, entry);
    entries_add(account->dispatcher->entries, entry);
    scheduler_restore_job(account->scheduler, &entry->job, clock_boot_ms());
    restoring->queued++;
}

/* Ends an action that does not go on, with what is known of it; why is for one of which nothing
 * was sent. */
static void end_found(struct restoring *restoring, struct found *found, const char *why)
{
    const struct store_action *row = found->row;
    struct ending *ending = &found->progress.ending;
    CLEANUP(cleanup_free) char *results = NULL;
    struct subject subject = {.request_id = (char *)row->request_id,
                              .client = (char *)row->client,
                              .key_id = (char *)row->key_id,
                              .team = (char *)row->team};
    struct action_end end = {.event = "action.finished",
                             .subject = &subject,
                             .id = row->id,
                             .call_id = row->call_id,
                             .account = row->account,
                             .action = found->action,
                             .state = ACTION_FAILED,
                             .progress = &found->progress};

    if (progress_started(&found->progress)) {
        end.state = progress_outcome(&found->progress, found->action, &results);
        end.results = results;
    } else if (found->action == NULL && (found->lost != NULL || row->progress != NULL)) {
        end.state = ACTION_UNKNOWN;
        ending->problem = PROBLEM_OUTCOME_UNKNOWN;
        ending->detail = xstrdup(CRASH_DETAIL);
    } else {
        ending->problem = PROBLEM_UNAVAILABLE;
        ending->detail = xstrdup(why);
    }
    action_write_end(found->lost != NULL ? restoring->writes[0] : restoring_write(restoring), &end);
    restoring->unknown += end.state == ACTION_UNKNOWN ? 1 : 0;
    restoring->ended += end.state != ACTION_UNKNOWN ? 1 : 0;
}

bool restore_action(const struct store_action *row, void *arg)
{
    struct restoring *restoring = arg;
    struct found found = {.row = row, .lost = json_object_get(restoring->lost, row->id)};
    const char *why = UNREADABLE;
    ssize_t team = -1;

    read_found(&found);
    if (found.action != NULL) {
        recall(&found);
        team = find_team(restoring, &found, &why);
    }
    if (team >= 0 && progress_open(&found.progress, found.action) > 0) {
        go_on(restoring, &found, (size_t)team);
    } else {
        end_found(restoring, &found, why);
    }
    progress_done(&found.progress);
    action_unref(found.action);
    return true;
}
