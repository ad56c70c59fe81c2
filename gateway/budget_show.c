/* GET /v1/budget: the window of the team's account as it is now. A client without a team names the
 * account with ?account=, unless there is only one. Worker threads. */
#include "gateway/routes.h"
#include "gateway/worker.h"

#include <string.h>

static void on_answer(struct request *request, struct question *question)
{
    json_t *budget = json_incref(question->json);

    question_free(question);
    if (budget == NULL) {
        request_reply_problem(request, PROBLEM_UNAVAILABLE, "The configuration just changed.");
        return;
    }
    request_reply_json(request, 200, budget);
}

/* The account asked for; -1 when there is none. */
static ssize_t choose_account(const struct request *request, const char *name)
{
    const struct config *config = request->config;
    ssize_t team = request->principal.client->team_index;

    if (team >= 0) {
        return (ssize_t)config_team(config, (size_t)team)->account_index;
    }
    if (name == NULL) {
        return config->accounts.count == 1 ? 0 : -1;
    }
    for (size_t i = 0; i < config->accounts.count; i++) {
        if (strcmp(config_account(config, i)->name, name) == 0) {
            return (ssize_t)i;
        }
    }
    return -1;
}

void handle_show_budget(struct request *request)
{
    bool twice;
    CLEANUP(cleanup_free) char *name = request_query(request, "account", &twice);
    ssize_t account = choose_account(request, name);
    struct question *question;

    if (account < 0) {
        request_reply_problem(request, PROBLEM_NOT_FOUND,
                              "Say which account: /v1/budget?account=NAME.");
        return;
    }
    question = xcalloc(1, sizeof(*question));
    question->kind = QUESTION_BUDGET;
    question->account = (size_t)account;
    request_ask(request, question, on_answer);
}
