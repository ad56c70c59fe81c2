/*
 * The devices of the simulated account and what each action does to them.
 */
#ifndef SIM_DEVICES_H
#define SIM_DEVICES_H

#include <jansson.h>

#include "action_request.h"
#include "base.h"

struct devices;

/* The values upstream answers for a device. */
enum device_status { DEVICE_NOT_SUPPORTED = -1, DEVICE_FAILED = 0, DEVICE_APPLIED = 1 };

/* The built-in table: normal-001 to normal-100 and 25 of every other kind, see --help. */
struct devices *devices_new_builtin(void);

/* A table from a file, a JSON array of {"id","mac","state","agent"} (only id is required).
 * NULL, with the reason, if it cannot be read or is wrong. */
struct devices *devices_new_from_file(const char *path, struct problem *problem);

void devices_free(struct devices *devices);

/* Does the request's action to one of its devices, named as asked. A device not in the table
 * fails; ids any-* and MACs 00:0c:29:ff:* are always normal devices and keep no state. */
enum device_status devices_apply(struct devices *devices, const struct action_request *request,
                                 const char *name);

/* The table with the present states, without the deleted ones; owned by the caller. */
json_t *devices_list(const struct devices *devices);

#endif
