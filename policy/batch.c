/* Scheduler, making a call: the first request of the team whose turn it is, and what fits of the
 * requests compatible with it. A device that several ask for goes once. See scheduler.h. */
#include "policy/scheduler_priv.h"

#include <stdlib.h>
#include <string.h>

#define MAX_PASSED_OVER 32 /* requests that do not fit and are left for the next call */

/* The devices of the call so far, by name. */
struct device_table {
    const char **names;
    size_t count;
    size_t max;
    size_t *buckets; /* index + 1 into names; open addressing */
    size_t bucket_count;
};

static void table_init(struct device_table *table, size_t max)
{
    table->bucket_count = 16;
    while (table->bucket_count < 2 * max) {
        table->bucket_count *= 2;
    }
    table->count = 0;
    table->max = max;
    table->names = xcalloc(max, sizeof(*table->names));
    table->buckets = xcalloc(table->bucket_count, sizeof(*table->buckets));
}

/* The bucket that holds the name, or the empty one where it belongs. */
static size_t *table_find(const struct device_table *table, const char *name)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    size_t at;

    for (const char *c = name; *c != '\0'; c++) {
        hash = (hash ^ (uint8_t)*c) * UINT64_C(1099511628211);
    }
    at = (size_t)(hash ^ hash >> 29) & (table->bucket_count - 1);
    while (table->buckets[at] != 0 && strcmp(table->names[table->buckets[at] - 1], name) != 0) {
        at = (at + 1) & (table->bucket_count - 1);
    }
    return &table->buckets[at];
}

/* How many devices of the job are not in the call yet, counted up to a little over the room. */
static size_t count_new(const struct device_table *table, const struct job *job)
{
    size_t count = 0;

    for (size_t i = 0; i < job->action->device_count && count <= table->max; i++) {
        if (!job->given[i] && *table_find(table, job->action->devices[i].canonical) == 0) {
            count++;
        }
    }
    return count;
}

/* Gives devices of a job to the call, as many as there is room for. */
static void add_part(struct batch *batch, struct device_table *table, struct job *job)
{
    struct batch_part *part;

    batch->parts = xrealloc(batch->parts, batch->part_count + 1, sizeof(*batch->parts));
    part = &batch->parts[batch->part_count++];
    *part = (struct batch_part){.job = job};
    part->devices = xcalloc(job->left, sizeof(*part->devices));
    part->places = xcalloc(job->left, sizeof(*part->places));
    for (size_t i = 0; i < job->action->device_count && job->left > 0; i++) {
        const char *name = job->action->devices[i].canonical;
        size_t *bucket;
        if (job->given[i]) {
            continue;
        }
        bucket = table_find(table, name);
        if (*bucket == 0) {
            if (table->count == table->max) {
                continue;
            }
            table->names[table->count++] = name;
            *bucket = table->count;
        }
        part->devices[part->count] = i;
        part->places[part->count++] = *bucket - 1;
        job->given[i] = 1;
        job->left--;
    }
}

/* Gives a job, or what there is room for of it, to the call; what is left of it stands in its old
 * place again, at once or in the end. Returns whether anything is left. */
static bool give(struct scheduler *scheduler, struct batch *batch, struct device_table *table,
                 struct job *job)
{
    add_part(batch, table, job);
    if (job->left == 0) {
        order_given(scheduler, job);
    }
    return job->left > 0;
}

/* A team at its maximum may start no call, nor take part in others' beyond it. */
static bool within_max(const struct scheduler *scheduler, const struct lane *lane)
{
    const struct team_queue *team = &scheduler->teams[lane->team];

    return team->used < team->options.max * SCHEDULER_SHARE;
}

/* Takes company for the first request of the call: in order of arrival, but in each team's own
 * order. What does not fit stands aside while the others are looked at. */
static void fill(struct scheduler *scheduler, struct batch *batch, struct device_table *table)
{
    struct heap *ready = &batch->group->ready;
    struct job *passed[MAX_PASSED_OVER];
    size_t passed_count = 0;
    struct lane *aside = NULL;
    struct lane *lane;

    while (table->count < table->max && passed_count < MAX_PASSED_OVER &&
           (lane = heap_first(ready)) != NULL) {
        struct job *job = lane_first(lane);
        bool splits = job->left > table->max;
        if (!within_max(scheduler, lane)) {
            heap_remove(ready, lane);
            lane->aside = aside;
            aside = lane;
            continue;
        }
        splits = splits || count_new(table, job) <= table->max - table->count;
        group_take(scheduler, job);
        if (!splits || give(scheduler, batch, table, job)) {
            passed[passed_count++] = job;
        }
    }
    while (passed_count > 0) {
        group_put(scheduler, passed[--passed_count]);
    }
    for (; aside != NULL; aside = aside->aside) {
        heap_add(ready, aside);
    }
}

static void set_shares(struct batch *batch)
{
    size_t asked = 0;
    int64_t given = 0;

    for (size_t i = 0; i < batch->part_count; i++) {
        asked += batch->parts[i].count;
    }
    for (size_t i = 0; i < batch->part_count; i++) {
        batch->parts[i].share = SCHEDULER_SHARE * (int64_t)batch->parts[i].count / (int64_t)asked;
        given += batch->parts[i].share;
    }
    batch->parts[0].share += SCHEDULER_SHARE - given; /* what rounding left */
}

struct batch *batch_make(struct scheduler *scheduler, struct job *seed)
{
    struct batch *batch = xcalloc(1, sizeof(*batch));
    struct device_table table;

    table_init(&table, scheduler->options.max_devices);
    batch->group = seed->group;
    group_take(scheduler, seed);
    if (give(scheduler, batch, &table, seed)) {
        group_put(scheduler, seed);
    }
    if (!seed->alone) {
        fill(scheduler, batch, &table);
    }
    batch->devices = table.names;
    batch->device_count = table.count;
    free(table.buckets);
    set_shares(batch);
    return batch;
}

void batch_free(struct batch *batch)
{
    if (batch == NULL) {
        return;
    }
    for (size_t i = 0; i < batch->part_count; i++) {
        free(batch->parts[i].devices);
        free(batch->parts[i].places);
    }
    free(batch->parts);
    free(batch->devices);
    free(batch);
}
