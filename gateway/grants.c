/* Dispatcher, the grants in the store: a grant is kept while its slot is taken, so that a restart
 * finds it, and dropped soon after, so that the table stays as small as the budget. */
#include "gateway/dispatcher_priv.h"

#include <stdio.h>
#include <stdlib.h>

#define DROPS_IN_A_WRITE 8 /* more than calls come in, so that the list shrinks */

void grants_remember(struct account *account, const char *call_id, int64_t counted_ms)
{
    struct spent_grant *grant = xcalloc(1, sizeof(*grant));
    struct spent_grant **link = &account->spent;

    grant->free_ms = counted_ms + account->config->budget.window_s * 1000 + 1;
    (void)snprintf(grant->call_id, sizeof(grant->call_id), "%s", call_id);
    /* Nearly always it is the last to come free. */
    if (account->spent != NULL && account->last_spent->free_ms <= grant->free_ms) {
        link = &account->last_spent->next;
    }
    while (*link != NULL && (*link)->free_ms <= grant->free_ms) {
        link = &(*link)->next;
    }
    grant->next = *link;
    *link = grant;
    if (grant->next == NULL) {
        account->last_spent = grant;
    }
}

void grants_shift(struct account *account, int64_t by_ms)
{
    for (struct spent_grant *grant = account->spent; grant != NULL; grant = grant->next) {
        grant->free_ms += by_ms;
    }
}

void grants_drop_spent(struct account *account, struct store_write *write, int64_t now_ms)
{
    for (int i = 0; i < DROPS_IN_A_WRITE; i++) {
        struct spent_grant *grant = account->spent;
        if (grant == NULL || grant->free_ms > now_ms) {
            return;
        }
        store_write_drop_grant(write, grant->call_id);
        account->spent = grant->next;
        free(grant);
    }
}

void grants_free(struct account *account)
{
    while (account->spent != NULL) {
        struct spent_grant *grant = account->spent;
        account->spent = grant->next;
        free(grant);
    }
}
