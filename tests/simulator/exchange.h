/*
 * One request on its way from answer to wire, at once or after a delay, right or broken.
 */
#ifndef SIM_EXCHANGE_H
#define SIM_EXCHANGE_H

#include "sim.h"

/* Sends the answer in its manner after its delay, and completes the request. The answer's
 * contents are taken over. */
void exchange_start(struct sim *sim, struct evhttp_request *req, struct answer *answer_take);

/* Forgets all that is under way. evhttp_free() must follow: it frees the connections. */
void exchange_drop_all(struct sim *sim);

#endif
