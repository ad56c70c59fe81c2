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
    bool rated;        /* answers say how full the account's window is */
    /* The caller is authenticated. Answers or parks the request. */
    void (*handle)(struct request *request);
};

/* Sets the request's route and argument. False: there is none, and the request is answered. */
bool route_find(struct request *request);

/* The handlers. */
void handle_drop_in(struct request *request);       /* POST /o/api/v3.1/devices/action */
void handle_submit(struct request *request);        /* POST /v1/actions */
void handle_preflight(struct request *request);     /* POST /v1/preflight */
void handle_list_actions(struct request *request);  /* GET /v1/actions */
void handle_show_action(struct request *request);   /* GET /v1/actions/{id} */
void handle_cancel_action(struct request *request); /* DELETE /v1/actions/{id} */
void handle_show_budget(struct request *request);   /* GET /v1/budget */

void handle_list_audit(struct request *request);        /* GET /v1/audit */
void handle_audit_checkpoint(struct request *request);  /* GET /v1/audit/checkpoint */
void handle_audit_consistency(struct request *request); /* GET /v1/audit/consistency */
void handle_audit_entry(struct request *request);       /* GET /v1/audit/entries/{seq} */

/* Decides about request->action, and submits it. */
void action_call_decide(struct request *request);

/* idempotency.c. Reads the Idempotency-Key; false: it is not one, and the request is answered. */
bool idempotency_read(struct request *request, const char *body, size_t len);

/* Answers from what the key stands for, or goes on with action_call_decide(). */
void idempotency_look_up(struct request *request);

/* The answers of an action that ended: what the caller of a waiting call gets. */
void action_call_reply_ended(struct request *request, enum action_state state, const char *results,
                             json_t *problem_take);

/* A reply of the dispatcher for a parked action call; and the end of its wait. */
void action_call_on_reply(struct request *request, struct dispatcher_reply *reply);
void action_call_stop_waiting(struct request *request);

#endif
