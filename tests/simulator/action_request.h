/*
 * The body of an action call, parsed and validated as strictly as the documentation allows:
 * whatever it does not describe is refused, so that a sloppy caller is noticed.
 */
#ifndef SIM_ACTION_REQUEST_H
#define SIM_ACTION_REQUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base.h"

enum action {
    ACTION_EXEMPT,
    ACTION_UNEXEMPT,
    ACTION_IGNORE,
    ACTION_UNIGNORE,
    ACTION_DELETE,
    ACTION_DHCPRENEW,
    ACTION_RE_IDENTIFY,
    ACTION_ASSIGN_TO_GROUP,
    ACTION_FETCH_AGENT_LOG,
};

struct action_request {
    enum action action;
    bool by_mac;           /* devices are MACs, else device ids */
    const json_t *devices; /* array of strings, inside root */
    int64_t exempt_time;   /* hours, 0 = for ever; for exempt */
    const char *group_id;  /* for assign_to_group, else NULL; inside root */
    json_t *root;
};

/* Parses len bytes of body with at most max_devices devices. On failure says why and leaves the
 * request as action_request_done() left it. */
bool action_request_parse(struct action_request *request, const char *body, size_t len,
                          size_t max_devices, struct problem *problem);

/* Frees what the request holds; also right for a zeroed one. */
void action_request_done(struct action_request *request);

/* Whether the call is about this device. MACs are compared whatever their spelling. */
bool action_request_holds(const struct action_request *request, const char *device);

#endif
