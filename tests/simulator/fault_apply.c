/*
 * Carrying out an order. What is broken below HTTP (cut, hanging, endless) is only noted in the
 * answer as its delivery; exchange.c does it.
 */
#include "fault_apply.h"

#include <string.h>

#include "bomb.h"

#define FOREIGN_ID  "foreign-device-001"
#define FOREIGN_MAC "00:0c:29:fe:00:01"

bool fault_executes(const struct fault *fault)
{
    switch (fault->kind) {
    case FAULT_STATUS:
    case FAULT_CLOSE_BEFORE:
    case FAULT_REDIRECT:
    case FAULT_ECHO_TOKEN:
    case FAULT_REJECT_DEVICE:
        return false;
    default:
        return true;
    }
}

static void answer_set_copy(struct answer *answer, int status, const char *text)
{
    answer_set_text(answer, status, sim_copy(text, strlen(text)), strlen(text));
}

static void apply_status(const struct fault *fault, struct answer *answer)
{
    json_t *headers = json_object_get(fault->order, "headers");
    json_t *body = json_object_get(fault->order, "body");
    const char *name = NULL;
    json_t *value = NULL;

    if (json_is_string(body)) {
        answer_set_copy(answer, fault_status(fault), json_string_value(body));
    } else if (body) {
        answer_set_json(answer, fault_status(fault), json_incref(body));
    } else {
        answer_set_error(answer, fault_status(fault), "simulated_fault", NULL);
    }
    json_object_foreach (headers, name, value) {
        answer_add_header(answer, name, json_string_value(value));
    }
}

static void apply_echo_token(struct answer *answer, const char *secret)
{
    answer_set_json(answer, 400,
                    json_pack("{ss ss+}", "error", "invalid_request", "error_description",
                              "refused for token ", secret));
    answer_add_header(answer, "X-Refused-Token", secret);
}

static void apply_reject_device(const struct fault *fault, struct answer *answer)
{
    answer_set_error(answer, 400, "invalid_device",
                     json_string_value(json_object_get(fault->order, "id")));
}

static void apply_drop_device(struct answer *answer)
{
    if (json_array_size(answer->json) > 0) {
        json_array_remove(answer->json, json_array_size(answer->json) - 1);
    }
}

static void apply_foreign_device(struct answer *answer, const struct action_request *request)
{
    if (request) {
        json_array_append_new(answer->json, json_pack("{ss si ss}", "id",
                                                      request->by_mac ? FOREIGN_MAC : FOREIGN_ID,
                                                      "status", 1, "command_id", ""));
    }
}

static void apply_bomb(struct answer *answer)
{
    size_t len = 0;
    char *text = bomb_new(&len);

    answer_set_text(answer, 200, text, len);
    answer_add_header(answer, "Content-Encoding", "gzip");
}

/* Orders that replace or reshape the body; false if the order is not one of them. */
static bool apply_to_body(const struct fault *fault, struct answer *answer,
                          const struct action_request *request)
{
    switch (fault->kind) {
    case FAULT_GARBAGE:
        answer_set_copy(answer, 200, "<html><body>It works!</body></html>\n");
        return true;
    case FAULT_TRUNCATE_JSON:
        answer_render(answer);
        answer->text_bytes /= 2;
        return true;
    case FAULT_DROP_DEVICE:
        apply_drop_device(answer);
        return true;
    case FAULT_FOREIGN_DEVICE:
        apply_foreign_device(answer, request);
        return true;
    case FAULT_WRAP:
        if (json_is_array(answer->json)) {
            answer_set_json(answer, 200, json_pack("{sO}", "devices", answer->json));
        }
        return true;
    case FAULT_WRONG_SHAPE:
        answer_set_json(answer, 200, json_pack("{si}", "result", 1));
        return true;
    case FAULT_BOMB:
        apply_bomb(answer);
        return true;
    default:
        return false;
    }
}

void fault_apply(const struct fault *fault, struct answer *answer,
                 const struct action_request *request, const char *secret)
{
    if (apply_to_body(fault, answer, request)) {
        return;
    }
    switch (fault->kind) {
    case FAULT_STATUS:
        apply_status(fault, answer);
        break;
    case FAULT_REDIRECT:
        answer_set_error(answer, 302, "moved", NULL);
        answer_add_header(answer, "Location",
                          json_string_value(json_object_get(fault->order, "location")));
        break;
    case FAULT_ECHO_TOKEN:
        apply_echo_token(answer, secret);
        break;
    case FAULT_REJECT_DEVICE:
        apply_reject_device(fault, answer);
        break;
    case FAULT_DELAY:
        answer->delay_ms += json_integer_value(json_object_get(fault->order, "ms"));
        break;
    case FAULT_TRUNCATE:
        answer->delivery = DELIVER_HALF;
        break;
    case FAULT_ENDLESS:
        answer->status = 200;
        answer->delivery = DELIVER_ENDLESS;
        break;
    case FAULT_HANG:
        answer->delivery = DELIVER_HANG;
        break;
    case FAULT_CLOSE_BEFORE:
    case FAULT_CLOSE_AFTER:
        answer->delivery = DELIVER_CLOSE;
        break;
    default:
        break;
    }
}
