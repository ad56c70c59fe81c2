/* Refusals: see refusals.h. The lock is held for the table only, never while a record is built or
 * given to the store. */
#include "gateway/refusals.h"

#include "common/clock.h"
#include "common/crypto.h"
#include "common/log.h"
#include "common/mailbox.h"
#include "gateway/audit.h"
#include "gateway/config.h"
#include "gateway/metrics.h"
#include "policy/flood.h"
#include "store/store.h"

#include <assert.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ADDRESSES 4096
#define INTERVAL_MS   10000
#define MAX_WAITING   1024
#define MAX_MAIL      1024

#define UNAUTHENTICATED "unauthenticated"

/* The kinds that policy/flood.h counts. */
static const struct {
    const char *problem;
    const char *event;
} kinds[FLOOD_KINDS] = {
    {UNAUTHENTICATED, "request.unauthenticated"},
    {"malformed-request", "request.refused"},
    {"body-too-large", "request.refused"},
    {"header-too-large", "request.refused"},
};

struct refusals {
    struct store *store;
    struct mailbox *mailbox;
    struct event *timer;
    pthread_mutex_t lock;
    struct flood *flood;
    atomic_size_t max_waiting; /* a part of the connections: bad keys must not take all of them */
    atomic_size_t waiting;
};

/* What a write is to record; it is counted again if the store does not. */
struct pending {
    struct refusals *refusals;
    struct flood_count what;
};

static void on_timer(evutil_socket_t fd, short what, void *arg);

static unsigned kind_of(const char *problem)
{
    unsigned kind = 0;

    while (strcmp(kinds[kind].problem, problem) != 0) {
        kind++;
        assert(kind < FLOOD_KINDS);
    }
    return kind;
}

/* ---- Writing ---- */

static void on_stored(enum err result, void *arg)
{
    struct pending *pending = arg;
    struct refusals *refusals = pending->refusals;

    if (result != OK) {
        metrics_add(METRIC_AUDIT_FAILURES, NULL, NULL, 1);
        (void)pthread_mutex_lock(&refusals->lock);
        flood_return(refusals->flood, &pending->what, clock_boot_ms());
        (void)pthread_mutex_unlock(&refusals->lock);
    }
    free(pending);
}

static void submit(struct refusals *refusals, struct store_write *write_take,
                   const struct flood_count *what)
{
    struct pending *pending = xcalloc(1, sizeof(*pending));

    pending->refusals = refusals;
    pending->what = *what;
    if (store_submit(refusals->store, write_take, refusals->mailbox, on_stored, pending) != OK) {
        store_write_free(write_take);
        on_stored(ERR_FULL, pending);
    }
}

/* The record of a count's refusals with that event; NULL if there are none. */
static char *count_record(const struct flood_count *count, const char *event)
{
    int64_t wall_ms = clock_wall_ms() - clock_boot_ms(); /* of the clocks' common zero */
    json_t *problems = json_object();
    uint64_t sum = 0;
    char from[CLOCK_TEXT_SIZE];
    char to[CLOCK_TEXT_SIZE];
    struct subject subject = {.remote = (char *)count->remote};

    for (size_t i = 0; i < FLOOD_KINDS; i++) {
        if (count->kinds[i] > 0 && strcmp(kinds[i].event, event) == 0) {
            sum += count->kinds[i];
            (void)json_object_set_new(problems, kinds[i].problem,
                                      json_integer((json_int_t)count->kinds[i]));
        }
    }
    if (sum == 0) {
        json_decref(problems);
        return NULL;
    }
    json_t *record = audit_begin(event, &subject);
    audit_add_text(record, "decision", "deny");
    audit_add(record, "detail",
              json_pack("{s:I, s:s, s:s, s:o}", "count", (json_int_t)sum, "from",
                        clock_format(wall_ms + count->from_ms, from), "to",
                        clock_format(wall_ms + count->to_ms, to), "problems", problems));
    metrics_add(METRIC_AUDIT_RECORDS, event, NULL, 1);
    return audit_end(record);
}

static void write_count(struct refusals *refusals, const struct flood_count *count)
{
    static const char *const events[] = {"request.unauthenticated", "request.refused"};
    struct store_write *write = store_write_new();

    for (size_t i = 0; i < ARRAY_LEN(events); i++) {
        char *record = count_record(count, events[i]);
        if (record != NULL) {
            store_write_add_record(write, record);
        }
    }
    submit(refusals, write, count);
}

static void write_counts(struct refusals *refusals, bool all)
{
    struct flood_count count;
    bool some = true;

    while (some) {
        (void)pthread_mutex_lock(&refusals->lock);
        some = flood_next(refusals->flood, all, clock_boot_ms(), &count);
        (void)pthread_mutex_unlock(&refusals->lock);
        if (some) {
            write_count(refusals, &count);
        }
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    write_counts(arg, false);
}

/* ---- Life ---- */

static struct flood_rate bad_keys_of(const struct config *config)
{
    return (struct flood_rate){.at_once = config->limits.bad_keys_per_minute,
                               .per_minute = config->limits.bad_keys_per_minute};
}

static size_t max_waiting_of(const struct config *config)
{
    size_t share = (size_t)config->limits.max_connections / 4;

    return share < MAX_WAITING ? share : MAX_WAITING;
}

struct refusals *refusals_new(struct event_base *base, const struct config *config,
                              struct store *store)
{
    const struct timeval second = {.tv_sec = 1};
    struct refusals *refusals = xcalloc(1, sizeof(*refusals));
    struct flood_options options = {
        .addresses = MAX_ADDRESSES,
        .each = {.at_once = 10, .per_minute = 60},
        .all = {.at_once = 100, .per_minute = 6000},
        .counts = {.at_once = 100, .per_minute = 6000},
        .bad_keys = bad_keys_of(config),
        .interval_ms = INTERVAL_MS,
    };

    crypto_random(&options.seed, sizeof(options.seed));
    refusals->store = store;
    refusals->flood = flood_new(&options);
    refusals->max_waiting = max_waiting_of(config);
    refusals->mailbox = mailbox_new(base, MAX_MAIL, NULL, refusals);
    refusals->timer = event_new(base, -1, EV_PERSIST, on_timer, refusals);
    (void)event_add(refusals->timer, &second);
    (void)pthread_mutex_init(&refusals->lock, NULL);
    return refusals;
}

void refusals_configure(struct refusals *refusals, const struct config *config)
{
    struct flood_rate bad_keys = bad_keys_of(config);

    refusals->max_waiting = max_waiting_of(config);
    (void)pthread_mutex_lock(&refusals->lock);
    flood_set_bad_keys(refusals->flood, &bad_keys);
    (void)pthread_mutex_unlock(&refusals->lock);
}

void refusals_end(struct refusals *refusals)
{
    (void)event_del(refusals->timer);
    (void)mailbox_flush(refusals->mailbox); /* what could not be written counts again */
    write_counts(refusals, true);
}

bool refusals_flush(struct refusals *refusals)
{
    return mailbox_flush(refusals->mailbox);
}

void refusals_free(struct refusals *refusals)
{
    struct flood_count count;
    uint64_t lost = 0;

    if (refusals == NULL) {
        return;
    }
    mailbox_free(refusals->mailbox);
    while (flood_next(refusals->flood, true, clock_boot_ms(), &count)) {
        for (size_t i = 0; i < FLOOD_KINDS; i++) {
            lost += count.kinds[i];
        }
    }
    if (lost > 0) {
        log_error("refusals of unknown clients could not be recorded", "s:I", "count",
                  (json_int_t)lost);
    }
    flood_free(refusals->flood);
    event_free(refusals->timer);
    (void)pthread_mutex_destroy(&refusals->lock);
    free(refusals);
}

/* ---- Refusals ---- */

static const char *known(const char *remote)
{
    return remote != NULL ? remote : "unknown";
}

static struct flood_verdict judge(struct refusals *refusals, const char *remote,
                                  const char *problem, bool bad_key)
{
    struct flood_verdict verdict;

    (void)pthread_mutex_lock(&refusals->lock);
    flood_add(refusals->flood, known(remote), kind_of(problem), bad_key, clock_boot_ms(), &verdict);
    (void)pthread_mutex_unlock(&refusals->lock);
    if (verdict.evicted) {
        write_count(refusals, &verdict.count);
    }
    return verdict;
}

bool refusals_add(struct refusals *refusals, const char *remote, const char *problem)
{
    return judge(refusals, remote, problem, false).record;
}

bool refusals_add_bad_key(struct refusals *refusals, const char *remote,
                          enum refusal_answer *ret_answer)
{
    struct flood_verdict verdict = judge(refusals, remote, UNAUTHENTICATED, true);

    *ret_answer = REFUSAL_AT_ONCE;
    if (verdict.throttle) {
        metrics_add(METRIC_BAD_KEYS_THROTTLED, NULL, NULL, 1);
        if (atomic_fetch_add(&refusals->waiting, 1) < refusals->max_waiting) {
            *ret_answer = REFUSAL_LATER;
        } else {
            refusals_waited(refusals);
            *ret_answer = REFUSAL_AND_CLOSE;
        }
    }
    return verdict.record;
}

void refusals_waited(struct refusals *refusals)
{
    atomic_fetch_sub(&refusals->waiting, 1);
}

void refusals_record(struct refusals *refusals, const char *remote, const char *problem,
                     char *record_take)
{
    struct flood_count one = {.from_ms = clock_boot_ms()};
    struct store_write *write = store_write_new();

    (void)snprintf(one.remote, sizeof(one.remote), "%s", known(remote));
    one.to_ms = one.from_ms;
    one.kinds[kind_of(problem)] = 1;
    store_write_add_record(write, record_take);
    submit(refusals, write, &one);
}
