/* What the scheduler promises, measured in virtual time with ten calls a minute: bursts, steady
 * streams, saturation, fairness, estimates. Each test prints what it measured. */
#include "scheduler_model.h"

#include "common/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

#define REQUESTS  10
#define WINDOW_MS 60000
#define SLOT_MS   (WINDOW_MS / REQUESTS)
#define MIX_SEEDS 20

static const struct sim_kind exempt = {"exempt", 24, DEVICE_ID};

static struct sim_options options_of(size_t teams, size_t max_devices, uint64_t seed)
{
    struct sim_options options = {
        .scheduler = {.budget = {.requests = REQUESTS, .window_ms = WINDOW_MS, .timeout_ms = 30000},
                      .max_devices = max_devices,
                      .linger_ms = 1000,
                      .team_count = teams},
        .seed = seed,
        .latency_min_ms = 50,
        .latency_max_ms = 50,
        .wait_ms = -1,
    };

    for (size_t i = 0; i < teams; i++) {
        options.teams[i] =
            (struct scheduler_team){.weight = 1, .max = REQUESTS, .queue_limit = 100000};
    }
    return options;
}

/* Only with time to spare: what is reported and not promised. */
static bool is_soak(void)
{
    return getenv("TOLLGATE_SEEDS") != NULL;
}

static int compare_ms(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;

    return (left > right) - (left < right);
}

/* Of the waits from being asked to the answer: the share-th of 1000. */
static int64_t wait_quantile(const struct sim *sim, size_t team, size_t share)
{
    CLEANUP(cleanup_free) int64_t *waits = xcalloc(sim->request_count + 1, sizeof(*waits));
    size_t count = 0;

    for (size_t i = 0; i < sim->request_count; i++) {
        const struct sim_request *request = sim->requests[i];
        if (request->state == SIM_ENDED && !request->refused &&
            (team == SIZE_MAX || request->job.team == team)) {
            waits[count++] = request->ended_ms - request->asked_ms;
        }
    }
    qsort(waits, count, sizeof(*waits), compare_ms);
    return count > 0 ? waits[(count - 1) * share / 1000] : 0;
}

static struct sim_kind kind_of_its_own(size_t number)
{
    return (struct sim_kind){"exempt", (int64_t)(number % 60000), DEVICE_ID};
}

static size_t calls_of(const struct sim *sim, size_t team)
{
    size_t count = 0;

    for (size_t i = 0; i < sim->call_count; i++) {
        count += sim->calls[i]->shares[team] > 0 ? 1 : 0;
    }
    return count;
}

/* ---- Merging ---- */

/* But for a look around of 10 ms. */
static void test_a_lone_request_goes_at_once(void **state)
{
    struct sim_options options = options_of(2, 100, 1);
    struct sim *sim = sim_new(&options);
    struct sim_request *request = sim_plan(sim, 5000, 0, &exempt, 0, 1, 10);

    (void)state;
    sim_run(sim, INT64_MAX);
    assert_int_equal(request->taken_ms, 5010);
    sim_free(sim);
}

static void run_burst(size_t max_devices, int64_t hold_ms, int64_t latency_ms, uint64_t seed)
{
    struct sim_options options = options_of(5, max_devices, seed);
    struct sim *sim;

    options.latency_max_ms = latency_ms;
    options.hold_max_ms = hold_ms;
    sim = sim_new(&options);
    for (size_t i = 0; i < 1000; i++) {
        int64_t at_ms = seed == 1 ? (int64_t)i : sim_between(sim, 0, 1000);
        (void)sim_plan(sim, at_ms, i % 5, &exempt, i, 1, 1000);
    }
    sim_run(sim, INT64_MAX);
    print_message("burst, %zu devices in a call: %zu calls, median %lld ms, longest %lld ms\n",
                  max_devices, sim->call_count, (long long)wait_quantile(sim, SIZE_MAX, 500),
                  (long long)wait_quantile(sim, SIZE_MAX, 1000));
    assert_true(sim->call_count <= 10);
    assert_true(wait_quantile(sim, SIZE_MAX, 1000) < 9000);
    sim_free(sim);
}

static void test_a_burst_of_a_thousand(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        run_burst(200, 0, seed == 1 ? 50 : 500, seed);
    }
}

/* Ten calls of a hundred devices are just enough: none may leave with a seat free, not even the
 * first. */
static void test_a_burst_that_fills_every_call(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        run_burst(100, (int64_t)seed % 3, seed == 1 ? 50 : 500, seed);
    }
}

/* Returns the median wait. */
static int64_t run_stream(const char *name, bool even, size_t count, int64_t latency_ms,
                          uint64_t seed)
{
    struct sim_options options = options_of(5, 100, seed);
    struct sim *sim;
    int64_t median;
    size_t most;

    options.latency_min_ms = options.latency_max_ms = latency_ms;
    sim = sim_new(&options);
    for (size_t i = 0; i < count; i++) {
        int64_t at_ms =
            even ? (int64_t)(i * 600000 / count) : sim_between(sim, 0, (int64_t)600000 - 1);
        (void)sim_plan(sim, at_ms, i % 5, &exempt, i, 1, 1000);
    }
    sim_run(sim, INT64_MAX);
    most = sim_check_limit(sim);
    print_message("%s of %zu in ten minutes, latency %lld ms: %zu calls, most in a minute %zu, "
                  "median %lld ms, 90 %% %lld ms, longest %lld ms\n",
                  name, count, (long long)latency_ms, sim->call_count, most,
                  (long long)wait_quantile(sim, SIZE_MAX, 500),
                  (long long)wait_quantile(sim, SIZE_MAX, 900),
                  (long long)wait_quantile(sim, SIZE_MAX, 1000));
    assert_true(most <= REQUESTS);
    median = wait_quantile(sim, SIZE_MAX, 500);
    sim_free(sim);
    return median;
}

static void test_a_steady_stream(void **state)
{
    static const int64_t latencies[] = {5, 20, 50, 200, 500};
    static const size_t counts[] = {50, 100, 150, 200, 300, 1000, 10000};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(latencies); i++) {
        /* Ten calls a minute carry at most five requests each that waited less than 3 s: half. */
        assert_true(run_stream("even stream", true, 1000, latencies[i], 1) <
                    3100 + 2 * latencies[i]);
    }
    for (uint64_t seed = 1; seed <= 4; seed++) {
        assert_true(run_stream("random stream", false, 1000, 50, seed) < 3000);
    }
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        (void)run_stream("random stream", false, counts[i], 50, 1);
    }
}

/* ---- Scripts that ask again when they were answered ---- */

static void ask_again(struct sim *sim, struct sim_request *request)
{
    size_t *left = sim->options.arg;

    if (*left > 0) {
        (*left)--;
        (void)sim_plan(sim, sim->now_ms + 5, request->job.team, &exempt, sim->request_count, 1,
                       1000);
    }
}

static void test_scripts_in_sequence(void **state)
{
    static const size_t scripts[] = {1, 2, 3, 5, 20};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        size_t left = 9 * scripts[i];
        struct sim_options options = options_of(5, 100, 1);
        struct sim *sim;
        options.on_end = ask_again;
        options.arg = &left;
        sim = sim_new(&options);
        for (size_t k = 0; k < scripts[i]; k++) {
            (void)sim_plan(sim, (int64_t)k * 37, k % 5, &exempt, k, 1, 1000);
        }
        sim_run(sim, INT64_MAX);
        print_message("%zu scripts of ten requests: %zu calls, median %lld ms, longest %lld, all "
                      "after %lld ms\n",
                      scripts[i], sim->call_count, (long long)wait_quantile(sim, SIZE_MAX, 500),
                      (long long)wait_quantile(sim, SIZE_MAX, 1000), (long long)sim->now_ms);
        assert_true(wait_quantile(sim, SIZE_MAX, 500) < 1000);
        sim_free(sim);
    }
}

/* ---- Saturation ---- */

static void test_slots_are_used(void **state)
{
    struct sim_options options = options_of(3, 100, 7);
    struct sim *sim;
    size_t done = 0;
    double ideal;

    (void)state;
    options.latency_max_ms = 1500;
    sim = sim_new(&options);
    for (size_t i = 0; i < 300; i++) {
        struct sim_kind kind = kind_of_its_own(i);
        (void)sim_plan(sim, 0, i % 3, &kind, i, 1, 1000);
    }
    sim_run(sim, (int64_t)10 * (WINDOW_MS + 1500));
    for (size_t i = 0; i < sim->call_count; i++) {
        done += sim->calls[i]->taken_ms < (int64_t)10 * WINDOW_MS ? 1 : 0;
    }
    /* A slot is used again a window after its answer: ten windows of ten. */
    ideal = 0;
    for (size_t i = 0; i < REQUESTS; i++) {
        ideal += 10.0 * WINDOW_MS / (WINDOW_MS + 775.0);
    }
    print_message("saturated: %zu calls in ten windows, ideal %.1f with these latencies\n", done,
                  ideal);
    assert_true((double)done >= 0.98 * ideal);
    (void)sim_check_limit(sim);
    sim_free(sim);
}

static void refill(struct sim *sim, struct sim_request *request)
{
    struct sim_kind kind = kind_of_its_own(sim->request_count);

    if (request->job.team < 2 && sim->now_ms < (int64_t)40 * WINDOW_MS) {
        (void)sim_plan(sim, sim->now_ms, request->job.team, &kind, sim->request_count, 1, 100000);
    }
}

static void test_weights_are_kept(void **state)
{
    struct sim_options options = options_of(3, 100, 3);
    struct sim *sim;
    double ratio;

    (void)state;
    options.teams[0].weight = 3;
    options.latency_max_ms = 1500;
    options.on_end = refill;
    sim = sim_new(&options);
    for (size_t i = 0; i < 80; i++) {
        struct sim_kind kind = kind_of_its_own(i);
        (void)sim_plan(sim, 0, i % 2, &kind, i, 1, 100000);
    }
    for (size_t i = 0; i < 10; i++) { /* a light third team */
        struct sim_kind kind = kind_of_its_own(50000 + i);
        (void)sim_plan(sim, 90000 + (int64_t)i * 170777, 2, &kind, 99000 + i, 1, 100000);
    }
    sim_run(sim, (int64_t)40 * WINDOW_MS);
    ratio = (double)calls_of(sim, 0) / (double)calls_of(sim, 1);
    print_message("weights 3 and 1: %zu and %zu calls, %.3f; a light third team waits %lld ms at "
                  "most\n",
                  calls_of(sim, 0), calls_of(sim, 1), ratio,
                  (long long)wait_quantile(sim, 2, 1000));
    assert_true(fabs(ratio - 3) < 0.15);
    for (size_t i = 0; i < sim->request_count; i++) { /* at most one call more goes before it */
        const struct sim_request *request = sim->requests[i];
        size_t before = 0;
        for (size_t k = 0; request->job.team == 2 && k < sim->call_count; k++) {
            before += sim->calls[k]->taken_ms >= request->asked_ms &&
                              sim->calls[k]->taken_ms < request->taken_ms
                          ? 1
                          : 0;
        }
        assert_true(before <= 1);
    }
    sim_free(sim);
}

/* Whether a team had a request waiting just before that call and has one after it. */
static bool has_work(const struct sim *sim, size_t team, int64_t now_ms)
{
    for (size_t i = 0; i < sim->request_count; i++) {
        const struct sim_request *request = sim->requests[i];
        if (request->job.team == team && request->asked_ms < now_ms && request->taken_ms > now_ms) {
            return true;
        }
    }
    return false;
}

/* How far two teams' calls per weight drift apart while both have work, at most. */
static double unfairness(const struct sim *sim, size_t a, size_t b)
{
    double drift = 0;
    double low = 0;
    double high = 0;
    double worst = 0;

    for (size_t i = 0; i < sim->call_count; i++) {
        const struct sim_call *call = sim->calls[i];
        bool again = i + 1 < sim->call_count && sim->calls[i + 1]->taken_ms == call->taken_ms;
        drift += call->shares[a] > 0 ? 1.0 / (double)sim->options.teams[a].weight : 0;
        drift -= call->shares[b] > 0 ? 1.0 / (double)sim->options.teams[b].weight : 0;
        if (again) {
            continue; /* of one instant: looked at together */
        }
        if (!has_work(sim, a, call->taken_ms) || !has_work(sim, b, call->taken_ms)) {
            drift = low = high = 0;
        }
        low = drift < low ? drift : low;
        high = drift > high ? drift : high;
        worst = high - low > worst ? high - low : worst;
    }
    return worst;
}

/* Incompatible requests of teams that come and go: while two both have work, their calls per
 * weight differ by no more than a call of each. */
static void test_shares_are_fair(void **state)
{
    double worst = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct sim_options options = options_of(4, 100, seed);
        struct sim *sim;
        options.scheduler.linger_ms = 0;
        options.latency_max_ms = 1500;
        for (size_t i = 0; i < 4; i++) {
            options.teams[i].weight = 1 + (int64_t)((seed >> i) % 4);
        }
        sim = sim_new(&options);
        for (size_t i = 0; i < 12; i++) {
            int64_t at_ms = sim_between(sim, 0, (int64_t)8 * WINDOW_MS);
            size_t team = sim_below(sim, 4);
            for (size_t k = sim_below(sim, 20); k > 0; k--) {
                struct sim_kind kind = kind_of_its_own(sim->request_count);
                (void)sim_plan(sim, at_ms, team, &kind, sim->request_count, 1, 100000);
            }
        }
        sim_run(sim, INT64_MAX);
        for (size_t i = 0; i < 16; i++) {
            size_t a = i / 4;
            size_t b = i % 4;
            double bound =
                1.0 / (double)options.teams[a].weight + 1.0 / (double)options.teams[b].weight;
            double drift = a < b ? unfairness(sim, a, b) : 0;
            worst = drift / bound > worst ? drift / bound : worst;
            if (drift > bound + 1e-9) {
                sim_fail(sim, "teams %zu and %zu drift apart by %.2f", a, b, drift);
            }
        }
        sim_free(sim);
    }
    print_message("teams that come and go: at most %.2f of the bound apart\n", worst);
}

/* ---- Estimates ---- */

struct mix {
    const char *name;
    size_t teams;
    size_t kinds;      /* 0: each request is of its own */
    size_t largest;    /* devices of a request */
    double per_minute; /* calls asked for, were nothing merged */
    bool weights;
    bool limits; /* slots reserved for a team, a maximum for another */
    int64_t latency_max_ms;
    /* Of the others it is only said how good the estimates are: what comes after a request decides
     * too much there. Who knew the true rates and played a hundred futures for each would be right
     * in 75 to 92 % of them. */
    bool promised;
};

static double run_mix(const struct mix *mix, uint64_t seed)
{
    struct sim_options options = options_of(mix->teams, 100, seed);
    struct sim *sim;
    double at_ms = 0;
    size_t good = 0;
    size_t count = 0;

    options.latency_max_ms = mix->latency_max_ms;
    for (size_t i = 0; i < mix->teams && mix->weights; i++) {
        options.teams[i].weight = 1 + (int64_t)(i % 3);
    }
    if (mix->limits) {
        options.teams[0].reserved = 2;
        options.teams[1].max = 2;
    }
    sim = sim_new(&options);
    for (size_t i = 0; at_ms < 20 * WINDOW_MS; i++) {
        double uniform = ((double)sim_below(sim, 1000000) + 1) / 1000000.0;
        struct sim_kind kind =
            kind_of_its_own(mix->kinds > 0 ? sim_below(sim, mix->kinds) : sim->request_count);
        size_t team = sim_below(sim, mix->teams);
        at_ms += -log(uniform) * WINDOW_MS / mix->per_minute;
        (void)sim_plan(sim, (int64_t)at_ms, team, &kind, 200 * i, 1 + sim_below(sim, mix->largest),
                       1000000);
    }
    sim_run(sim, INT64_MAX);
    for (size_t i = 0; i < sim->request_count; i++) {
        const struct sim_request *request = sim->requests[i];
        int64_t off = request->eta_ms - request->ended_ms;
        if (request->asked_ms < 2 * WINDOW_MS) {
            continue;
        }
        count++;
        good += off <= SLOT_MS && off >= -SLOT_MS ? 1 : 0;
    }
    sim_free(sim);
    return (double)good / (double)count;
}

static void test_estimates(void **state)
{
    static const struct mix mixes[] = {
        {"one team, nothing merges, 80 %", 1, 0, 1, 8, false, false, 500, true},
        {"one team, nothing merges, 110 %", 1, 0, 1, 11, false, false, 500, true},
        {"three teams, nothing merges, 80 %", 3, 0, 1, 8, false, false, 500, true},
        {"three teams, nothing merges, 90 %", 3, 0, 1, 9, false, false, 500, true},
        {"three teams, nothing merges, 110 %", 3, 0, 1, 11, false, false, 500, false},
        {"four teams with weights, nothing merges, 95 %", 4, 0, 1, 9.5, true, false, 1500, false},
        {"four teams with limits, nothing merges, 80 %", 4, 0, 1, 8, false, true, 500, true},
        {"five teams with limits, ten kinds", 5, 10, 1, 60, false, true, 500, false},
        {"five teams, one kind", 5, 1, 1, 100, false, false, 500, true},
        {"five teams, one kind, slow", 5, 1, 1, 20, false, false, 500, true},
        {"five teams, three kinds", 5, 3, 1, 60, false, false, 500, true},
        {"five teams, ten kinds", 5, 10, 1, 60, false, false, 500, true},
        {"five teams, thirty kinds", 5, 30, 1, 60, false, false, 500, false},
        {"five teams, three kinds, up to 150 devices", 5, 3, 150, 9, true, false, 500, false},
        {"five teams, three kinds, up to 40 devices", 5, 3, 40, 30, true, false, 500, true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(mixes); i++) {
        double good = 0;
        if (!mixes[i].promised && !is_soak()) {
            continue;
        }
        for (uint64_t seed = 1; seed <= MIX_SEEDS; seed++) {
            good += run_mix(&mixes[i], seed) / MIX_SEEDS;
        }
        print_message("estimates, %s: %.1f %% within a slot time\n", mixes[i].name, 100 * good);
        assert_true(good >= 0.9 || !mixes[i].promised);
    }
}

/* ---- Cost ---- */

static double seconds(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Microseconds for an admission and for a decision with that many queued; and checks that all of
 * them can be taken. Reported, not asserted: it is time. */
static void measure_cost(const char *name, size_t queued, bool mergeable)
{
    struct sim_options options = options_of(5, 100, 1);
    struct sim *sim;
    struct sim_kind kind = exempt;
    int64_t now_ms = 0;
    double admitting;
    double deciding = 0;

    options.teams[0].queue_limit = options.teams[1].queue_limit = SIZE_MAX;
    options.scheduler.budget.requests = 1;
    sim = sim_new(&options);
    for (size_t i = 0; i < queued + 100; i++) {
        kind.param = mergeable ? 24 : (int64_t)i;
        (void)sim_plan(sim, i < queued ? 0 : 1, i % 5, &kind, i, 1, SIZE_MAX);
    }
    sim_run(sim, 0);
    admitting = seconds();
    sim_run(sim, 1);
    admitting = seconds() - admitting;
    for (size_t i = 0; i < 20; i++) {
        struct batch *batch;
        double from;
        now_ms += (int64_t)2 * WINDOW_MS;
        (void)scheduler_wake_ms(sim->scheduler, now_ms);
        from = seconds();
        batch = scheduler_next(sim->scheduler, now_ms);
        deciding += seconds() - from;
        if (batch != NULL) {
            scheduler_answered(sim->scheduler, batch, now_ms);
            batch_free(batch);
        }
    }
    print_message("cost, %s, %zu queued: %.2f us for an admission, %.2f us for a decision\n", name,
                  queued, admitting * 1e6 / 100, deciding * 1e6 / 20);
    sim_free(sim);
}

static void test_cost(void **state)
{
    (void)state;
    if (!is_soak()) {
        skip();
    }
    measure_cost("mergeable", 2000, true);
    measure_cost("mergeable", 100000, true);
    measure_cost("incompatible", 50, false);
    measure_cost("incompatible", 100, false);
    measure_cost("incompatible", 100000, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_lone_request_goes_at_once),
        cmocka_unit_test(test_a_burst_of_a_thousand),
        cmocka_unit_test(test_a_burst_that_fills_every_call),
        cmocka_unit_test(test_a_steady_stream),
        cmocka_unit_test(test_scripts_in_sequence),
        cmocka_unit_test(test_slots_are_used),
        cmocka_unit_test(test_weights_are_kept),
        cmocka_unit_test(test_shares_are_fair),
        cmocka_unit_test(test_estimates),
        cmocka_unit_test(test_cost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
