/* Flood: properties over random schedules on a virtual clock.
 *
 * The oracle knows nothing of buckets: so many at once and so many a minute means that no stretch
 * of time holds more than the rate allows, and that whatever still fits is let through. */
#include "policy/flood.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

enum { RUNS = 3000, STEPS = 250, CLIENTS = 12, MAX_PAST = STEPS * (CLIENTS + 1) };

/* What a rate let through, and when. */
struct past {
    int64_t at_ms[MAX_PAST];
    size_t count;
};

struct client {
    char remote[32];
    uint64_t refused;
    uint64_t told;   /* recorded, or in a count of its own */
    int64_t open_ms; /* when the oldest refusal that was only counted came; -1: none */
    struct past records;
    struct past bad_keys;
};

struct run {
    uint64_t seed;
    uint64_t random;
    struct flood_options options;
    struct flood *flood;
    int64_t now_ms;
    struct client clients[CLIENTS];
    size_t client_count;
    bool all_fit;     /* the table holds all clients: nobody has to leave */
    bool writes_fail; /* now and then */
    struct past records;
    struct past counts;
    uint64_t refused[FLOOD_KINDS];
    uint64_t told[FLOOD_KINDS];
    uint64_t others;
};

#define CHECK(run, condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fail_msg("seed %" PRIu64 ", at %" PRId64 " ms: %s", (run)->seed, (run)->now_ms,        \
                     #condition);                                                                  \
        }                                                                                          \
    } while (0)

/* splitmix64: every seed is as good as another. */
static uint64_t draw(struct run *run, uint64_t below)
{
    uint64_t z = run->random += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % below;
}

static struct flood_rate draw_rate(struct run *run)
{
    return (struct flood_rate){.at_once = 1 + (int64_t)draw(run, 6),
                               .per_minute = 1 + (int64_t)draw(run, 200)};
}

/* ---- The oracle ---- */

/* Whether one more, now, leaves every stretch of time within the rate. */
static bool fits(const struct past *past, const struct flood_rate *rate, int64_t now_ms)
{
    for (size_t i = 0; i < past->count; i++) {
        int64_t held = (int64_t)(past->count - i) + 1;
        if (held * 60000 > rate->at_once * 60000 + (now_ms - past->at_ms[i]) * rate->per_minute) {
            return false;
        }
    }
    return true;
}

static void note(struct past *past, int64_t now_ms)
{
    past->at_ms[past->count++] = now_ms;
}

static void check_verdict(struct run *run, struct client *client, bool bad_key,
                          const struct flood_verdict *verdict)
{
    bool fits_all = fits(&run->records, &run->options.all, run->now_ms);
    bool fits_each = fits(&client->records, &run->options.each, run->now_ms);

    CHECK(run, fits_all || !verdict->record);
    CHECK(run, bad_key || !verdict->throttle);
    if (run->all_fit) { /* who had to leave begins anew */
        CHECK(run, verdict->record == (fits_all && fits_each));
        CHECK(run, !bad_key || verdict->throttle ==
                                   !fits(&client->bad_keys, &run->options.bad_keys, run->now_ms));
        CHECK(run, !verdict->evicted);
    }
}

static void tell(struct run *run, const struct flood_count *count)
{
    uint64_t sum = 0;
    bool other = strcmp(count->remote, FLOOD_OTHER) == 0;
    size_t found = 0;

    CHECK(run,
          0 <= count->from_ms && count->from_ms <= count->to_ms && count->to_ms <= run->now_ms);
    for (size_t kind = 0; kind < FLOOD_KINDS; kind++) {
        run->told[kind] += count->kinds[kind];
        sum += count->kinds[kind];
    }
    CHECK(run, sum > 0);
    for (size_t i = 0; i < run->client_count; i++) {
        struct client *client = &run->clients[i];
        if (strcmp(client->remote, count->remote) == 0) {
            client->told += sum;
            client->open_ms = -1;
            found++;
        }
    }
    run->others += other ? sum : 0;
    CHECK(run, found == (other ? 0 : 1));
}

/* A count comes out: it is recorded, or the write fails. */
static void take_count(struct run *run, const struct flood_count *count)
{
    CHECK(run, fits(&run->counts, &run->options.counts, run->now_ms));
    note(&run->counts, run->now_ms);
    if (run->writes_fail && draw(run, 3) == 0) {
        flood_return(run->flood, count, run->now_ms);
        for (size_t i = 0; i < run->client_count; i++) {
            struct client *client = &run->clients[i];
            if (strcmp(client->remote, count->remote) == 0) {
                client->open_ms = run->now_ms; /* due an interval from now */
            }
        }
        return;
    }
    tell(run, count);
}

/* ---- Steps ---- */

static void refuse(struct run *run)
{
    struct client *client = &run->clients[draw(run, run->client_count)];
    unsigned kind = (unsigned)draw(run, FLOOD_KINDS);
    bool bad_key = draw(run, 2) == 0;
    struct flood_verdict verdict;

    run->refused[kind]++;
    client->refused++;
    flood_add(run->flood, client->remote, kind, bad_key, run->now_ms, &verdict);
    check_verdict(run, client, bad_key, &verdict);
    if (bad_key && !verdict.throttle) {
        note(&client->bad_keys, run->now_ms);
    }
    if (verdict.evicted) {
        take_count(run, &verdict.count);
    }
    if (verdict.record) {
        note(&run->records, run->now_ms);
        note(&client->records, run->now_ms);
    } else if (client->open_ms < 0) {
        client->open_ms = run->now_ms;
    }
    if (verdict.record && run->writes_fail && draw(run, 5) == 0) {
        struct flood_count one = {.from_ms = run->now_ms, .to_ms = run->now_ms};
        (void)snprintf(one.remote, sizeof(one.remote), "%s", client->remote);
        one.kinds[kind] = 1;
        flood_return(run->flood, &one, run->now_ms);
        client->open_ms = client->open_ms < 0 ? run->now_ms : client->open_ms;
    } else if (verdict.record) {
        client->told++;
        run->told[kind]++;
    }
}

/* What is due comes out, and nothing else; unless too many came out lately. */
static void poll(struct run *run)
{
    struct flood_count count;

    while (flood_next(run->flood, false, run->now_ms, &count)) {
        CHECK(run, count.from_ms + run->options.interval_ms <= run->now_ms);
        take_count(run, &count);
    }
    if (fits(&run->counts, &run->options.counts, run->now_ms) && run->all_fit) {
        for (size_t i = 0; i < run->client_count; i++) {
            const struct client *client = &run->clients[i];
            CHECK(run,
                  client->open_ms < 0 || client->open_ms + run->options.interval_ms > run->now_ms);
        }
    }
}

static void finish(struct run *run)
{
    struct flood_count count;
    uint64_t missing = 0;

    while (flood_next(run->flood, true, run->now_ms, &count)) {
        tell(run, &count);
    }
    for (size_t kind = 0; kind < FLOOD_KINDS; kind++) {
        CHECK(run, run->told[kind] == run->refused[kind]);
    }
    for (size_t i = 0; i < run->client_count; i++) {
        CHECK(run, run->clients[i].told <= run->clients[i].refused);
        missing += run->clients[i].refused - run->clients[i].told;
    }
    CHECK(run, missing == run->others);
    CHECK(run, run->others == 0 || !run->all_fit);
}

static void begin(struct run *run, uint64_t seed)
{
    *run = (struct run){.seed = seed, .random = seed};
    run->options = (struct flood_options){
        .addresses = 1 + draw(run, CLIENTS),
        .each = draw_rate(run),
        .all = draw_rate(run),
        .counts = draw_rate(run),
        .bad_keys = draw_rate(run),
        .interval_ms = (int64_t)draw(run, 20000),
        .seed = draw(run, UINT64_MAX),
    };
    run->client_count = 1 + draw(run, CLIENTS);
    run->all_fit = run->client_count <= run->options.addresses;
    run->writes_fail = draw(run, 2) == 0;
    run->flood = flood_new(&run->options);
    for (size_t i = 0; i < run->client_count; i++) {
        struct client *client = &run->clients[i];
        client->open_ms = -1;
        (void)snprintf(client->remote, sizeof(client->remote),
                       i % 2 ? "192.0.2.%zu" : "2001:db8:0:%zu::/64", i + 1);
    }
}

static void test_random_schedules(void **state)
{
    struct run *run = malloc(sizeof(*run));

    (void)state;
    for (uint64_t seed = 1; seed <= RUNS; seed++) {
        begin(run, seed);
        for (int step = 0; step < STEPS; step++) {
            switch (draw(run, 8)) {
            case 0:
                run->now_ms += (int64_t)draw(run, 12000);
                break;
            case 1:
                run->now_ms += (int64_t)draw(run, 50);
                break;
            case 2:
                poll(run);
                break;
            default:
                refuse(run);
            }
        }
        finish(run);
        flood_free(run->flood);
    }
    free(run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_schedules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
