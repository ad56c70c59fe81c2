/*
 * The handlers of all requests; see --help for what each call does.
 */
#ifndef SIM_HANDLERS_H
#define SIM_HANDLERS_H

#include "sim.h"

/* The upstream's own calls. */
void oauth_handle(struct sim *sim, struct evhttp_request *req, struct answer *answer);
void action_handle(struct sim *sim, struct evhttp_request *req, struct answer *answer);

/* The calls for tests. */
void control_list_calls(struct sim *sim, struct evhttp_request *req, struct answer *answer);
void control_clear_calls(struct sim *sim, struct evhttp_request *req, struct answer *answer);
void control_show_stats(struct sim *sim, struct evhttp_request *req, struct answer *answer);
void control_list_devices(struct sim *sim, struct evhttp_request *req, struct answer *answer);
void control_add_faults(struct sim *sim, struct evhttp_request *req, struct answer *answer);
void control_list_faults(struct sim *sim, struct evhttp_request *req, struct answer *answer);
void control_clear_faults(struct sim *sim, struct evhttp_request *req, struct answer *answer);
void control_revoke(struct sim *sim, struct evhttp_request *req, struct answer *answer);

/* Finds the handler of a request, lets it make the answer, and sends that. */
void route_request(struct evhttp_request *req, void *sim_arg);

#endif
