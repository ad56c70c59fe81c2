/* Overload: see overload.h. */
#include "gateway/overload.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "gateway/metrics.h"

#include <pthread.h>
#include <stdlib.h>

#define MAX_RETRY_AFTER_S 3

struct overload {
    pthread_mutex_t lock;
    struct gate *gate; /* under lock, as all below */
    bool logged;       /* that it began */
    uint64_t refused;  /* since then */
};

struct overload *overload_new(void)
{
    struct overload *overload = xcalloc(1, sizeof(*overload));

    (void)pthread_mutex_init(&overload->lock, NULL);
    overload->gate = gate_new();
    return overload;
}

void overload_free(struct overload *overload)
{
    if (overload != NULL) {
        gate_free(overload->gate);
        (void)pthread_mutex_destroy(&overload->lock);
        free(overload);
    }
}

/* FNV-1a (Fowler, Noll, Vo). */
static size_t party_of(const char *team)
{
    uint32_t hash = 2166136261U;

    for (; *team != '\0'; team++) {
        hash = (hash ^ (uint8_t)*team) * 16777619U;
    }
    return hash;
}

static void log_refusing(size_t limit, int64_t least_us)
{
    log_warning("overloaded: action calls are refused", "s:I, s:I", "limit", (json_int_t)limit,
                "unloaded_us", (json_int_t)least_us);
}

bool overload_enter(struct overload *overload, const char *team, struct gate_pass *ret_pass,
                    int64_t *ret_retry_after_s)
{
    bool entered;
    bool begins;
    uint64_t over = 0;
    size_t limit;
    int64_t least_us;

    (void)pthread_mutex_lock(&overload->lock);
    entered = gate_enter(overload->gate, party_of(team), clock_boot_us(), ret_pass);
    limit = gate_limit(overload->gate);
    least_us = gate_least_us(overload->gate);
    begins = !entered && !overload->logged;
    overload->logged = overload->logged || begins;
    overload->refused += entered ? 0 : 1;
    *ret_retry_after_s = 1 + (int64_t)(overload->refused % MAX_RETRY_AFTER_S);
    if (entered && overload->logged && limit == GATE_MOST) {
        over = overload->refused;
        overload->logged = false;
        overload->refused = 0;
    }
    (void)pthread_mutex_unlock(&overload->lock);
    if (!entered) {
        metrics_add(METRIC_OVERLOAD_REFUSED, NULL, NULL, 1);
    }
    if (begins) {
        log_refusing(limit, least_us);
    }
    if (over > 0) {
        log_info("the overload is over", "s:I, s:I", "refused", (json_int_t)over, "unloaded_us",
                 (json_int_t)least_us);
    }
    return entered;
}

void overload_leave(struct overload *overload, struct gate_pass *pass)
{
    (void)pthread_mutex_lock(&overload->lock);
    gate_leave(overload->gate, pass, clock_boot_us());
    (void)pthread_mutex_unlock(&overload->lock);
}
