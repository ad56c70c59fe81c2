/*
 * The life of the simulator: set up, listen, run, take down.
 */
#ifndef SIM_SERVER_H
#define SIM_SERVER_H

#include "base.h"
#include "options.h"

struct sim;

/* A simulator that listens; NULL, with the reason, if something failed. The options must
 * outlive it. */
struct sim *server_new(const struct options *options, struct problem *problem);
void server_free(struct sim *sim);

/* Says on stderr that it listens, and serves until SIGTERM or SIGINT. */
void server_run(struct sim *sim);

#endif
