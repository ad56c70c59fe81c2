/* Server: the running gateway, from its configuration to its last record. Main thread. */
#ifndef GATEWAY_SERVER_H
#define GATEWAY_SERVER_H

#include "common/error.h"
#include "common/memory.h"
#include "gateway/config.h"

/* Runs until SIGTERM or SIGINT, then drains: no new requests, calls under way end, what still
 * waits is told that it goes on. SIGHUP reads the configuration of that path again. config_take is
 * what it held at the start. Errors before it listens are returned. */
enum err server_run(const char *path, struct config *config_take, struct error *error) MUST_CHECK;

#endif
