/*
 * The record of the action calls the simulator executed, in arrival order, and its counters.
 */
#ifndef SIM_CALLS_H
#define SIM_CALLS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct calls;

/* What _sim/stats tells, beside the peak that the limiter measures. */
struct stats {
    int64_t executed;
    int64_t refused_429;
    int64_t bad_token;
    int64_t bad_request;
    int64_t tokens_issued;
    int64_t connections;
};

struct calls *calls_new(void);
void calls_free(struct calls *calls);

/* Records a call that was executed and arrived at mono_us, with its body (valid JSON of len
 * bytes, copied). Returns a handle for calls_set_status(), never 0. Beyond 200,000 calls or
 * 256 MiB the oldest go. */
int64_t calls_add(struct calls *calls, int64_t mono_us, const char *body, size_t len);

/* The HTTP status answered to the call. Until then, and for a call never answered, it is 0. */
void calls_set_status(struct calls *calls, int64_t handle, int status);

/* The list as _sim/calls shows it; owned by the caller. */
json_t *calls_list(const struct calls *calls);

/* Forgets all calls; the next one is number 1 again. */
void calls_clear(struct calls *calls);

#endif
