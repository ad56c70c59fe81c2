/* Reload: another configuration for the running gateway. Main thread.
 *
 *   file read and checked, everything made of it ─▶ dispatcher takes it, holds calls back
 *     ─▶ workers take it ─▶ its record is stored, calls go again ─▶ keeper, refusals take it
 *
 * What is wrong shows in the first two steps, when nothing has changed. One at a time: a SIGHUP
 * that comes meanwhile makes another one after it. */
#ifndef GATEWAY_RELOAD_H
#define GATEWAY_RELOAD_H

#include "common/memory.h"
#include "gateway/gateway.h"
#include "gateway/keeper.h"
#include "gateway/notify.h"
#include "gateway/settings.h"

#include <stddef.h>

struct event_base;
struct reload;
struct worker;

/* What it reloads; all is borrowed. */
struct reload_parts {
    const char *path;             /* of the configuration */
    const struct config *started; /* what it was at the start */
    const struct notifier *notifier;
    struct gateway *gateway;
    struct keeper *keeper;
    struct worker **workers;
    size_t worker_count;
};

/* settings are those in force. */
struct reload *reload_new(struct event_base *base, const struct reload_parts *parts,
                          const struct settings *settings);

/* Begins one: SIGHUP came. */
void reload_now(struct reload *reload);

/* The settings that were last made to be in force. */
const struct settings *reload_settings(const struct reload *reload);

/* No more, from now on; one that is under way is not gone on with. */
void reload_stop(struct reload *reload);

/* After the threads of all parts are gone and were freed. Takes NULL. */
void reload_free(struct reload *reload);

#endif
