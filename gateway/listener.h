/* Listener: opens listening sockets, several on one address with SO_REUSEPORT, so that the kernel
 * spreads connections over the workers. Start-up only. */
#ifndef GATEWAY_LISTENER_H
#define GATEWAY_LISTENER_H

#include "common/error.h"
#include "common/memory.h"

#include <stddef.h>

#define LISTENER_ADDRESS_SIZE 80

/* Opens count non-blocking listening sockets on address (port 0: one free port for all of them).
 * OK: the caller owns ret_fds[0..count-1], and ret_bound is the address really bound.
 * ERR_IO: none is open, and the error says what to do. */
enum err listener_open(const char *address, size_t count, int *ret_fds,
                       char ret_bound[LISTENER_ADDRESS_SIZE], struct error *error) MUST_CHECK;

#endif
