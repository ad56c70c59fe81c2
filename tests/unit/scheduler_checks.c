/* What must always hold in a world of scheduler_model.h:
 * - calls: whole, of one kind, each device once and mapped to the right place, within max_devices
 * - requests: each device is given once unless put back; each request ends once
 * - order: of requests that contradict each other for a device, the later one is not given out
 *   before the earlier one has ended
 * - positions are what one would count
 * - no request that could go waits longer than company is waited for
 * - the wake time: nothing can go before it unless something happens, and it lies ahead */
#include "scheduler_checks.h"

#include "common/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

struct sim_request *sim_request_of(const struct job *job)
{
    return (struct sim_request *)(void *)((char *)(uintptr_t)job -
                                          offsetof(struct sim_request, job));
}

static bool same_kind(const struct sim_request *a, const struct sim_request *b)
{
    return strcmp(a->kind.action, b->kind.action) == 0 && a->kind.param == b->kind.param &&
           a->kind.device_kind == b->kind.device_kind;
}

static bool contradict(const struct sim_request *a, const struct sim_request *b)
{
    if (same_kind(a, b) || a->kind.device_kind != b->kind.device_kind) {
        return false;
    }
    for (size_t i = 0; i < a->action.device_count; i++) {
        for (size_t j = 0; j < b->action.device_count; j++) {
            if (strcmp(a->action.devices[i].canonical, b->action.devices[j].canonical) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* A request that must end before this one may go; NULL: none. */
static const struct sim_request *blocker(const struct sim *sim, const struct sim_request *request)
{
    for (size_t i = 0; i < sim->request_count; i++) {
        const struct sim_request *other = sim->requests[i];
        if (other->state == SIM_QUEUED && other->arrival < request->arrival &&
            contradict(other, request)) {
            return other;
        }
    }
    return NULL;
}

static void check_part(struct sim *sim, const struct batch *batch, const struct batch_part *part,
                       bool *used)
{
    struct sim_request *request = sim_request_of(part->job);
    const struct action *action = &request->action;
    const struct sim_request *other;

    if (request->state != SIM_QUEUED) {
        sim_fail(sim, "request %zu is given and is not queued", request->number);
    }
    if (request->not_before_ms > sim->now_ms) {
        sim_fail(sim, "request %zu is given too early", request->number);
    }
    if (!same_kind(request, sim_request_of(batch->parts[0].job)) ||
        (part->job->alone && batch->part_count > 1)) {
        sim_fail(sim, "request %zu is in a call where it does not belong", request->number);
    }
    if (sim->options.check && (other = blocker(sim, request)) != NULL) {
        sim_fail(sim, "request %zu overtakes %zu", request->number, other->number);
    }
    for (size_t i = 0; i < part->count; i++) {
        size_t device = part->devices[i];
        if (device >= action->device_count || request->out[device]) {
            sim_fail(sim, "device %zu of request %zu is given twice", device, request->number);
        }
        if (part->places[i] >= batch->device_count ||
            strcmp(batch->devices[part->places[i]], action->devices[device].canonical) != 0) {
            sim_fail(sim, "device %zu of request %zu is mapped wrongly", device, request->number);
        }
        request->out[device] = 1;
        used[part->places[i]] = true;
    }
    request->in_calls++;
    request->taken_ms = sim->now_ms;
}

void sim_check_batch(struct sim *sim, const struct batch *batch)
{
    CLEANUP(cleanup_free) bool *used = xcalloc(batch->device_count + 1, sizeof(*used));
    int64_t shares = 0;

    if (batch->part_count == 0 || batch->device_count == 0 ||
        batch->device_count > sim->options.scheduler.max_devices) {
        sim_fail(sim, "a call of %zu devices, %zu parts", batch->device_count, batch->part_count);
    }
    for (size_t i = 0; i < batch->part_count; i++) {
        if (batch->parts[i].count == 0 || batch->parts[i].share < 0) {
            sim_fail(sim, "a part of nothing");
        }
        for (size_t j = 0; sim->options.check && j < i; j++) {
            if (batch->parts[i].job == batch->parts[j].job) {
                sim_fail(sim, "a request is in a call twice");
            }
        }
        check_part(sim, batch, &batch->parts[i], used);
        shares += batch->parts[i].share;
    }
    for (size_t i = 0; i < batch->device_count; i++) {
        if (!used[i]) {
            sim_fail(sim, "device %s is nobody's", batch->devices[i]);
        }
        for (size_t j = 0; sim->options.check && j < i; j++) {
            if (strcmp(batch->devices[i], batch->devices[j]) == 0) {
                sim_fail(sim, "device %s is in a call twice", batch->devices[i]);
            }
        }
    }
    if (shares != SCHEDULER_SHARE) {
        sim_fail(sim, "shares of a call add up to %lld", (long long)shares);
    }
}

/* The book kept apart: slots held now, and what each team holds. */
size_t sim_slots_held(const struct sim *sim, int64_t *used)
{
    size_t held = 0;

    for (size_t i = sim->first_call; i < sim->call_count; i++) {
        const struct sim_call *call = sim->calls[i];
        if (call->forgotten || (call->free_ms >= 0 && call->free_ms <= sim->now_ms)) {
            continue;
        }
        held++;
        for (size_t t = 0; t < SIM_TEAMS; t++) {
            used[t] += call->shares[t];
        }
    }
    return held;
}

static bool eligible(const struct sim *sim, const int64_t *used, size_t team, size_t free_slots)
{
    int64_t kept = 0;

    for (size_t i = 0; i < sim->options.scheduler.team_count; i++) {
        int64_t unmet = sim->options.teams[i].reserved * SCHEDULER_SHARE - used[i];
        kept += i != team && unmet > 0 ? unmet : 0;
    }
    return used[team] + SCHEDULER_SHARE <= sim->options.teams[team].max * SCHEDULER_SHARE &&
           (int64_t)free_slots * SCHEDULER_SHARE - kept >= SCHEDULER_SHARE;
}

void sim_check_turn(struct sim *sim, const struct batch *batch)
{
    size_t requests = sim->options.scheduler.budget.requests;
    int64_t used[SIM_TEAMS] = {0};
    size_t held = sim_slots_held(sim, used);

    if (held >= requests || sim->now_ms < sim->paused_ms) {
        sim_fail(sim, "a call is given, and no slot is free");
    }
    if (!eligible(sim, used, batch->parts[0].job->team, requests - held)) {
        sim_fail(sim, "team %zu begins a call over its maximum, or in slots kept for others",
                 batch->parts[0].job->team);
    }
    for (size_t i = 1; i < batch->part_count; i++) {
        size_t team = batch->parts[i].job->team;
        if (used[team] >= sim->options.teams[team].max * SCHEDULER_SHARE) {
            sim_fail(sim, "team %zu takes part over its maximum", team);
        }
    }
}

/* When a request of that kind last went. */
static int64_t last_of_kind(const struct sim *sim, const struct sim_request *request)
{
    int64_t last_ms = -1;

    for (size_t i = 0; i < sim->request_count; i++) {
        if (sim->requests[i]->taken_ms > last_ms && same_kind(sim->requests[i], request)) {
            last_ms = sim->requests[i]->taken_ms;
        }
    }
    return last_ms;
}

/* Nothing can go now: then no request that could has waited longer than for company. */
void sim_check_idle(struct sim *sim)
{
    const struct scheduler_options *options = &sim->options.scheduler;
    int64_t latency_ms = sim->options.latency_max_ms > 500 ? sim->options.latency_max_ms : 500;
    int64_t pace_ms =
        (options->budget.window_ms + latency_ms) / (int64_t)options->budget.requests + 1;
    int64_t paced_ms = pace_ms * 23 / 10 + 1; /* a pace after it was due, 1.3 after the last */
    int64_t bound_ms = options->linger_ms > paced_ms ? options->linger_ms : paced_ms;
    int64_t used[SIM_TEAMS] = {0};
    size_t held = sim_slots_held(sim, used);
    bool idle = held < options->budget.requests && sim->now_ms >= sim->paused_ms;

    for (size_t i = 0; i < sim->request_count; i++) {
        struct sim_request *request = sim->requests[i];
        int64_t since_ms;
        if (request->state != SIM_QUEUED || request->job.left == 0 ||
            request->not_before_ms > sim->now_ms || blocker(sim, request) != NULL) {
            request->held_up = true;
            continue;
        }
        if (request->held_up) {
            request->held_up = false;
            request->ready_ms = sim->now_ms;
        }
        since_ms = last_of_kind(sim, request);
        since_ms = since_ms > request->ready_ms ? since_ms : request->ready_ms;
        if (idle && sim->now_ms - since_ms > (options->linger_ms == 0 ? 0 : bound_ms) &&
            eligible(sim, used, request->job.team, options->budget.requests - held)) {
            sim_fail(sim, "request %zu waits since %lld ms, and %zu slots are free",
                     request->number, (long long)since_ms, options->budget.requests - held);
        }
    }
}

void sim_check_told(struct sim *sim)
{
    for (size_t i = 0; i < sim->request_count; i++) {
        const struct sim_request *request = sim->requests[i];
        size_t before = 0;
        if (request->state != SIM_QUEUED) {
            continue;
        }
        if (sim->now_ms % 4 == 0 && /* it is dear */
            scheduler_eta_ms(sim->scheduler, &request->job, sim->now_ms) < 0) {
            sim_fail(sim, "request %zu was to be answered in the past", request->number);
        }
        for (size_t k = 0; k < sim->request_count; k++) {
            const struct sim_request *other = sim->requests[k];
            bool first = other->job.priority != request->job.priority
                             ? other->job.priority < request->job.priority
                             : other->arrival < request->arrival;
            before += other->state == SIM_QUEUED && other->job.left > 0 &&
                              other->job.team == request->job.team && first
                          ? 1
                          : 0;
        }
        if (scheduler_position(sim->scheduler, &request->job) != before) {
            sim_fail(sim, "request %zu is told of %zu before it, not %zu", request->number,
                     scheduler_position(sim->scheduler, &request->job), before);
        }
    }
}

/* ---- The limit ---- */

static int compare_ms(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;

    return (left > right) - (left < right);
}

static void check_bucket(const struct sim *sim, const int64_t *times, size_t count)
{
    double full = (double)sim->options.scheduler.budget.requests;
    double tokens = full;

    for (size_t i = 0; i < count; i++) {
        int64_t passed = i > 0 ? times[i] - times[i - 1] : 0;
        tokens += (double)passed * full / (double)sim->options.scheduler.budget.window_ms;
        tokens = (tokens > full ? full : tokens) - 1;
        if (tokens < -1e-6) {
            sim_fail(sim, "a token bucket refuses the call of %lld ms", (long long)times[i]);
        }
    }
}

static void check_fixed(const struct sim *sim, const int64_t *times, size_t count, int64_t phase_ms)
{
    int64_t window_ms = sim->options.scheduler.budget.window_ms;
    size_t in_window = 0;
    int64_t window = -1;

    for (size_t i = 0; i < count; i++) {
        in_window = (times[i] + phase_ms) / window_ms == window ? in_window + 1 : 1;
        window = (times[i] + phase_ms) / window_ms;
        if (in_window > sim->options.scheduler.budget.requests) {
            sim_fail(sim, "a fixed window refuses the call of %lld ms", (long long)times[i]);
        }
    }
}

size_t sim_check_limit(const struct sim *sim)
{
    int64_t window_ms = sim->options.scheduler.budget.window_ms;
    CLEANUP(cleanup_free) int64_t *times = xcalloc(sim->call_count + 1, sizeof(*times));
    size_t count = 0;
    size_t most = 0;

    for (size_t i = 0; i < sim->call_count; i++) {
        if (sim->calls[i]->counted_ms >= 0) {
            times[count++] = sim->calls[i]->counted_ms;
        }
    }
    qsort(times, count, sizeof(*times), compare_ms);
    for (size_t i = 0, from = 0; i < count; i++) {
        while (times[i] - times[from] >= window_ms) {
            from++;
        }
        most = i - from + 1 > most ? i - from + 1 : most;
    }
    if (most > sim->options.scheduler.budget.requests) {
        sim_fail(sim, "%zu calls in a sliding window", most);
    }
    check_bucket(sim, times, count);
    for (int64_t phase = 0; phase < 5; phase++) {
        check_fixed(sim, times, count, phase * window_ms / 5);
    }
    return most;
}
