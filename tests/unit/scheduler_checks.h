/* The checks of a world of scheduler_model.h, for its own use. Each fails the test by sim_fail().
 */
#ifndef TESTS_SCHEDULER_CHECKS_H
#define TESTS_SCHEDULER_CHECKS_H

#include "scheduler_model.h"

struct sim_request *sim_request_of(const struct job *job);

/* A call that the scheduler gives, and notes what is in it. */
void sim_check_batch(struct sim *sim, const struct batch *batch);

/* Whose turn it is: before the call is sent, as the book kept apart allows. */
void sim_check_turn(struct sim *sim, const struct batch *batch);

/* When nothing can go: that no request which could waits longer than for company. */
void sim_check_idle(struct sim *sim);

/* What is told of requests that wait: their positions, and that there are estimates. */
void sim_check_told(struct sim *sim);

/* The book kept apart: slots held now, and what each team holds (added to used). */
size_t sim_slots_held(const struct sim *sim, int64_t *used);

#endif
