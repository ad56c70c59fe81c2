/* Gauge: how full an account's window is, as the dispatcher last said it and any thread reads it.
 * It belongs to the account, not to one configuration of it: reference-counted. */
#ifndef GATEWAY_GAUGE_H
#define GATEWAY_GAUGE_H

#include <stdint.h>

struct gauge;

struct gauge *gauge_new(void);
struct gauge *gauge_ref(struct gauge *gauge);
void gauge_unref(struct gauge *gauge); /* takes NULL */

/* Slots that are free, and when the next comes free on the boot clock. */
void gauge_set(struct gauge *gauge, int64_t free_slots, int64_t next_free_ms);

/* The same; the time in seconds from now, 0 while a slot is free. */
void gauge_read(const struct gauge *gauge, int64_t *ret_free, int64_t *ret_next_s);

#endif
