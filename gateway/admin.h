/* Admin: /livez, /readyz and /metrics, on an address of their own and on the main thread, so that
 * they answer when the workers are busy. */
#ifndef GATEWAY_ADMIN_H
#define GATEWAY_ADMIN_H

#include "common/error.h"
#include "common/memory.h"
#include "gateway/gateway.h"

struct admin;
struct event_base;

/* Accepts on fd, which is given away. gateway is borrowed. */
struct admin *admin_new(struct event_base *base, struct gateway *gateway, int fd);
void admin_free(struct admin *admin);

#endif
