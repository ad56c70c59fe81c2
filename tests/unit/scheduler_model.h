/* For tests of the scheduler: a dispatcher and an upstream on a virtual clock. Requests are planned
 * ahead or from a callback; sim_run() then plays what happens, in order of time, and checks after
 * each step what must always hold (see scheduler_model.c). Everything random comes from one seed.
 */
#ifndef TESTS_SCHEDULER_MODEL_H
#define TESTS_SCHEDULER_MODEL_H

#include "policy/heap.h"
#include "policy/scheduler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_TEAMS 8

struct sim;

/* What can happen to a call. */
enum sim_outcome {
    SIM_OK,
    SIM_REJECTED, /* 400: members of a shared call go again alone */
    SIM_LOCKED,   /* 401: all go again */
    SIM_LIMITED,  /* 429: all go again, after a pause */
    SIM_UNKNOWN,  /* sent, no answer */
    SIM_NOT_SENT, /* goes again after a while */
    SIM_OUTCOMES
};

/* A kind of request; requests of one kind can share a call. */
struct sim_kind {
    const char *action;
    int64_t param; /* exempt_time; < 0: none */
    enum device_kind device_kind;
};

struct sim_request {
    struct job job;
    struct action action;
    struct sim_kind kind;
    size_t number;
    enum { SIM_PLANNED, SIM_HELD, SIM_QUEUED, SIM_ENDED } state;
    uint64_t arrival; /* order of being queued; kept over a restart */
    uint8_t *out;     /* for each device: in a call that was not put back */
    size_t in_calls;  /* parts that are in flight */
    bool held_up;     /* ready_ms is not known yet */
    int64_t not_before_ms;
    int64_t ready_ms; /* nothing but its turn and company held it up since */
    bool refused;     /* not admitted */
    int64_t eta_ms;   /* told at admission: expected time of the answer */
    int64_t asked_ms;
    int64_t taken_ms; /* last call */
    int64_t ended_ms;
    size_t times_ended;
};

/* A call, from its slot being taken. */
struct sim_call {
    struct batch *batch;
    enum sim_outcome outcome;
    int64_t taken_ms;
    int64_t counted_ms; /* by the upstream; -1: never */
    int64_t until_ms;   /* could have been counted until then */
    int64_t free_ms;    /* of its slot; -1: not known */
    int64_t shares[SIM_TEAMS];
    size_t devices;
    bool forgotten; /* its slot was given back */
};

struct sim_options {
    struct scheduler_options scheduler; /* .teams is set from teams */
    struct scheduler_team teams[SIM_TEAMS];
    uint64_t seed;
    int64_t latency_min_ms;
    int64_t latency_max_ms;
    unsigned per_mille[SIM_OUTCOMES]; /* the rest is SIM_OK */
    unsigned foreign_per_mille;       /* answers that tell of foreign calls */
    int64_t hold_max_ms;              /* between admission and queue */
    int64_t wait_ms;                  /* what callers would wait at most; -1: whatever */
    bool check;                       /* the costly invariants */
    bool trace;
    /* Called when a request ended; may plan others. */
    void (*on_end)(struct sim *sim, struct sim_request *request);
    void *arg;
};

struct sim {
    struct sim_options options;
    struct scheduler *scheduler;
    uint64_t random;
    int64_t now_ms;
    int64_t last_wake_ms;
    bool changed; /* something happened since the last wake time was asked for */
    struct heap events;
    uint64_t last_event;
    struct sim_request **requests;
    size_t request_count;
    uint64_t arrivals;
    size_t unended;
    struct sim_call **calls;
    size_t call_count;
    size_t first_call; /* older ones hold no slot any more */
    int64_t paused_ms;
    size_t parts; /* in all calls */
};

/* Random numbers: splitmix64. From 0 to n - 1; from low to high. */
uint64_t sim_random(uint64_t *state);
size_t sim_below(struct sim *sim, size_t n);
int64_t sim_between(struct sim *sim, int64_t low, int64_t high);

struct sim *sim_new(const struct sim_options *options);
void sim_free(struct sim *sim);

/* Plans a request for `count` devices from number `first` on, of a ring of `ring` devices. */
struct sim_request *sim_plan(struct sim *sim, int64_t at_ms, size_t team,
                             const struct sim_kind *kind, size_t first, size_t count, size_t ring);
void sim_plan_cancel(struct sim *sim, int64_t at_ms, struct sim_request *request);
void sim_plan_crash(struct sim *sim, int64_t at_ms);
void sim_plan_poke(struct sim *sim, int64_t at_ms); /* asks for what changes nothing */

/* Plays until nothing is planned or under way, or until that time. */
void sim_run(struct sim *sim, int64_t until_ms);

/* The most calls that the upstream counted in any window; fails if a strict sliding window, fixed
 * windows of any phase or a token bucket would have refused one. */
size_t sim_check_limit(const struct sim *sim);

/* Fails the test, saying the seed. */
void sim_fail(const struct sim *sim, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));

#endif
