/* Connections: how many are open, in all and from each address, exactly. One table for all workers,
 * behind a lock that is taken when a connection begins and when it ends: the kernel spreads the
 * connections of one client over all workers.
 *
 * An address is an IPv4 address or an IPv6 network of 64 bits, which is what one client gets. The
 * table has an entry for an address only while connections from it are open, so it is never larger
 * than the number of those. Any thread. */
#ifndef GATEWAY_CONNECTIONS_H
#define GATEWAY_CONNECTIONS_H

#include "common/error.h"
#include "common/memory.h"

#include <stddef.h>

struct connections;
struct origin; /* an address with connections */
struct sockaddr;

struct connections *connections_new(void);

/* Lets go of it; it ends when all that entered have left. NULL is fine. */
void connections_free(struct connections *connections);

/* One more, from that address (NULL or of no family known here: from the one that all such share).
 * ERR_FULL: max are open already. ERR_DENIED: max_per_address are, from there. *ret_origin is for
 * connections_leave(). */
enum err connections_enter(struct connections *connections, const struct sockaddr *address,
                           size_t max, size_t max_per_address,
                           struct origin **ret_origin) MUST_CHECK;

/* One less. */
void connections_leave(struct connections *connections, struct origin *origin);

/* How many are open now. */
size_t connections_open(struct connections *connections);

/* How many addresses they are from. */
size_t connections_origins(struct connections *connections);

#endif
