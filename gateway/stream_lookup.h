/* Stream lookup: the addresses of a host, without waiting for name servers. One thread. */
#ifndef GATEWAY_STREAM_LOOKUP_H
#define GATEWAY_STREAM_LOOKUP_H

#include "common/error.h"
#include "common/memory.h"

#include <netdb.h>

struct stream_lookup;

/* Begins to look up a host (a name or an IP address) and a numeric port, for TCP. */
struct stream_lookup *stream_lookup_new(const char *host, const char *port);

/* ERR_UNAVAILABLE: not done yet, ask again later. OK: *ret_list is what was found, not empty; it is
 * the lookup's. ERR_NOT_FOUND: error says why. */
enum err stream_lookup_result(struct stream_lookup *lookup, const struct addrinfo **ret_list,
                              struct error *error) MUST_CHECK;

/* Takes NULL, and one that is not done. */
void stream_lookup_free(struct stream_lookup *lookup);

#endif
