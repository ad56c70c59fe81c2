/*
 * The queue of orders to misbehave. Each is used once, in order, by the first call it fits.
 */
#ifndef SIM_FAULTS_H
#define SIM_FAULTS_H

#include <jansson.h>
#include <stdbool.h>

#include "action_request.h"
#include "base.h"

enum fault_on { FAULT_ON_ACTION, FAULT_ON_TOKEN };

enum fault_kind {
    FAULT_STATUS,
    FAULT_CLOSE_BEFORE,
    FAULT_CLOSE_AFTER,
    FAULT_HANG,
    FAULT_GARBAGE,
    FAULT_TRUNCATE,
    FAULT_TRUNCATE_JSON,
    FAULT_DROP_DEVICE,
    FAULT_FOREIGN_DEVICE,
    FAULT_WRAP,
    FAULT_WRONG_SHAPE,
    FAULT_ENDLESS,
    FAULT_BOMB,
    FAULT_REDIRECT,
    FAULT_ECHO_TOKEN,
    FAULT_DELAY,
    FAULT_REJECT_DEVICE,
};

/* One order. The texts point into order, which holds it as it was given. */
struct fault {
    enum fault_kind kind;
    enum fault_on on;
    json_t *order;
};

/* Reads an order; NULL, with the reason, if it is wrong. End with fault_free(). */
struct fault *fault_new(json_t *order, struct problem *problem);
void fault_free(struct fault *fault);

/* Whether a call is one that the order waits for. request is the parsed body, or NULL. */
bool fault_fits(const struct fault *fault, enum fault_on on, const struct action_request *request);

/* The HTTP status of a "status" order; 0 for other orders and for NULL. */
int fault_status(const struct fault *fault);

struct faults;

struct faults *faults_new(void);
void faults_free(struct faults *faults);

/* Appends all orders of a JSON array, or none and says why. At most 10,000 wait at a time. */
bool faults_add(struct faults *faults, const json_t *orders, struct problem *problem);

/* Takes the first order for such a call off the queue; NULL if there is none. request is the
 * parsed body (for reject-device), NULL if there is none. End with fault_free(). */
struct fault *faults_take(struct faults *faults, enum fault_on on,
                          const struct action_request *request);

/* The orders that still wait, as they were given; owned by the caller. */
json_t *faults_list(const struct faults *faults);

size_t faults_count(const struct faults *faults);
void faults_clear(struct faults *faults);

#endif
