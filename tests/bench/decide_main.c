/* How long the scheduler takes to decide, by how much waits:
 *   bench_decide WAITING KINDS
 * KINDS: how many kinds of request there are; those of one kind can share a call. Keeps that many
 * requests of five teams waiting, on a virtual clock: each time a slot comes free it makes a call,
 * has it answered, and admits as many requests as the call took. Prints one line of JSON: the
 * median nanoseconds of admitting a request and of making a call. */
#include "common/clock.h"
#include "common/memory.h"
#include "policy/scheduler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TEAMS     5
#define REQUESTS  10
#define WINDOW_MS 60000
#define ROUNDS    400

struct bench {
    struct scheduler *scheduler;
    int64_t now_ms;
    size_t kinds;
    size_t added;
    int64_t admit_ns[ROUNDS];
    int64_t call_ns[ROUNDS];
};

static int64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static struct scheduler *new_scheduler(void)
{
    struct scheduler_team teams[TEAMS];

    for (size_t i = 0; i < TEAMS; i++) {
        teams[i] =
            (struct scheduler_team){.weight = 1, .max = REQUESTS, .queue_limit = SIZE_MAX / 2};
    }
    return scheduler_new(&(struct scheduler_options){
        .budget = {.requests = REQUESTS, .window_ms = WINDOW_MS, .timeout_ms = WINDOW_MS / 2},
        .max_devices = 100,
        .linger_ms = 1000,
        .team_count = TEAMS,
        .teams = teams});
}

/* One more request, of a device that nobody asked for: how long that took, without parsing. */
static int64_t admit(struct bench *bench)
{
    struct job *job = xcalloc(1, sizeof(*job));
    struct problems problems = {0};
    struct error error = {0};
    struct action *action;
    char body[128];
    int64_t eta_ms;
    int64_t began;

    (void)snprintf(
        body, sizeof(body),
        "{\"types\":\"exempt\",\"ids\":[\"device-%zu\"],\"params\":{\"exempt_time\":%zu}}",
        bench->added, bench->added % bench->kinds);
    if (action_parse(body, strlen(body), 100, &action, &problems, &error) != OK) {
        abort();
    }
    job->action = action;
    job->team = bench->added++ % TEAMS;
    job->priority = 3;
    began = now_ns();
    if (scheduler_admit(bench->scheduler, job->team, action, -1, bench->now_ms, &eta_ms) != OK) {
        abort();
    }
    scheduler_add(bench->scheduler, job, bench->now_ms);
    return now_ns() - began;
}

/* A slot's time later: makes a call, has it answered and ends its requests. How many there were. */
static size_t make_call(struct bench *bench, int64_t *ret_ns)
{
    struct batch *batch = NULL;
    size_t count;

    while (batch == NULL) {
        int64_t began;
        bench->now_ms += WINDOW_MS / REQUESTS;
        began = now_ns();
        batch = scheduler_next(bench->scheduler, bench->now_ms);
        *ret_ns = now_ns() - began;
    }
    scheduler_answered(bench->scheduler, batch, bench->now_ms);
    count = batch->part_count;
    for (size_t i = 0; i < count; i++) {
        struct job *job = batch->parts[i].job;
        struct action *action = (struct action *)(uintptr_t)job->action;
        scheduler_end(bench->scheduler, job, bench->now_ms);
        action_unref(action);
        free(job);
    }
    batch_free(batch);
    return count;
}

static int compare(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;

    return (left > right) - (left < right);
}

static int64_t median(int64_t *times)
{
    qsort(times, ROUNDS, sizeof(*times), compare);
    return times[ROUNDS / 2];
}

int main(int argc, char **argv)
{
    size_t waiting = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    struct bench *bench = xcalloc(1, sizeof(*bench));

    bench->kinds = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    if (waiting == 0 || bench->kinds == 0 || bench->kinds > 64000) {
        (void)fprintf(stderr, "usage: bench_decide WAITING KINDS\n");
        return 2;
    }
    bench->scheduler = new_scheduler();
    for (size_t i = 0; i < waiting; i++) {
        (void)admit(bench);
    }
    for (size_t i = 0; i < ROUNDS; i++) {
        size_t gone = make_call(bench, &bench->call_ns[i]);
        for (size_t k = 0; k < gone; k++) {
            bench->admit_ns[i] = admit(bench);
        }
    }
    (void)printf("{\"admit_ns\":%lld,\"call_ns\":%lld}\n", (long long)median(bench->admit_ns),
                 (long long)median(bench->call_ns));
    return 0; /* what still waits ends with the process */
}
