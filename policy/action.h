/* Action: a client's request body, read strictly and made canonical. Pure; any thread. */
#ifndef POLICY_ACTION_H
#define POLICY_ACTION_H

#include "common/error.h"
#include "common/memory.h"
#include "common/problems.h"
#include "policy/actions.h"

#include <jansson.h>
#include <stdatomic.h>
#include <stddef.h>

enum device_kind { DEVICE_ID, DEVICE_MAC };

struct action_device {
    char *asked;     /* as the client spelled it */
    char *canonical; /* as the upstream gets it; the same pointer as asked where they are equal */
};

/* Immutable once parsed. */
struct action {
    atomic_size_t references;
    const struct action_type *type;
    enum device_kind kind;
    struct action_device *devices; /* distinct by canonical form, in the order asked */
    size_t device_count;
    json_t *params; /* the object as asked, or NULL where the request has none or an empty one */
};

/* Reads a body by contract "Validation". OK gives *ret_action, which the caller unrefs.
 * ERR_MALFORMED: not strict JSON, or not an object; said in error.
 * ERR_INVALID: every problem, in the order of the body, is in *problems, which the caller starts
 * zeroed and ends with problems_done(). Neither touches *ret_action. */
enum err action_parse(const char *body, size_t len, size_t max_devices, struct action **ret_action,
                      struct problems *problems, struct error *error) MUST_CHECK;

/* Checks params (an object, or NULL for none) against one row of the table; adds to problems. For
 * action_parse() and for tests of rows that the table does not have yet. */
void action_check_params(const struct action_type *type, const json_t *params,
                         struct problems *problems);

/* An action is shared by counted references; the one action_parse() gives is the first. Any
 * thread. action_unref() takes NULL. */
struct action *action_ref(struct action *action);
void action_unref(struct action *action);

/* {"types","ids" or "macs","params" if any} with count devices in canonical form, which may be
 * those of several actions that only differ in them: what the upstream gets. Caller frees. */
char *action_body(const struct action *action, const char *const *devices, size_t count);

/* The same object with the devices as asked, for status answers and audit. New reference. */
json_t *action_as_asked(const struct action *action);

/* A copy of the parameters, or NULL without any. Actions are shared between threads, but references
 * to one json_t must not be: so nobody takes one of action->params. */
json_t *action_params(const struct action *action);

/* An integer or string parameter; fallback (or NULL) when it is not there. */
int64_t action_param_integer(const struct action *action, const char *name, int64_t fallback);
const char *action_param_string(const struct action *action, const char *name);

#endif
