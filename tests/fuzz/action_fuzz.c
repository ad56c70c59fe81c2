/* Action: a request's body. What is taken holds 1 to the maximum of devices, all of the form that
 * the upstream may see, none twice; the canonical body made of it reads as the same action and
 * gives the same bytes again, and so does the action as asked. What is not taken says why, in
 * words that JSON can carry, and touches no output. */
#include "fuzz.h"

#include "common/json.h"
#include "policy/action.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEVICES 8

static void check_id(const char *text)
{
    size_t len = strlen(text);

    assert(len >= 1 && len <= 128);
    assert(strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-") ==
           len);
    assert(strcmp(text, ".") != 0 && strcmp(text, "..") != 0);
}

static void check_mac(const char *text)
{
    assert(strlen(text) == 17);
    for (size_t i = 0; i < 17; i++) {
        assert(i % 3 == 2 ? text[i] == ':' : strchr("0123456789abcdef", text[i]) != NULL);
    }
}

static void check_devices(const struct action *action)
{
    assert(action->device_count >= 1 && action->device_count <= MAX_DEVICES);
    for (size_t i = 0; i < action->device_count; i++) {
        const char *canonical = action->devices[i].canonical;
        if (action->kind == DEVICE_MAC) {
            check_mac(canonical);
        } else {
            check_id(canonical);
            assert(strcmp(canonical, action->devices[i].asked) == 0);
        }
        for (size_t k = 0; k < i; k++) {
            assert(strcmp(canonical, action->devices[k].canonical) != 0);
        }
    }
}

static void check_params(const struct action *action)
{
    const char *name = action->type->name;
    int64_t hours = action_param_integer(action, "exempt_time", 0);
    const char *group = action_param_string(action, "group_id");

    assert(action->params == NULL || json_object_size(action->params) > 0);
    assert(hours >= 0 && hours <= 64999);
    assert(strcmp(name, "exempt") == 0 || json_object_get(action->params, "exempt_time") == NULL);
    assert((strcmp(name, "assign_to_group") == 0) == (group != NULL));
    assert(group == NULL || (strlen(group) >= 1 && strlen(group) <= 128 * 4));
    assert(group == NULL || strpbrk(group, "\r\n\x1b\x7f") == NULL);
}

static struct action *parse_again(const char *body)
{
    struct action *action = NULL;
    struct problems problems = {0};
    struct error error;
    enum err err = action_parse(body, strlen(body), MAX_DEVICES, &action, &problems, &error);

    assert(err == OK && problems.count == 0);
    return action;
}

static char *canonical_body(const struct action *action)
{
    const char *devices[MAX_DEVICES];

    for (size_t i = 0; i < action->device_count; i++) {
        devices[i] = action->devices[i].canonical;
    }
    return action_body(action, devices, action->device_count);
}

static void check_round_trip(const struct action *action, const char *body, bool as_asked)
{
    struct action *again = parse_again(body);
    CLEANUP(cleanup_free) char *canonical = canonical_body(action);
    CLEANUP(cleanup_free) char *same = canonical_body(again);

    assert(again->type == action->type && again->kind == action->kind);
    assert(again->device_count == action->device_count);
    for (size_t i = 0; as_asked && i < action->device_count; i++) {
        assert(strcmp(again->devices[i].asked, action->devices[i].asked) == 0);
    }
    assert(json_equal(again->params, action->params) || again->params == action->params);
    assert(strcmp(canonical, same) == 0);
    action_unref(again);
}

static void check_action(struct action *action)
{
    CLEANUP(cleanup_free) char *canonical = NULL;
    CLEANUP(cleanup_free) char *asked = NULL;
    CLEANUP(cleanup_json) json_t *object = action_as_asked(action);

    assert(action->type != NULL);
    check_devices(action);
    check_params(action);
    canonical = canonical_body(action);
    asked = json_write(object);
    check_round_trip(action, canonical, false);
    check_round_trip(action, asked, true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct action *action = NULL;
    struct problems problems = {0};
    struct error error = {0};
    enum err err = action_parse((const char *)data, size, MAX_DEVICES, &action, &problems, &error);

    if (err == OK) {
        assert(problems.count == 0);
        check_action(action);
        action_unref(action);
        return 0;
    }
    assert(action == NULL && error.code == err && fuzz_is_utf8(error.text));
    assert(err == ERR_MALFORMED || err == ERR_INVALID);
    if (err == ERR_INVALID) {
        fuzz_check_problems(&problems);
    } else {
        assert(problems.count == 0 && error.text[0] != '\0');
    }
    problems_done(&problems);
    return 0;
}
