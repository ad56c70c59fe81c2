/* DELETE /v1/actions/{id}: cancels an action while nothing of it was sent. For the team that
 * submitted it, and operators. Worker threads. */
#include "gateway/action_view.h"
#include "gateway/routes.h"
#include "gateway/worker.h"

#include <stdio.h>
#include <string.h>

static void on_cancelled_action(enum err result, const struct store_action *action, void *arg)
{
    struct request *request = arg;

    if (result == OK) {
        request_reply_json(request, 200, action_view(action, -1, -1));
    } else {
        request_reply_problem(request, PROBLEM_UNAVAILABLE,
                              "The action is cancelled, but the store cannot be read now.");
    }
}

static void read_again(struct request *request)
{
    if (store_read_action(worker_gateway(request->worker)->store, request->argument,
                          worker_mailbox(request->worker), on_cancelled_action, request) != OK) {
        on_cancelled_action(ERR_FULL, NULL, request);
    }
}

static void on_answer(struct request *request, struct question *question)
{
    enum err result = question->result;

    question_free(question);
    switch (result) {
    case OK:
        read_again(request);
        break;
    case ERR_EXISTS:
    case ERR_NOT_FOUND:
        request_refuse(request, PROBLEM_NOT_CANCELLABLE,
                       "It has ended, or some of it was sent already.", NULL, 0);
        break;
    default:
        request_reply_problem(request, PROBLEM_UNAVAILABLE,
                              "The gateway cannot record actions now. Nothing was cancelled.");
        break;
    }
}

static void on_action(enum err result, const struct store_action *action, void *arg)
{
    struct request *request = arg;
    struct question *question;

    if (result == ERR_NOT_FOUND || (result == OK && !request_sees_team(request, action->team))) {
        request_refuse(request, PROBLEM_NOT_FOUND, "There is no such action of your team.", NULL,
                       0);
        return;
    }
    if (result != OK) {
        request_reply_problem(request, PROBLEM_UNAVAILABLE, "The store cannot be read now.");
        return;
    }
    if ((request->subject.team == NULL || strcmp(request->subject.team, action->team) != 0) &&
        !request_has_role(request, "operator")) {
        request_refuse(request, PROBLEM_FORBIDDEN,
                       "Only its team and operators may cancel an action.", NULL, 0);
        return;
    }
    question = xcalloc(1, sizeof(*question));
    question->kind = QUESTION_CANCEL;
    (void)snprintf(question->id, sizeof(question->id), "%s", action->id);
    subject_copy(&question->subject, &request->subject);
    request_ask(request, question, on_answer);
}

void handle_cancel_action(struct request *request)
{
    if (store_read_action(worker_gateway(request->worker)->store, request->argument,
                          worker_mailbox(request->worker), on_action, request) != OK) {
        request_reply_problem(request, PROBLEM_UNAVAILABLE, "Too many reads are waiting.");
    }
}
