/* Routes: the table of all calls that clients can make. Worker threads. */
#ifndef GATEWAY_ROUTES_H
#define GATEWAY_ROUTES_H

#include "gateway/request.h"

#include <stdbool.h>

struct route {
    int method; /* EVHTTP_REQ_* */
    const char *path;
    bool argument;     /* the path goes on with one more segment */
    const char *label; /* in metrics */
    /* The caller is authenticated. Answers or parks the request. */
    void (*handle)(struct request *request);
};

/* Sets the request's route and argument. False: there is none, and the request is answered. */
bool route_find(struct request *request);

/* The handlers. */
void handle_drop_in(struct request *request);     /* POST /o/api/v3.1/devices/action */
void handle_submit(struct request *request);      /* POST /v1/actions */
void handle_show_action(struct request *request); /* GET /v1/actions/{id} */

/* A reply of the dispatcher for a parked action call; and the end of its wait. */
void action_call_on_reply(struct request *request, struct dispatcher_reply *reply);
void action_call_stop_waiting(struct request *request);

#endif
