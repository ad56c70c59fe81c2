/* Gateway: what all threads of the process share. Set up before the threads start, and constant
 * from then on, but for the atomics. The configuration is not here: each thread has its settings,
 * which change with a reload (settings.h). */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include "gateway/dispatcher.h"
#include "gateway/pulse.h"
#include "gateway/refusals.h"
#include "store/store.h"

#include <stdatomic.h>
#include <stdbool.h>

struct connections;
struct overload;

struct gateway {
    struct store *store;
    struct dispatcher *dispatcher;
    struct refusals *refusals;
    struct pulse *pulse; /* main thread */
    atomic_bool draining;
    struct connections *connections;
    struct overload *overload;
};

#endif
