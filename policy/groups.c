/* Scheduler, groups: which requests can share a call, and how long a call waits for company.
 *
 * A group lingers from its first ready job on, unless it fills a call:
 * - for linger_ms x used / requests: next to nothing while the window is empty, all of it as it
 *   fills;
 * - a moment (10 ms by default) to see whether it is the first of a crowd, and a little longer for
 *   those of its kind that were admitted and are being made durable;
 * - when it found company lately it is paced, so that a steady stream of one kind is carried by
 *   evenly spaced calls rather than by ten at once and none for the rest of the window. Its next
 *   call is due window / requests after the last was due. It leaves before, when as many jobs wait
 *   as come in such a time on average; or when no more seem to come. A group that had no company
 *   yet waits up to linger_ms for one that should come by then. Waiting that brought nobody is not
 *   repeated for some calls: scripts that ask in sequence are not slowed.
 * Why the second: docs/decisions/0005-pacing.md. */
#include "policy/scheduler_priv.h"

#include "common/json.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_BUCKETS 64

#define MAX_INTERVALS   96 /* of the average between jobs */
#define QUIET_INTERVALS 8  /* without a job: no more are coming */
#define HOPE_INTERVALS  3  /* the same, of a group that never had company */
#define DRIFT_TENTHS    3  /* of a pace: how far from its due time a call may leave unpunished */
#define MAX_VAIN        4  /* in a row: then 2^4 calls go without being paced */
#define CROWD_PART      5  /* of the longest linger: what a crowd may pause and go on */
#define HELD_PART       20 /* of the longest linger: how long company is awaited that was admitted */
#define LOOK_PART       100 /* of the longest linger: how long to look whether one is alone */

static bool came_before(const void *a, const void *b);

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- Finding groups ---- */

static char *key_of(const struct action *action)
{
    CLEANUP(cleanup_free)
    char *params =
        action->params != NULL ? json_dumps(action->params, JSON_COMPACT | JSON_SORT_KEYS) : NULL;

    return xasprintf("%s %c %s", action->type->name, action->kind == DEVICE_MAC ? 'm' : 'i',
                     params != NULL ? params : "{}");
}

static size_t hash_of(const char *key)
{
    uint64_t hash = UINT64_C(14695981039346656037);

    for (; *key != '\0'; key++) {
        hash = (hash ^ (uint8_t)*key) * UINT64_C(1099511628211);
    }
    return (size_t)(hash ^ hash >> 29);
}

static struct group *find(const struct scheduler *scheduler, const char *key)
{
    struct group *group;

    if (scheduler->bucket_count == 0) {
        return NULL;
    }
    group = scheduler->buckets[hash_of(key) & (scheduler->bucket_count - 1)];
    while (group != NULL && strcmp(group->key, key) != 0) {
        group = group->next;
    }
    return group;
}

struct group *group_find(const struct scheduler *scheduler, const struct action *action)
{
    CLEANUP(cleanup_free) char *key = key_of(action);

    return find(scheduler, key);
}

static void grow(struct scheduler *scheduler)
{
    size_t count = scheduler->bucket_count > 0 ? 2 * scheduler->bucket_count : FIRST_BUCKETS;
    struct group **buckets = xcalloc(count, sizeof(struct group *));

    for (size_t i = 0; i < scheduler->bucket_count; i++) {
        struct group *next;
        for (struct group *group = scheduler->buckets[i]; group != NULL; group = next) {
            next = group->next;
            size_t at = hash_of(group->key) & (count - 1);
            group->next = buckets[at];
            buckets[at] = group;
        }
    }
    free(scheduler->buckets);
    scheduler->buckets = buckets;
    scheduler->bucket_count = count;
}

static struct group *new_group(struct scheduler *scheduler, char *key_take)
{
    struct group *group = xcalloc(1, sizeof(*group));
    size_t at;

    if (scheduler->group_count++ >= scheduler->bucket_count) {
        grow(scheduler);
    }
    at = hash_of(key_take) & (scheduler->bucket_count - 1);
    group->key = key_take;
    group->fair_ms = group->sent_ms = INT64_MIN / 2; /* long ago */
    group->arrived_ms = INT64_MIN;
    heap_init(&group->ready, came_before, offsetof(struct lane, group_place));
    group->next = scheduler->buckets[at];
    scheduler->buckets[at] = group;
    return group;
}

struct group *group_get(struct scheduler *scheduler, const struct action *action)
{
    CLEANUP(cleanup_free) char *key = key_of(action);
    struct group *group = find(scheduler, key);

    if (group == NULL) {
        group = new_group(scheduler, TAKE(key));
    }
    if (group->is_idle) {
        TAILQ_REMOVE(&scheduler->idle, group, idle);
        group->is_idle = false;
    }
    group->jobs++;
    return group;
}

void group_leave(struct scheduler *scheduler, struct group *group)
{
    if (--group->jobs == 0) {
        TAILQ_INSERT_TAIL(&scheduler->idle, group, idle);
        group->is_idle = true;
    }
}

static void free_group(struct group *group)
{
    struct lane *lane;

    while ((lane = group->lanes) != NULL) {
        group->lanes = lane->next;
        heap_done(&lane->jobs);
        free(lane);
    }
    heap_done(&group->ready);
    free(group->arrivals);
    free(group->key);
    free(group);
}

static void forget(struct scheduler *scheduler, struct group *group)
{
    struct group **link = &scheduler->buckets[hash_of(group->key) & (scheduler->bucket_count - 1)];

    while (*link != group) {
        link = &(*link)->next;
    }
    *link = group->next;
    scheduler->group_count--;
    TAILQ_REMOVE(&scheduler->idle, group, idle);
    free_group(group);
}

/* What an idle group still knows (when it was sent last) is of use for about a window. */
void groups_forget_idle(struct scheduler *scheduler, int64_t before_ms)
{
    struct group *group;

    while ((group = TAILQ_FIRST(&scheduler->idle)) != NULL && group->noted == 0 &&
           group->arrived_ms < before_ms) {
        forget(scheduler, group);
    }
}

void groups_free(struct scheduler *scheduler)
{
    for (size_t i = 0; i < scheduler->bucket_count; i++) {
        struct group *next;
        for (struct group *group = scheduler->buckets[i]; group != NULL; group = next) {
            next = group->next;
            free_group(group);
        }
    }
    free(scheduler->buckets);
}

/* ---- Lanes ---- */

struct job *lane_first(const struct lane *lane)
{
    return heap_first(&lane->jobs);
}

static bool came_before(const void *a, const void *b)
{
    return lane_first(a)->order < lane_first(b)->order;
}

static bool has_priority(const void *a, const void *b)
{
    const struct job *one = a;
    const struct job *other = b;

    return one->priority != other->priority ? one->priority < other->priority
                                            : one->order < other->order;
}

bool lane_has_priority(const void *a, const void *b)
{
    return has_priority(lane_first(a), lane_first(b));
}

static struct lane *get_lane(struct job *job)
{
    struct group *group = job->group;
    struct lane *lane = group->lanes;

    while (lane != NULL && !(lane->team == job->team && lane->alone == job->alone)) {
        lane = lane->next;
    }
    if (lane == NULL) {
        lane = xcalloc(1, sizeof(*lane));
        lane->group = group;
        lane->team = job->team;
        lane->alone = job->alone;
        heap_init(&lane->jobs, has_priority, offsetof(struct job, lane_place));
        lane->next = group->lanes;
        group->lanes = lane;
    }
    return lane;
}

/* A lane's place in heaps depends on its first job: it steps out while its jobs change. */
static void step_out(struct scheduler *scheduler, struct lane *lane)
{
    if (lane->group_place != 0) {
        heap_remove(&lane->group->ready, lane);
    }
    if (lane->ripe_place != 0) {
        heap_remove(&scheduler->teams[lane->team].ripe, lane);
    }
}

static void step_in(struct scheduler *scheduler, struct lane *lane)
{
    if (lane->jobs.count > 0 && !lane->alone) {
        heap_add(&lane->group->ready, lane);
    }
    if (lane->jobs.count > 0 && (lane->alone || lane->group->ripe)) {
        heap_add(&scheduler->teams[lane->team].ripe, lane);
    }
}

void group_put(struct scheduler *scheduler, struct job *job)
{
    struct group *group = job->group;

    job->lane = get_lane(job);
    step_out(scheduler, job->lane);
    heap_add(&job->lane->jobs, job);
    step_in(scheduler, job->lane);
    if (!job->alone) {
        group->ready_jobs++;
        group->pending += job->left;
    }
}

void group_take(struct scheduler *scheduler, struct job *job)
{
    struct lane *lane = job->lane;

    step_out(scheduler, lane);
    heap_remove(&lane->jobs, job);
    step_in(scheduler, lane);
    if (!lane->alone) {
        lane->group->ready_jobs--;
        lane->group->pending -= job->left;
    }
}

/* ---- Lingering ---- */

/* Calls this far apart use every slot just as it comes free. */
static int64_t pace_ms(const struct scheduler *scheduler)
{
    const struct budget_options *budget = &scheduler->options.budget;

    return (budget->window_ms + scheduler->latency_ms) / (int64_t)budget->requests;
}

static int64_t linger_ms(const struct scheduler *scheduler)
{
    int64_t requests = (int64_t)scheduler->options.budget.requests;
    int64_t used = requests - (int64_t)budget_free_slots(scheduler->budget, scheduler->now_ms);

    return scheduler->options.linger_ms * used / requests;
}

/* Until when a group waits that is not paced. */
static int64_t linger_time(const struct scheduler *scheduler, const struct group *group)
{
    int64_t look = scheduler->options.linger_ms / (group->held > 0 ? HELD_PART : LOOK_PART);

    return group->since_ms + max64(linger_ms(scheduler), look);
}

/* Whether the group found company lately. */
static bool has_company(const struct group *group)
{
    return group->shared || group->ready_jobs > 1;
}

/* Whether company is to be expected that is worth waiting for longer than the linger time: of a
 * group that never had any, only what would come soon. */
static bool is_paced(const struct scheduler *scheduler, const struct group *group)
{
    int64_t longest = has_company(group) ? pace_ms(scheduler) / 2 : scheduler->options.linger_ms;

    return group->intervals > 0 && group->interval_ms <= longest && group->skip == 0;
}

/* When nobody else seems to be coming. */
static int64_t quiet_time(const struct scheduler *scheduler, const struct group *group)
{
    if (!has_company(group)) {
        return group->arrived_ms + HOPE_INTERVALS * group->interval_ms;
    }
    return group->arrived_ms +
           max64(max64(linger_ms(scheduler), QUIET_INTERVALS * group->interval_ms),
                 scheduler->options.linger_ms / CROWD_PART);
}

/* How many jobs came in the last half pace, in intervals: their number times the average interval.
 * Of more than are remembered, as many as the remembered ones make likely. */
static int64_t young_ms(const struct scheduler *scheduler, const struct group *group)
{
    int64_t half = pace_ms(scheduler) / 2;
    int64_t count = 0;
    int64_t oldest = scheduler->now_ms;

    for (size_t i = 0; group->arrivals != NULL && i < ARRIVALS && i < group->arrival_count; i++) {
        count += group->arrivals[i] > scheduler->now_ms - half ? 1 : 0;
        oldest = min64(oldest, group->arrivals[i]);
    }
    if (count == ARRIVALS) {
        count = ARRIVALS * half / max64(1, scheduler->now_ms - oldest);
    }
    return count * group->interval_ms;
}

/* When a paced group goes that is not full: from half a pace before it is due on if many of its
 * jobs have come just now, so that most wait less than half a pace; later if few have; but at most
 * a pace after it was due. With as many as on average it leaves a sixth of a pace after. */
static int64_t paced_time(const struct scheduler *scheduler, const struct group *group)
{
    int64_t pace = pace_ms(scheduler);
    int64_t dense =
        group->fair_ms - pace / 2 + max64(0, 3 * pace / 2 - 5 * young_ms(scheduler, group) / 3);
    int64_t longest = group->since_ms + scheduler->options.linger_ms;

    if (has_company(group) && group->fair_ms + pace > scheduler->now_ms) {
        if (dense <= scheduler->now_ms && group->arrived_ms == scheduler->now_ms) {
            return group->sent_ms + pace * DRIFT_TENTHS / 10;
        }
        longest = max64(longest, group->fair_ms + pace);
    }
    return min64(quiet_time(scheduler, group), longest);
}

static int64_t ripe_time(const struct scheduler *scheduler, const struct group *group)
{
    int64_t until = linger_time(scheduler, group);

    if (group->pending >= scheduler->options.max_devices || scheduler->options.linger_ms == 0) {
        return scheduler->now_ms;
    }
    return is_paced(scheduler, group) ? max64(until, paced_time(scheduler, group)) : until;
}

int64_t group_expected_ms(const struct scheduler *scheduler, const struct group *group)
{
    if (!is_paced(scheduler, group) || !has_company(group)) {
        return group->ripe_ms;
    }
    return min64(group->ripe_ms, group->fair_ms + pace_ms(scheduler) / 6);
}

/* Gives the group's ready lanes to their teams, or takes them back. */
static void set_ripe(struct scheduler *scheduler, struct group *group, bool ripe)
{
    group->ripe = ripe;
    for (size_t i = 0; i < group->ready.count; i++) {
        struct lane *lane = group->ready.items[i];
        struct heap *heap = &scheduler->teams[lane->team].ripe;
        if (ripe) {
            heap_add(heap, lane);
        } else {
            heap_remove(heap, lane);
        }
    }
}

bool group_ripens_before(const void *a, const void *b)
{
    const struct group *one = a;
    const struct group *other = b;

    return one->ripe_ms != other->ripe_ms ? one->ripe_ms < other->ripe_ms
                                          : strcmp(one->key, other->key) < 0;
}

static void update_linger(struct scheduler *scheduler, struct group *group)
{
    if (group->linger_place != 0) {
        heap_remove(&scheduler->lingering, group);
    }
    if (group->ready_jobs == 0 || group->ripe) {
        return;
    }
    group->ripe_ms = ripe_time(scheduler, group);
    if (group->ripe_ms <= scheduler->now_ms) {
        set_ripe(scheduler, group, true);
    } else {
        heap_add(&scheduler->lingering, group);
    }
}

void groups_ripen(struct scheduler *scheduler)
{
    struct group *group;

    while ((group = heap_first(&scheduler->lingering)) != NULL &&
           group->ripe_ms <= scheduler->now_ms) {
        heap_remove(&scheduler->lingering, group);
        set_ripe(scheduler, group, true);
    }
}

void groups_linger_anew(struct scheduler *scheduler)
{
    for (size_t i = 0; i < scheduler->bucket_count; i++) {
        for (struct group *group = scheduler->buckets[i]; group != NULL; group = group->next) {
            if (group->linger_place != 0) {
                update_linger(scheduler, group);
            }
        }
    }
}

/* ---- Changes ---- */

void group_arrived(struct scheduler *scheduler, struct group *group)
{
    if (group->arrived_ms != INT64_MIN) {
        int64_t passed = min64(scheduler->now_ms - group->arrived_ms, pace_ms(scheduler));
        group->intervals += group->intervals < MAX_INTERVALS ? 1 : 0;
        group->interval_ms += (passed - group->interval_ms) / group->intervals;
    }
    group->arrived_ms = scheduler->now_ms;
    if (group->arrivals == NULL && group->shared) {
        group->arrivals = xcalloc(ARRIVALS, sizeof(*group->arrivals));
    }
    if (group->arrivals != NULL) {
        group->arrivals[group->arrival_count++ % ARRIVALS] = scheduler->now_ms;
    }
}

void group_hold(struct scheduler *scheduler, struct group *group, size_t team, size_t devices)
{
    if (group->held == 0) {
        group->holder = team;
        TAILQ_INSERT_TAIL(&scheduler->holding, group, holding);
    }
    group->held += devices;
}

void group_release(struct scheduler *scheduler, struct group *group, size_t devices)
{
    group->held -= devices;
    if (group->held == 0) {
        TAILQ_REMOVE(&scheduler->holding, group, holding);
    }
}

void group_add_ready(struct scheduler *scheduler, struct job *job)
{
    struct group *group = job->group;

    if (!job->alone) {
        if (group->ready_jobs == 0) {
            group->since_ms = scheduler->now_ms;
            group->ripe = false;
        }
    }
    group_put(scheduler, job);
    update_linger(scheduler, group);
}

void group_remove_ready(struct scheduler *scheduler, struct job *job)
{
    group_take(scheduler, job);
    if (job->group->ready_jobs == 0) {
        update_linger(scheduler, job->group);
    }
}

/* Learns from the call that leaves now whether pacing pays, and when the next one is due. */
static void set_pace(struct scheduler *scheduler, struct group *group, size_t parts)
{
    int64_t now_ms = scheduler->now_ms;
    int64_t pace = pace_ms(scheduler);
    int64_t drift = pace * DRIFT_TENTHS / 10;
    int64_t until = linger_time(scheduler, group);

    group->shared = parts > 1;
    group->skip -= group->skip > 0 ? 1 : 0;
    if (group->arrived_ms > until) {
        group->vain = group->skip = 0;
    } else if (now_ms > until + scheduler->options.linger_ms / HELD_PART && group->skip == 0) {
        group->vain += group->vain < MAX_VAIN ? 1 : 0;
        group->skip = (size_t)1 << group->vain;
    }
    /* From when this one was due, not from when it went: being early is not to add up. */
    group->fair_ms = max64(now_ms - drift, min64(group->fair_ms, now_ms + drift)) + pace;
    group->sent_ms = now_ms;
}

/* A call of the group left: what remains lingers anew, unless it fills another. */
void group_sent(struct scheduler *scheduler, struct group *group, size_t parts)
{
    set_pace(scheduler, group, parts);
    if (group->ready_jobs > 0 && group->pending < scheduler->options.max_devices) {
        set_ripe(scheduler, group, false);
        group->since_ms = scheduler->now_ms;
        update_linger(scheduler, group);
    }
}
