/* Progress: see progress.h. Written down, it is
 *   {"devices": [[first, last], [first, last, status], [first, last, status, command_id], …],
 *    "failed", "unknown", "problem", "upstream_status", "detail"}
 * where each run of devices that are over and alike is one element. */
#include "gateway/progress.h"

#include "common/json.h"

#include <stdlib.h>
#include <string.h>

void progress_done(struct progress *progress)
{
    free(progress->devices);
    free(progress->items);
    free(progress->ending.detail);
    *progress = (struct progress){0};
}

bool progress_started(const struct progress *progress)
{
    return progress->devices != NULL;
}

size_t progress_open(const struct progress *progress, const struct action *action)
{
    size_t open = progress->devices == NULL ? action->device_count : 0;

    for (size_t i = 0; progress->devices != NULL && i < progress->count; i++) {
        open += progress->devices[i] == DEVICE_OPEN ? 1 : 0;
    }
    return open;
}

static void start(struct progress *progress, const struct action *action)
{
    if (progress->devices == NULL) {
        progress->count = action->device_count;
        progress->devices = xcalloc(progress->count, sizeof(*progress->devices));
        progress->items = xcalloc(progress->count, sizeof(*progress->items));
    }
}

void progress_know(struct progress *progress, const struct action *action, const size_t *devices,
                   const size_t *places, size_t count, const struct answer_item *items,
                   int upstream_status)
{
    start(progress, action);
    for (size_t i = 0; i < count; i++) {
        progress->devices[devices[i]] = DEVICE_KNOWN;
        progress->items[devices[i]] = items[places[i]];
    }
    if (!progress->ending.failed) {
        progress->ending.upstream_status = upstream_status;
    }
}

/* The worst stays: unknown, then the newest failure. */
static void worsen(struct ending *ending, const struct ending *by)
{
    if (ending->unknown && !by->unknown) {
        return;
    }
    free(ending->detail);
    *ending = *by;
    ending->failed = true;
    ending->detail = xstrdup(by->detail);
}

void progress_fail(struct progress *progress, const struct action *action, const size_t *devices,
                   size_t count, const struct ending *ending)
{
    start(progress, action);
    for (size_t i = 0; i < count; i++) {
        progress->devices[devices[i]] = DEVICE_OVER;
    }
    worsen(&progress->ending, ending);
}

/* ---- Ranges ---- */

json_t *progress_ranges(const size_t *devices, size_t count)
{
    json_t *ranges = json_array();

    for (size_t i = 0; i < count;) {
        size_t first = i;
        while (++i < count && devices[i] == devices[i - 1] + 1) {
        }
        (void)json_array_append_new(ranges, json_integer((json_int_t)devices[first]));
        (void)json_array_append_new(ranges, json_integer((json_int_t)devices[i - 1]));
    }
    return ranges;
}

/* The range that begins at that element of an array: false unless it is one of the action. */
static bool range_at(const json_t *array, size_t at, const struct action *action, size_t *ret_first,
                     size_t *ret_last)
{
    json_t *first = json_array_get(array, at);
    json_t *last = json_array_get(array, at + 1);

    if (!json_is_integer(first) || !json_is_integer(last) || json_integer_value(first) < 0 ||
        json_integer_value(first) > json_integer_value(last) ||
        json_integer_value(last) >= (json_int_t)action->device_count) {
        return false;
    }
    *ret_first = (size_t)json_integer_value(first);
    *ret_last = (size_t)json_integer_value(last);
    return true;
}

/* Whether any was open. */
static bool lose_range(struct progress *progress, size_t first, size_t last)
{
    bool some = false;

    for (size_t i = first; i <= last; i++) {
        if (progress->devices[i] == DEVICE_OPEN) {
            progress->devices[i] = DEVICE_OVER;
            some = true;
        }
    }
    return some;
}

enum err progress_lose(struct progress *progress, const struct action *action, const json_t *ranges,
                       const char *detail)
{
    struct ending unknown = {
        .unknown = true, .problem = PROBLEM_OUTCOME_UNKNOWN, .detail = (char *)detail};
    size_t first = 0;
    size_t last = 0;
    bool some = false;

    if (ranges != NULL && (json_array_size(ranges) == 0 || json_array_size(ranges) % 2 != 0)) {
        return ERR_MALFORMED;
    }
    for (size_t i = 0; i < json_array_size(ranges); i += 2) {
        if (!range_at(ranges, i, action, &first, &last)) {
            return ERR_MALFORMED;
        }
    }
    start(progress, action);
    if (ranges == NULL) {
        some = lose_range(progress, 0, action->device_count - 1);
    }
    for (size_t i = 0; i < json_array_size(ranges); i += 2) {
        (void)range_at(ranges, i, action, &first, &last);
        some = lose_range(progress, first, last) || some;
    }
    if (some) {
        worsen(&progress->ending, &unknown);
    }
    return OK;
}

/* ---- The end ---- */

static char *results_text(const struct progress *progress, const struct action *action, bool all)
{
    CLEANUP(cleanup_json) json_t *list = json_array();

    for (size_t i = 0; i < action->device_count; i++) {
        const struct answer_item *item = &progress->items[i]; /* they start as status 0 */
        if (all || progress->devices[i] == DEVICE_KNOWN) {
            (void)json_array_append_new(
                list, json_pack("{s:s, s:i, s:s}", "id", action->devices[i].asked, "status",
                                item->status, "command_id", item->command_id));
        }
    }
    return json_write(list);
}

enum action_state progress_outcome(const struct progress *progress, const struct action *action,
                                   char **ret_results)
{
    bool unknown = progress->ending.unknown;
    bool some = false;

    for (size_t i = 0; i < progress->count; i++) {
        some = some || progress->devices[i] == DEVICE_KNOWN;
    }
    *ret_results = some ? results_text(progress, action, !unknown) : NULL;
    if (unknown) {
        return ACTION_UNKNOWN;
    }
    return some ? ACTION_COMPLETED : ACTION_FAILED;
}

/* ---- Written down ---- */

static bool alike(const struct progress *progress, size_t a, size_t b)
{
    return progress->devices[a] == progress->devices[b] &&
           (progress->devices[a] != DEVICE_KNOWN ||
            (progress->items[a].status == progress->items[b].status &&
             strcmp(progress->items[a].command_id, progress->items[b].command_id) == 0));
}

static json_t *run_json(const struct progress *progress, size_t first, size_t last)
{
    const struct answer_item *item = &progress->items[first];
    json_t *run = json_pack("[I, I]", (json_int_t)first, (json_int_t)last);

    if (progress->devices[first] == DEVICE_KNOWN) {
        (void)json_array_append_new(run, json_integer(item->status));
        if (item->command_id[0] != '\0') {
            (void)json_array_append_new(run, json_string(item->command_id));
        }
    }
    return run;
}

char *progress_write(const struct progress *progress)
{
    const struct ending *ending = &progress->ending;
    CLEANUP(cleanup_json) json_t *json = NULL;
    json_t *runs;

    if (!progress_started(progress)) {
        return NULL;
    }
    runs = json_array();
    for (size_t i = 0; i < progress->count;) {
        size_t first = i;
        while (++i < progress->count && alike(progress, first, i)) {
        }
        if (progress->devices[first] != DEVICE_OPEN) {
            (void)json_array_append_new(runs, run_json(progress, first, i - 1));
        }
    }
    json = json_pack("{s:o, s:b, s:b, s:s*, s:i, s:s*}", "devices", runs, "failed",
                     (int)ending->failed, "unknown", (int)ending->unknown, "problem",
                     ending->failed ? problem_name(ending->problem) : NULL, "upstream_status",
                     ending->upstream_status, "detail", ending->detail);
    return json_write(json);
}

/* A result's status and command_id; false unless they are such. */
static bool read_item(const json_t *status, const json_t *command, struct answer_item *item)
{
    if (!json_is_integer(status) || json_integer_value(status) < -1 ||
        json_integer_value(status) > 1) {
        return false;
    }
    item->status = (int)json_integer_value(status);
    if (command == NULL) {
        return true;
    }
    if (!json_is_string(command) || json_string_length(command) >= sizeof(item->command_id)) {
        return false;
    }
    memcpy(item->command_id, json_string_value(command), json_string_length(command) + 1);
    return true;
}

static bool read_run(struct progress *progress, const struct action *action, const json_t *run)
{
    bool known = json_array_size(run) > 2;
    struct answer_item item = {0};
    size_t first = 0;
    size_t last = 0;

    if (!range_at(run, 0, action, &first, &last) ||
        (known && !read_item(json_array_get(run, 2), json_array_get(run, 3), &item))) {
        return false;
    }
    for (size_t i = first; i <= last; i++) {
        progress->devices[i] = known ? DEVICE_KNOWN : DEVICE_OVER;
        progress->items[i] = item;
    }
    return true;
}

static bool read_ending(struct ending *ending, json_t *json)
{
    const char *problem = NULL;
    const char *detail = NULL;
    int failed = 0;
    int unknown = 0;

    if (json_unpack(json, "{s:b, s:b, s?s, s:i, s?s}", "failed", &failed, "unknown", &unknown,
                    "problem", &problem, "upstream_status", &ending->upstream_status, "detail",
                    &detail) != 0 ||
        (problem != NULL ? problem_find(problem, &ending->problem) != OK : failed != 0)) {
        return false;
    }
    ending->failed = failed != 0;
    ending->unknown = unknown != 0;
    ending->detail = xstrdup(detail);
    return true;
}

enum err progress_read(struct progress *progress, const struct action *action, const char *text)
{
    CLEANUP(cleanup_json) json_t *json = json_loads(text, 0, NULL);
    json_t *runs = json_object_get(json, "devices");
    struct progress read = {0};
    bool good = json_array_size(runs) > 0;

    start(&read, action);
    for (size_t i = 0; good && i < json_array_size(runs); i++) {
        good = read_run(&read, action, json_array_get(runs, i));
    }
    if (!good || !read_ending(&read.ending, json)) {
        progress_done(&read);
        return ERR_MALFORMED;
    }
    *progress = read;
    return OK;
}
