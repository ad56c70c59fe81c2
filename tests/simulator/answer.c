/*
 * The answer under construction. Sends nothing.
 */
#include "answer.h"

#include <stdlib.h>
#include <string.h>

static void answer_drop_body(struct answer *answer)
{
    json_decref(answer->json);
    free(answer->text);
    answer->json = NULL;
    answer->text = NULL;
    answer->text_bytes = 0;
}

void answer_set_json(struct answer *answer, int status, json_t *json_take)
{
    answer_drop_body(answer);
    answer->status = status;
    answer->json = json_take;
}

void answer_set_text(struct answer *answer, int status, char *text_take, size_t len)
{
    answer_drop_body(answer);
    answer->status = status;
    answer->text = text_take;
    answer->text_bytes = len;
}

void answer_set_error(struct answer *answer, int status, const char *code, const char *detail)
{
    answer_set_json(answer, status,
                    json_pack("{ss ss*}", "error", code, "error_description", detail));
}

void answer_add_header(struct answer *answer, const char *name, const char *value)
{
    if (!answer->headers) {
        answer->headers = json_object();
    }
    json_object_set_new(answer->headers, name, json_string(value));
}

void answer_render(struct answer *answer)
{
    char *text = NULL;

    if (answer->json) {
        text = json_dumps(answer->json, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(16));
        answer_set_text(answer, answer->status, text, text ? strlen(text) : 0);
    }
}

void answer_done(struct answer *answer)
{
    answer_drop_body(answer);
    json_decref(answer->headers);
    memset(answer, 0, sizeof(*answer));
}
