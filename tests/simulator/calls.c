/*
 * A bounded ring of executed calls. Only the body is kept; what the list shows of it is parsed
 * again when somebody asks.
 */
#include "calls.h"

#include <stdlib.h>
#include <string.h>

#include "base.h"

#define CALLS_KEPT       200000
#define CALLS_KEPT_BYTES ((size_t)256 << 20)

struct call {
    int64_t wall_us;
    int64_t mono_us;
    char *body;
    size_t body_bytes;
    int status;
};

/* Handles run from 1 upwards and are never used twice; a call's place is handle % CALLS_KEPT. */
struct calls {
    int64_t first;
    int64_t next;
    int64_t cleared_before;
    size_t bytes;
    struct call *ring;
};

struct calls *calls_new(void)
{
    struct calls *calls = sim_calloc(1, sizeof(*calls));

    calls->first = calls->next = calls->cleared_before = 1;
    calls->ring = sim_calloc(CALLS_KEPT, sizeof(*calls->ring));
    return calls;
}

void calls_free(struct calls *calls)
{
    if (calls) {
        calls_clear(calls);
        free(calls->ring);
        free(calls);
    }
}

static struct call *calls_at(const struct calls *calls, int64_t handle)
{
    return &calls->ring[handle % CALLS_KEPT];
}

static void calls_drop_oldest(struct calls *calls)
{
    struct call *call = calls_at(calls, calls->first++);

    calls->bytes -= call->body_bytes;
    free(call->body);
    memset(call, 0, sizeof(*call));
}

int64_t calls_add(struct calls *calls, int64_t mono_us, const char *body, size_t len)
{
    struct call *call = NULL;

    while (calls->first < calls->next &&
           (calls->next - calls->first >= CALLS_KEPT || calls->bytes + len > CALLS_KEPT_BYTES)) {
        calls_drop_oldest(calls);
    }
    call = calls_at(calls, calls->next);
    call->wall_us = clock_wall_us() - (clock_mono_us() - mono_us);
    call->mono_us = mono_us;
    call->body = sim_copy(body, len);
    call->body_bytes = len;
    calls->bytes += len;
    return calls->next++;
}

void calls_set_status(struct calls *calls, int64_t handle, int status)
{
    if (handle >= calls->first && handle < calls->next) {
        calls_at(calls, handle)->status = status;
    }
}

static json_t *call_show(const struct call *call, int64_t number)
{
    json_t *body = json_loadb(call->body, call->body_bytes, 0, NULL);
    const char *devices = json_object_get(body, "ids") ? "ids" : "macs";
    json_t *shown = json_pack(
        "{sI sf sf sO sO sO? si ss}", "n", (json_int_t)number, "arrived_ms",
        (double)call->wall_us / 1000.0, "mono_ms", (double)call->mono_us / 1000.0, "types",
        json_object_get(body, "types"), devices, json_object_get(body, devices), "params",
        json_object_get(body, "params"), "status", call->status, "body", call->body);

    json_decref(body);
    return shown;
}

json_t *calls_list(const struct calls *calls)
{
    json_t *list = json_array();

    for (int64_t handle = calls->first; handle < calls->next; handle++) {
        int64_t number = handle - calls->cleared_before + 1;

        json_array_append_new(list, call_show(calls_at(calls, handle), number));
    }
    return list;
}

void calls_clear(struct calls *calls)
{
    while (calls->first < calls->next) {
        calls_drop_oldest(calls);
    }
    calls->cleared_before = calls->next;
}
