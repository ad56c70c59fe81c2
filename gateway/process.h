/* Process: what the process gives up before it holds a secret. Main thread, while it is the only
 * one. */
#ifndef GATEWAY_PROCESS_H
#define GATEWAY_PROCESS_H

#include "common/error.h"
#include "common/memory.h"
#include "gateway/config.h"

/* Before anything is read: no core dumps, no debugger of the same user (prctl(2) PR_SET_DUMPABLE),
 * no new privileges by execve(), and libraries overwrite the memory that they free. */
void process_harden(void);

/* Once the configuration is known: a heap for secrets that is large enough for it, and, if it says
 * so, the filter of system calls. Says in the log what could not be had, and if it runs as root.
 * ERR_UNAVAILABLE: the filter was asked for and cannot be had. */
enum err process_confine(const struct config *config, struct error *error) MUST_CHECK;

#endif
