/*
 * One order to misbehave: a table says what each may hold, and which calls it fits.
 */
#include <stdlib.h>
#include <string.h>

#include "faults.h"

#define DELAY_MS_MAX 3600000

/* required: the key an order must have: a string, or an integer up to greatest if that is set. */
static const struct fault_row {
    const char *name;
    const char *required;
    json_int_t least;
    json_int_t greatest;
    bool action_only;
} fault_rows[] = {
    [FAULT_STATUS] = {"status", "status", 200, 599, false},
    [FAULT_CLOSE_BEFORE] = {.name = "close-before"},
    [FAULT_CLOSE_AFTER] = {.name = "close-after"},
    [FAULT_HANG] = {.name = "hang"},
    [FAULT_GARBAGE] = {.name = "garbage"},
    [FAULT_TRUNCATE] = {.name = "truncate"},
    [FAULT_TRUNCATE_JSON] = {.name = "truncate-json"},
    [FAULT_DROP_DEVICE] = {.name = "drop-device", .action_only = true},
    [FAULT_FOREIGN_DEVICE] = {.name = "foreign-device", .action_only = true},
    [FAULT_WRAP] = {.name = "wrap", .action_only = true},
    [FAULT_WRONG_SHAPE] = {.name = "wrong-shape"},
    [FAULT_ENDLESS] = {.name = "endless"},
    [FAULT_BOMB] = {.name = "bomb"},
    [FAULT_REDIRECT] = {.name = "redirect", .required = "location"},
    [FAULT_ECHO_TOKEN] = {.name = "echo-token"},
    [FAULT_DELAY] = {"delay", "ms", 0, DELAY_MS_MAX, false},
    [FAULT_REJECT_DEVICE] = {.name = "reject-device", .required = "id", .action_only = true},
};

#define FAULT_ROWS (sizeof(fault_rows) / sizeof(fault_rows[0]))

static bool check_keys(const struct fault *fault, struct problem *problem)
{
    const struct fault_row *row = &fault_rows[fault->kind];
    const char *key = NULL;
    json_t *value = NULL;

    json_object_foreach (fault->order, key, value) {
        bool known = strcmp(key, "do") == 0 || strcmp(key, "on") == 0 ||
                     (row->required && strcmp(key, row->required) == 0) ||
                     (fault->kind == FAULT_STATUS &&
                      (strcmp(key, "body") == 0 || strcmp(key, "headers") == 0));

        if (!known) {
            problem_set(problem, "\"%s\" takes no \"%.64s\"", row->name, key);
            return false;
        }
    }
    return true;
}

static bool check_headers(json_t *headers, struct problem *problem)
{
    const char *name = NULL;
    json_t *value = NULL;

    if (headers && !json_is_object(headers)) {
        problem_set(problem, "\"headers\" must be an object");
        return false;
    }
    json_object_foreach (headers, name, value) {
        const char *text = json_string_value(value);

        if (!text || strpbrk(text, "\r\n") || name[0] == '\0' || strpbrk(name, "\r\n: ")) {
            problem_set(problem, "\"headers\": \"%.64s\" is not a sane header", name);
            return false;
        }
    }
    return true;
}

static bool check_required(const struct fault *fault, struct problem *problem)
{
    const struct fault_row *row = &fault_rows[fault->kind];
    const json_t *value = row->required ? json_object_get(fault->order, row->required) : NULL;
    json_int_t number = json_integer_value(value);
    const char *text = json_string_value(value);

    if (row->greatest > 0 &&
        (!json_is_integer(value) || number < row->least || number > row->greatest)) {
        problem_set(problem, "\"%s\" needs \"%s\", an integer from %lld to %lld", row->name,
                    row->required, (long long)row->least, (long long)row->greatest);
        return false;
    }
    if (row->required && row->greatest == 0 && (!text || strpbrk(text, "\r\n"))) {
        problem_set(problem, "\"%s\" needs \"%s\", a string", row->name, row->required);
        return false;
    }
    return true;
}

static bool read_kind(struct fault *fault, struct problem *problem)
{
    const char *name = json_string_value(json_object_get(fault->order, "do"));
    const json_t *on = json_object_get(fault->order, "on");
    const char *on_name = on ? json_string_value(on) : "action";
    size_t row = 0;

    while (row < FAULT_ROWS && (!name || strcmp(name, fault_rows[row].name) != 0)) {
        row++;
    }
    if (row == FAULT_ROWS) {
        problem_set(problem, name ? "unknown \"do\": \"%.64s\"" : "\"do\" must be a string%s",
                    name ? name : "");
        return false;
    }
    fault->kind = (enum fault_kind)row;
    if (!on_name || (strcmp(on_name, "action") != 0 && strcmp(on_name, "token") != 0)) {
        problem_set(problem, "\"on\" must be \"action\" or \"token\"");
        return false;
    }
    fault->on = strcmp(on_name, "token") == 0 ? FAULT_ON_TOKEN : FAULT_ON_ACTION;
    if (fault->on == FAULT_ON_TOKEN && fault_rows[row].action_only) {
        problem_set(problem, "\"%s\" fits action calls only", name);
        return false;
    }
    return true;
}

struct fault *fault_new(json_t *order, struct problem *problem)
{
    struct fault *fault = sim_calloc(1, sizeof(*fault));

    fault->order = json_incref(order);
    if (!json_is_object(order)) {
        problem_set(problem, "not an object");
    } else if (read_kind(fault, problem) && check_keys(fault, problem) &&
               check_required(fault, problem) &&
               check_headers(json_object_get(order, "headers"), problem)) {
        return fault;
    }
    fault_free(fault);
    return NULL;
}

void fault_free(struct fault *fault)
{
    if (fault) {
        json_decref(fault->order);
        free(fault);
    }
}

bool fault_fits(const struct fault *fault, enum fault_on on, const struct action_request *request)
{
    if (fault->on != on) {
        return false;
    }
    if (fault->kind == FAULT_REJECT_DEVICE) {
        const char *device = json_string_value(json_object_get(fault->order, "id"));

        return request && action_request_holds(request, device);
    }
    return true;
}

int fault_status(const struct fault *fault)
{
    if (!fault || fault->kind != FAULT_STATUS) {
        return 0;
    }
    return (int)json_integer_value(json_object_get(fault->order, "status"));
}
