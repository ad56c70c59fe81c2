/*
 * The calls under /_sim/ by which tests watch and steer the simulator.
 */
#include <string.h>

#include "handlers.h"

void control_list_calls(struct sim *sim, struct evhttp_request *req, struct answer *answer)
{
    (void)req;
    answer_set_json(answer, 200, calls_list(sim->calls));
}

void control_clear_calls(struct sim *sim, struct evhttp_request *req, struct answer *answer)
{
    (void)req;
    answer_set_json(answer, 200, json_pack("{sI}", "cleared", (json_int_t)sim->stats.executed));
    calls_clear(sim->calls);
    memset(&sim->stats, 0, sizeof(sim->stats));
    limiter_reset_peak(sim->limiter);
}

void control_show_stats(struct sim *sim, struct evhttp_request *req, struct answer *answer)
{
    const struct stats *stats = &sim->stats;

    (void)req;
    answer_set_json(
        answer, 200,
        json_pack("{sI sI sI sI sI sI sI}", "executed", (json_int_t)stats->executed, "refused_429",
                  (json_int_t)stats->refused_429, "bad_token", (json_int_t)stats->bad_token,
                  "bad_request", (json_int_t)stats->bad_request, "tokens_issued",
                  (json_int_t)stats->tokens_issued, "connections", (json_int_t)stats->connections,
                  "max_in_window", (json_int_t)limiter_get_peak(sim->limiter)));
}

void control_list_devices(struct sim *sim, struct evhttp_request *req, struct answer *answer)
{
    (void)req;
    answer_set_json(answer, 200, devices_list(sim->devices));
}

void control_add_faults(struct sim *sim, struct evhttp_request *req, struct answer *answer)
{
    size_t len = 0;
    const char *body = sim_request_body(req, &len);
    struct problem problem = {""};
    json_error_t error;
    json_t *orders = json_loadb(body, len, JSON_REJECT_DUPLICATES, &error);

    if (!orders) {
        answer_set_error(answer, 400, "malformed_json", error.text);
    } else if (!faults_add(sim->faults, orders, &problem)) {
        answer_set_error(answer, 400, "bad_order", problem.text);
    } else {
        answer_set_json(answer, 200,
                        json_pack("{sI}", "waiting", (json_int_t)faults_count(sim->faults)));
    }
    json_decref(orders);
}

void control_list_faults(struct sim *sim, struct evhttp_request *req, struct answer *answer)
{
    (void)req;
    answer_set_json(answer, 200, faults_list(sim->faults));
}

void control_clear_faults(struct sim *sim, struct evhttp_request *req, struct answer *answer)
{
    (void)req;
    answer_set_json(answer, 200,
                    json_pack("{sI}", "cleared", (json_int_t)faults_count(sim->faults)));
    faults_clear(sim->faults);
}

void control_revoke(struct sim *sim, struct evhttp_request *req, struct answer *answer)
{
    size_t revoked = tokens_revoke(sim->tokens, clock_mono_us());

    (void)req;
    answer_set_json(answer, 200, json_pack("{sI}", "revoked", (json_int_t)revoked));
}
