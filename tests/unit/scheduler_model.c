/* The dispatcher and the upstream of scheduler_model.h. */
#include "scheduler_checks.h"

#include "common/memory.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

enum event_kind { EVENT_ASK, EVENT_ADD, EVENT_CANCEL, EVENT_ANSWER, EVENT_CRASH, EVENT_POKE };

struct event {
    enum event_kind kind;
    int64_t at_ms;
    uint64_t order;
    void *what;
    size_t place;
};

static void trace(const struct sim *sim, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- Random numbers, failing ---- */

uint64_t sim_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

size_t sim_below(struct sim *sim, size_t n)
{
    assert_true(n > 0);
    return n > 0 ? (size_t)(sim_random(&sim->random) % n) : 0;
}

int64_t sim_between(struct sim *sim, int64_t low, int64_t high)
{
    return low + (int64_t)sim_below(sim, (size_t)(high - low) + 1);
}

void sim_fail(const struct sim *sim, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fail_msg("seed %llu at %lld ms: %s (replay: TOLLGATE_SEED=%llu)",
             (unsigned long long)sim->options.seed, (long long)sim->now_ms, text,
             (unsigned long long)sim->options.seed);
    abort();
}

static void trace(const struct sim *sim, const char *format, ...)
{
    va_list args;

    if (sim->options.trace) {
        va_start(args, format);
        (void)printf("%8lld ", (long long)sim->now_ms);
        (void)vprintf(format, args);
        (void)printf("\n");
        va_end(args);
    }
}

/* ---- Events ---- */

static bool happens_before(const void *a, const void *b)
{
    const struct event *one = a;
    const struct event *other = b;

    return one->at_ms != other->at_ms ? one->at_ms < other->at_ms : one->order < other->order;
}

static void plan(struct sim *sim, enum event_kind kind, int64_t at_ms, void *what)
{
    struct event *event = xcalloc(1, sizeof(*event));

    *event = (struct event){.kind = kind, .at_ms = at_ms, .order = ++sim->last_event, .what = what};
    heap_add(&sim->events, event);
}

void sim_plan_cancel(struct sim *sim, int64_t at_ms, struct sim_request *request)
{
    plan(sim, EVENT_CANCEL, at_ms, request);
}

void sim_plan_crash(struct sim *sim, int64_t at_ms)
{
    plan(sim, EVENT_CRASH, at_ms, NULL);
}

void sim_plan_poke(struct sim *sim, int64_t at_ms)
{
    plan(sim, EVENT_POKE, at_ms, NULL);
}

/* ---- Life of a world ---- */

struct sim *sim_new(const struct sim_options *options)
{
    struct sim *sim = xcalloc(1, sizeof(*sim));

    sim->options = *options;
    sim->options.scheduler.teams = sim->options.teams;
    sim->random = options->seed * UINT64_C(0x2545f4914f6cdd1d);
    sim->scheduler = scheduler_new(&sim->options.scheduler);
    sim->last_wake_ms = -1;
    sim->changed = true;
    heap_init(&sim->events, happens_before, offsetof(struct event, place));
    return sim;
}

static void free_request(struct sim_request *request)
{
    for (size_t i = 0; i < request->action.device_count; i++) {
        free(request->action.devices[i].canonical);
    }
    free(request->action.devices);
    json_decref(request->action.params);
    free(request->out);
    free(request);
}

void sim_free(struct sim *sim)
{
    struct event *event;

    while ((event = heap_first(&sim->events)) != NULL) {
        heap_remove(&sim->events, event);
        free(event);
    }
    heap_done(&sim->events);
    for (size_t i = 0; i < sim->request_count; i++) {
        if (sim->requests[i]->state == SIM_QUEUED) {
            scheduler_end(sim->scheduler, &sim->requests[i]->job, sim->now_ms);
        }
    }
    scheduler_free(sim->scheduler);
    for (size_t i = 0; i < sim->call_count; i++) {
        batch_free(sim->calls[i]->batch);
        free(sim->calls[i]);
    }
    for (size_t i = 0; i < sim->request_count; i++) {
        free_request(sim->requests[i]);
    }
    free(sim->calls);
    free(sim->requests);
    free(sim);
}

struct sim_request *sim_plan(struct sim *sim, int64_t at_ms, size_t team,
                             const struct sim_kind *kind, size_t first, size_t count, size_t ring)
{
    struct sim_request *request = xcalloc(1, sizeof(*request));
    struct action *action = &request->action;

    action->type = action_type_find(kind->action);
    action->kind = kind->device_kind;
    action->device_count = count;
    action->devices = xcalloc(count, sizeof(*action->devices));
    action->params = kind->param < 0 ? NULL : json_pack("{s:I}", "exempt_time", kind->param);
    for (size_t i = 0; i < count; i++) {
        action->devices[i].canonical = xasprintf("device-%zu", (first + i) % ring);
        action->devices[i].asked = action->devices[i].canonical;
    }
    request->job.action = action;
    request->job.team = team;
    request->kind = *kind;
    request->out = xcalloc(count, 1);
    request->number = sim->request_count;
    request->not_before_ms = INT64_MIN;
    request->held_up = true;
    request->asked_ms = at_ms;
    request->ended_ms = request->taken_ms = -1;
    sim->requests = xrealloc(sim->requests, sim->request_count + 1, sizeof(struct sim_request *));
    sim->requests[sim->request_count++] = request;
    sim->unended++;
    plan(sim, EVENT_ASK, at_ms, request);
    return request;
}

/* ---- Requests ---- */

static void end_request(struct sim *sim, struct sim_request *request)
{
    request->state = SIM_ENDED;
    request->ended_ms = sim->now_ms;
    request->times_ended++;
    sim->unended--;
    if (sim->options.on_end != NULL) {
        sim->options.on_end(sim, request);
    }
}

static void add_request(struct sim *sim, struct sim_request *request)
{
    if (request->state != SIM_HELD) {
        return; /* a restart came between */
    }
    trace(sim, "request %zu is queued", request->number);
    request->state = SIM_QUEUED;
    request->arrival = ++sim->arrivals;
    scheduler_add(sim->scheduler, &request->job, sim->now_ms);
}

static void ask(struct sim *sim, struct sim_request *request)
{
    const struct scheduler_team *team = &sim->options.teams[request->job.team];
    size_t queued = scheduler_team_depth(sim->scheduler, request->job.team);
    int64_t wait_ms = sim->options.wait_ms;
    int64_t eta_ms;
    enum err err;

    err = scheduler_admit(sim->scheduler, request->job.team, &request->action, wait_ms, sim->now_ms,
                          &eta_ms);
    trace(sim, "request %zu of team %zu: %s(%lld), %zu devices from %s, urgency %lld: %d, eta %lld",
          request->number, request->job.team, request->kind.action, (long long)request->kind.param,
          request->action.device_count, request->action.devices[0].canonical,
          (long long)request->job.priority, (int)err, (long long)eta_ms);
    request->eta_ms = sim->now_ms + eta_ms;
    if (eta_ms < 0) {
        sim_fail(sim, "an estimate of %lld ms", (long long)eta_ms);
    }
    if (err == ERR_FULL || err == ERR_UNAVAILABLE) {
        if (err == ERR_FULL && sim->options.hold_max_ms == 0 && queued < team->queue_limit) {
            sim_fail(sim, "a queue of %zu is full at %zu", team->queue_limit, queued);
        }
        if (err == ERR_UNAVAILABLE && (wait_ms < 0 || eta_ms <= wait_ms)) {
            sim_fail(sim, "refused for a wait of %lld ms", (long long)eta_ms);
        }
        request->refused = true;
        end_request(sim, request);
        return;
    }
    if (queued >= team->queue_limit) {
        sim_fail(sim, "a queue of %zu takes one more", team->queue_limit);
    }
    request->state = SIM_HELD;
    if (sim->options.hold_max_ms == 0) {
        add_request(sim, request);
    } else {
        plan(sim, EVENT_ADD, sim->now_ms + sim_between(sim, 0, sim->options.hold_max_ms), request);
    }
}

static void cancel(struct sim *sim, struct sim_request *request)
{
    if (request->state == SIM_HELD) {
        trace(sim, "request %zu never comes", request->number);
        scheduler_leave(sim->scheduler, request->job.team, &request->action);
        end_request(sim, request);
    } else if (request->state == SIM_QUEUED && request->in_calls == 0) {
        trace(sim, "request %zu is cancelled", request->number);
        if (scheduler_untouched(&request->job) !=
            (memchr(request->out, 1, request->action.device_count) == NULL)) {
            sim_fail(sim, "whether request %zu is untouched is not known", request->number);
        }
        scheduler_end(sim->scheduler, &request->job, sim->now_ms);
        end_request(sim, request);
    }
}

static void end_if_done(struct sim *sim, struct sim_request *request)
{
    if (request->in_calls == 0 && request->job.left == 0) {
        trace(sim, "request %zu ends", request->number);
        scheduler_end(sim->scheduler, &request->job, sim->now_ms);
        end_request(sim, request);
    }
}

/* ---- Calls ---- */

static enum sim_outcome draw_outcome(struct sim *sim)
{
    size_t draw = sim_below(sim, 1000);

    for (size_t i = 0; i < SIM_OUTCOMES; i++) {
        if (draw < sim->options.per_mille[i]) {
            return (enum sim_outcome)i;
        }
        draw -= sim->options.per_mille[i];
    }
    return SIM_OK;
}

static void send_call(struct sim *sim, struct batch *batch)
{
    struct sim_call *call = xcalloc(1, sizeof(*call));
    int64_t timeout_ms = sim->options.scheduler.budget.timeout_ms;
    int64_t latency_ms = sim_between(sim, sim->options.latency_min_ms, sim->options.latency_max_ms);

    *call = (struct sim_call){.batch = batch,
                              .outcome = draw_outcome(sim),
                              .taken_ms = sim->now_ms,
                              .devices = batch->device_count,
                              .free_ms = -1};
    call->until_ms = sim->now_ms + latency_ms;
    call->counted_ms = call->outcome == SIM_NOT_SENT
                           ? -1
                           : sim_between(sim, sim->now_ms, sim->now_ms + latency_ms);
    if (call->outcome == SIM_UNKNOWN) { /* noticed at once, or late; counted as late as can be */
        call->until_ms = sim_between(sim, sim->now_ms, sim->now_ms + timeout_ms);
        call->counted_ms = sim_between(sim, sim->now_ms, call->until_ms);
    }
    for (size_t i = 0; i < batch->part_count; i++) {
        call->shares[batch->parts[i].job->team] += batch->parts[i].share;
        trace(sim, "call %zu takes %zu devices of request %zu", sim->call_count,
              batch->parts[i].count, sim_request_of(batch->parts[i].job)->number);
    }
    sim->parts += batch->part_count;
    sim->calls = xrealloc(sim->calls, sim->call_count + 1, sizeof(struct sim_call *));
    sim->calls[sim->call_count++] = call;
    plan(sim, EVENT_ANSWER, sim->now_ms + latency_ms, call);
}

static void account(struct sim *sim, struct sim_call *call)
{
    struct batch *batch = call->batch;

    if (call->outcome == SIM_NOT_SENT) {
        scheduler_give_back(sim->scheduler, batch, sim->now_ms);
        call->forgotten = true;
    } else if (call->outcome == SIM_UNKNOWN) {
        scheduler_unanswered(sim->scheduler, batch, call->until_ms, sim->now_ms);
        call->free_ms = call->until_ms + sim->options.scheduler.budget.window_ms;
    } else {
        if (sim_below(sim, 1000) < sim->options.foreign_per_mille) {
            int64_t left = sim_between(sim, 0, (int64_t)sim->options.scheduler.budget.requests);
            size_t taken = scheduler_learn(sim->scheduler, batch, left, sim->now_ms);
            trace(sim, "the upstream says %lld are left: %zu slots taken out", (long long)left,
                  taken);
            for (; taken > 0; taken--) { /* in the book as calls that are answered now */
                struct sim_call *foreign = xcalloc(1, sizeof(*foreign));
                foreign->counted_ms = -1;
                foreign->taken_ms = sim->now_ms;
                foreign->free_ms = sim->now_ms + sim->options.scheduler.budget.window_ms;
                sim->calls = xrealloc(sim->calls, sim->call_count + 1, sizeof(struct sim_call *));
                sim->calls[sim->call_count++] = foreign;
            }
        }
        scheduler_answered(sim->scheduler, batch, sim->now_ms);
        call->free_ms = sim->now_ms + sim->options.scheduler.budget.window_ms;
    }
}

static void put_back(struct sim *sim, const struct batch_part *part, int64_t not_before_ms,
                     bool alone)
{
    struct sim_request *request = sim_request_of(part->job);

    for (size_t i = 0; i < part->count; i++) {
        request->out[part->devices[i]] = 0;
    }
    request->not_before_ms = not_before_ms;
    request->held_up = true;
    scheduler_back(sim->scheduler, part, not_before_ms, alone, sim->now_ms);
}

static void settle_part(struct sim *sim, struct sim_call *call, const struct batch_part *part)
{
    struct sim_request *request = sim_request_of(part->job);
    bool shared = call->batch->part_count > 1;

    request->in_calls--;
    if (call->outcome == SIM_REJECTED && shared) {
        put_back(sim, part, INT64_MIN, true);
    } else if (call->outcome == SIM_LOCKED || call->outcome == SIM_LIMITED) {
        put_back(sim, part, INT64_MIN, false);
    } else if (call->outcome == SIM_NOT_SENT) {
        put_back(sim, part, sim->now_ms + sim_between(sim, 0, 5000), false);
    }
    end_if_done(sim, request);
}

static void answer(struct sim *sim, struct sim_call *call)
{
    if (call->batch == NULL) {
        return; /* lost in a restart */
    }
    trace(sim, "a call of %lld ms ends: %d", (long long)call->taken_ms, (int)call->outcome);
    account(sim, call);
    if (call->outcome == SIM_LIMITED) {
        int64_t until_ms = sim->now_ms + sim_between(sim, 0, 20000);
        sim->paused_ms = until_ms > sim->paused_ms ? until_ms : sim->paused_ms;
        scheduler_pause(sim->scheduler, until_ms);
    }
    for (size_t i = 0; i < call->batch->part_count; i++) {
        settle_part(sim, call, &call->batch->parts[i]);
    }
    batch_free(TAKE(call->batch));
}

/* ---- Restart ---- */

/* What was not in the book is gone; what was under way is unknown, and does not go again. */
static void lose_memory(struct sim *sim)
{
    for (size_t i = 0; i < sim->call_count; i++) {
        batch_free(TAKE(sim->calls[i]->batch));
    }
    for (size_t i = 0; i < sim->request_count; i++) {
        struct sim_request *request = sim->requests[i];
        if (request->state == SIM_QUEUED) {
            bool over = request->job.left == 0;
            scheduler_end(sim->scheduler, &request->job, sim->now_ms);
            request->in_calls = 0;
            if (over) {
                end_request(sim, request);
            }
        } else if (request->state == SIM_HELD) {
            scheduler_leave(sim->scheduler, request->job.team, &request->action);
            end_request(sim, request);
        }
    }
    scheduler_free(sim->scheduler);
}

static int by_arrival(const void *a, const void *b)
{
    const struct sim_request *one = *(struct sim_request *const *)a;
    const struct sim_request *other = *(struct sim_request *const *)b;

    return (one->arrival > other->arrival) - (one->arrival < other->arrival);
}

static void restore_jobs(struct sim *sim)
{
    CLEANUP(cleanup_free)
    struct sim_request **waiting = xcalloc(sim->request_count + 1, sizeof(struct sim_request *));
    size_t count = 0;

    for (size_t i = 0; i < sim->request_count; i++) {
        if (sim->requests[i]->state == SIM_QUEUED) {
            waiting[count++] = sim->requests[i];
        }
    }
    qsort(waiting, count, sizeof(struct sim_request *), by_arrival);
    for (size_t i = 0; i < count; i++) {
        struct sim_request *request = waiting[i];
        struct job job = {.action = &request->action,
                          .team = request->job.team,
                          .priority = request->job.priority};
        job.given = xcalloc(request->action.device_count, sizeof(*job.given));
        memcpy(job.given, request->out, request->action.device_count * sizeof(*job.given));
        request->job = job;
        request->not_before_ms = INT64_MIN;
        request->held_up = true;
        scheduler_restore_job(sim->scheduler, &request->job, sim->now_ms);
    }
}

static void crash(struct sim *sim)
{
    int64_t timeout_ms = sim->options.scheduler.budget.timeout_ms;
    int64_t window_ms = sim->options.scheduler.budget.window_ms;

    trace(sim, "crash");
    lose_memory(sim);
    sim->scheduler = scheduler_new(&sim->options.scheduler);
    scheduler_pause(sim->scheduler, sim->paused_ms);
    for (size_t i = 0; i < sim->call_count; i++) {
        struct sim_call *call = sim->calls[i];
        if (call->forgotten) {
            continue;
        }
        call->free_ms = call->free_ms < 0 ? call->taken_ms + timeout_ms + window_ms : call->free_ms;
        scheduler_restore_call(sim->scheduler, call->free_ms - window_ms - timeout_ms, -1,
                               sim->now_ms);
        for (size_t t = 0; t < sim->options.scheduler.team_count; t++) {
            scheduler_restore_share(sim->scheduler, t, call->shares[t], call->free_ms, sim->now_ms);
        }
    }
    restore_jobs(sim);
}

/* ---- Time ---- */

static void happen(struct sim *sim, struct event *event)
{
    sim->changed = sim->changed || event->kind != EVENT_POKE;
    switch (event->kind) {
    case EVENT_ASK:
        ask(sim, event->what);
        break;
    case EVENT_ADD:
        add_request(sim, event->what);
        break;
    case EVENT_CANCEL:
        cancel(sim, event->what);
        break;
    case EVENT_ANSWER:
        answer(sim, event->what);
        break;
    case EVENT_CRASH:
        crash(sim);
        break;
    case EVENT_POKE:
        if (sim->options.check) {
            sim_check_told(sim);
        }
        break;
    }
    free(event);
}

static void drain(struct sim *sim)
{
    int64_t used[SIM_TEAMS] = {0};
    struct batch *batch;
    int64_t wake_ms;
    size_t held;

    while ((batch = scheduler_next(sim->scheduler, sim->now_ms)) != NULL) {
        if (!sim->changed && (sim->last_wake_ms < 0 || sim->now_ms < sim->last_wake_ms)) {
            sim_fail(sim, "a call goes before the wake time %lld", (long long)sim->last_wake_ms);
        }
        sim->changed = true;
        sim_check_turn(sim, batch);
        sim_check_batch(sim, batch);
        send_call(sim, batch);
    }
    while (sim->first_call < sim->call_count &&
           (sim->calls[sim->first_call]->forgotten ||
            (sim->calls[sim->first_call]->free_ms >= 0 &&
             sim->calls[sim->first_call]->free_ms <= sim->now_ms))) {
        sim->first_call++;
    }
    held = sim_slots_held(sim, used);
    if (held < sim->options.scheduler.budget.requests &&
        budget_free_slots(scheduler_budget(sim->scheduler), sim->now_ms) !=
            sim->options.scheduler.budget.requests - held) {
        sim_fail(sim, "%zu slots are held, the book says otherwise", held);
    }
    for (size_t i = 0; i < sim->options.scheduler.team_count; i++) {
        if (scheduler_team_used(sim->scheduler, i, sim->now_ms) != used[i]) {
            sim_fail(sim, "team %zu uses %lld, not %lld", i, (long long)used[i],
                     (long long)scheduler_team_used(sim->scheduler, i, sim->now_ms));
        }
    }
    if (sim->options.check) {
        sim_check_idle(sim);
    }
    wake_ms = scheduler_wake_ms(sim->scheduler, sim->now_ms);
    if (wake_ms >= 0 && wake_ms <= sim->now_ms) {
        sim_fail(sim, "wakes at %lld for nothing", (long long)wake_ms);
    }
    sim->last_wake_ms = wake_ms;
    sim->changed = false;
}

void sim_run(struct sim *sim, int64_t until_ms)
{
    struct event *event;

    for (;;) {
        int64_t next_ms = sim->last_wake_ms;
        event = heap_first(&sim->events);
        if (event != NULL && (next_ms < 0 || event->at_ms < next_ms)) {
            next_ms = event->at_ms;
        }
        if (next_ms < 0 || next_ms > until_ms) {
            break;
        }
        sim->now_ms = next_ms;
        while ((event = heap_first(&sim->events)) != NULL && event->at_ms <= sim->now_ms) {
            heap_remove(&sim->events, event);
            happen(sim, event);
        }
        drain(sim);
    }
}
