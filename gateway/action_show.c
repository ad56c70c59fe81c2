/* GET /v1/actions/{id}: one action, to the team that submitted it and to auditors and operators.
 * To everybody else it does not exist. Worker threads. */
#include "gateway/action_view.h"
#include "gateway/routes.h"
#include "gateway/worker.h"

#include <stdio.h>
#include <string.h>

/* A queued action's place and estimate are known by the dispatcher only; if it has ended since, it
 * is shown as it was read. */
static void on_place(struct request *request, struct question *question)
{
    char seconds[24];
    int64_t eta_s = (question->eta_ms + 999) / 1000;

    if (question->result == OK) {
        (void)json_object_set_new(request->view, "position",
                                  json_integer((json_int_t)question->position));
        (void)json_object_set_new(request->view, "eta_s", json_integer(eta_s));
        (void)snprintf(seconds, sizeof(seconds), "%lld", (long long)(eta_s > 0 ? eta_s : 1));
        request_set_header(request, "Retry-After", seconds);
    }
    question_free(question);
    request_reply_json(request, 200, json_incref(request->view));
}

static void ask_place(struct request *request, const struct store_action *action)
{
    struct question *question = xcalloc(1, sizeof(*question));

    question->kind = QUESTION_SHOW;
    (void)snprintf(question->id, sizeof(question->id), "%s", action->id);
    request->view = action_view(action, -1, -1);
    request_ask(request, question, on_place);
}

static void on_action(enum err result, const struct store_action *action, void *arg)
{
    struct request *request = arg;
    enum action_state state = ACTION_COMPLETED;

    if (result == OK && !request_sees_team(request, action->team)) {
        result = ERR_NOT_FOUND;
    }
    if (result == ERR_NOT_FOUND) {
        request_refuse(request, PROBLEM_NOT_FOUND, "There is no such action of your team.", NULL,
                       0);
    } else if (result != OK) {
        request_reply_problem(request, PROBLEM_UNAVAILABLE, "The store cannot be read now.");
    } else if (action_state_find(action->state, &state) == OK && !action_state_final(state)) {
        ask_place(request, action);
    } else {
        request_reply_json(request, 200, action_view(action, -1, -1));
    }
}

void handle_show_action(struct request *request)
{
    if (store_read_action(worker_gateway(request->worker)->store, request->argument,
                          worker_mailbox(request->worker), on_action, request) != OK) {
        request_reply_problem(request, PROBLEM_UNAVAILABLE, "Too many reads are waiting.");
    }
}
