/* Action view: an action as clients see it (contract, "202"). Any thread. */
#ifndef GATEWAY_ACTION_VIEW_H
#define GATEWAY_ACTION_VIEW_H

#include "store/store.h"

#include <jansson.h>

/* The JSON of an action. position and eta_ms are shown when they are not negative; request,
 * results and problem of the row are JSON texts. New reference. */
json_t *action_view(const struct store_action *row, int64_t position, int64_t eta_ms);

#endif
