/* Seccomp: the filter of system calls that "seccomp": true asks for. With it the process can do
 * what a gateway does, and is killed (SIGSYS) at the first system call that is anything else. */
#ifndef GATEWAY_SECCOMP_H
#define GATEWAY_SECCOMP_H

#include "common/error.h"
#include "common/memory.h"

#include <stdbool.h>

/* Whether this build has the filter (libseccomp was found). */
bool seccomp_available(void);

/* Confines this process, its threads to come and its children, for ever. With `commands` it may
 * start programs; these inherit the filter, so that it can no longer be a list of what is allowed:
 * it then is one of what is refused (see seccomp.c). Main thread, while it is the only one.
 * ERR_UNAVAILABLE: not in this build, or the kernel refused. */
enum err seccomp_confine(bool commands, struct error *error) MUST_CHECK;

#endif
