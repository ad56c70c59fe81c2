/*
 * The queue of orders. One order is read and checked in fault.c, carried out in fault_apply.c.
 */
#include "faults.h"

#include <stdlib.h>

#define FAULTS_WAITING_MAX 10000

struct faults {
    size_t count;
    struct fault *waiting[FAULTS_WAITING_MAX]; /* in order */
};

struct faults *faults_new(void)
{
    return sim_calloc(1, sizeof(struct faults));
}

void faults_free(struct faults *faults)
{
    if (faults) {
        faults_clear(faults);
        free(faults);
    }
}

bool faults_add(struct faults *faults, const json_t *orders, struct problem *problem)
{
    struct problem reason = {""};

    if (!json_is_array(orders)) {
        problem_set(problem, "the body must be a JSON array of orders");
        return false;
    }
    if (faults->count + json_array_size(orders) > FAULTS_WAITING_MAX) {
        problem_set(problem, "more than %d orders would wait", FAULTS_WAITING_MAX);
        return false;
    }
    for (size_t i = 0; i < json_array_size(orders); i++) {
        struct fault *fault = fault_new(json_array_get(orders, i), &reason);

        if (!fault) {
            problem_set(problem, "order %zu: %s", i, reason.text);
            return false;
        }
        fault_free(fault);
    }
    for (size_t i = 0; i < json_array_size(orders); i++) {
        faults->waiting[faults->count++] = fault_new(json_array_get(orders, i), &reason);
    }
    return true;
}

struct fault *faults_take(struct faults *faults, enum fault_on on,
                          const struct action_request *request)
{
    for (size_t i = 0; i < faults->count; i++) {
        struct fault *fault = faults->waiting[i];

        if (fault_fits(fault, on, request)) {
            faults->count--;
            for (; i < faults->count; i++) {
                faults->waiting[i] = faults->waiting[i + 1];
            }
            return fault;
        }
    }
    return NULL;
}

json_t *faults_list(const struct faults *faults)
{
    json_t *list = json_array();

    for (size_t i = 0; i < faults->count; i++) {
        json_array_append(list, faults->waiting[i]->order);
    }
    return list;
}

size_t faults_count(const struct faults *faults)
{
    return faults->count;
}

void faults_clear(struct faults *faults)
{
    while (faults->count > 0) {
        fault_free(faults->waiting[--faults->count]);
    }
}
