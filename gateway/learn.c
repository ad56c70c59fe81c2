/* Dispatcher, what an answer teaches about the upstream's own count: a pause after it refused a
 * call over its limit, and slots taken out for calls that are not ours. Both are stored beside the
 * call's grant, as grants of their own that no call has, so that a restart heeds them as it heeds
 * grants. See call.h. */
#include "gateway/call.h"

#include "common/clock.h"
#include "common/log.h"
#include "gateway/metrics.h"

#include <stdio.h>

static void pause_account(struct call *call, const struct upstream_outcome *outcome, int64_t now_ms)
{
    struct account *account = call->account;
    int64_t pause_s = outcome->retry_after_s > outcome->rate_reset_s ? outcome->retry_after_s
                                                                     : outcome->rate_reset_s;

    if (pause_s < 1) { /* not said, or in less than a second */
        pause_s = pause_s < 0 ? account->config->budget.window_s : 1;
    }
    call->paused_ms = now_ms + pause_s * 1000;
    scheduler_pause(account->scheduler, call->paused_ms);
    metrics_add(METRIC_FOREIGN_CALLS, account->config->name, NULL, 1);
    log_warning("the upstream refused a call over its rate limit: does somebody else use the "
                "account?",
                "s:s, s:I", "account", account->config->name, "pause_s", (json_int_t)pause_s);
}

void call_learn(struct call *call, const struct upstream_outcome *outcome, int64_t now_ms)
{
    struct account *account = call->account;
    const char *name = account->config->name;

    if (outcome->status == 429) {
        pause_account(call, outcome, now_ms);
    } else if (outcome->answered) {
        call->foreign =
            scheduler_learn(account->scheduler, call->batch, outcome->rate_remaining, now_ms);
        if (call->foreign > 0) {
            metrics_add(METRIC_FOREIGN_CALLS, name, NULL, (double)call->foreign);
            log_warning("the upstream counts calls that are not ours: does somebody else use the "
                        "account?",
                        "s:s, s:I", "account", name, "calls", (json_int_t)call->foreign);
        }
    }
}

/* A grant that is named after the call; the same at each try to store it. */
static void name_grant(const struct call *call, const char *kind, char id[static CALL_ID_SIZE])
{
    (void)snprintf(id, CALL_ID_SIZE, "%s_%s", kind, call->id + CALL_ID_PREFIX);
}

static void add_grant(const struct call *call, struct store_write *write, const char *kind,
                      int64_t until_ms, const char *detail)
{
    int64_t wall_ahead_ms = clock_wall_ms() - clock_boot_ms();
    char id[CALL_ID_SIZE];
    struct store_grant grant = {
        .call_id = id,
        .account = call->account->config->name,
        .boot_id = clock_boot_id(),
        .taken_boot_ms = call->counted_boot_ms,
        .taken_wall_ms = call->counted_boot_ms + wall_ahead_ms,
        .answered_boot_ms = until_ms,
        .answered_wall_ms = until_ms + wall_ahead_ms,
        .detail = detail,
    };

    name_grant(call, kind, id);
    store_write_add_grant(write, &grant);
}

void call_write_learned(const struct call *call, struct store_write *write)
{
    char detail[64];

    if (call->foreign > 0) {
        (void)snprintf(detail, sizeof(detail), "{\"slots\":%zu}", call->foreign);
        add_grant(call, write, "foreign", call->counted_boot_ms, detail);
    }
    if (call->paused_ms > 0) {
        add_grant(call, write, "pause", call->paused_ms, "{\"slots\":0,\"pause\":true}");
    }
}

void call_keep_learned(const struct call *call)
{
    char id[CALL_ID_SIZE];

    if (call->foreign > 0) {
        name_grant(call, "foreign", id);
        grants_remember(call->account, id, call->counted_boot_ms);
    }
    if (call->paused_ms > 0) {
        name_grant(call, "pause", id);
        grants_remember(call->account, id, call->paused_ms);
    }
}
