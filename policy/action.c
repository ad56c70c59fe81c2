/* Action: see action.h. Reads the whole body whatever is wrong with it, so that a client hears
 * of every problem at once. Any thread; never does I/O. */
#include "policy/action.h"

#include "common/json.h"
#include "common/mac.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CANONICAL_SIZE 129 /* the longest device, an id of 128, and a NUL */
_Static_assert(MAC_TEXT_SIZE <= CANONICAL_SIZE, "a MAC fits too");

/* What of a client's own text is said back to it, in bytes. */
#define EXCERPT_BYTES 64
#define GIVEN_SIZE    (EXCERPT_BYTES + 32)

struct reader {
    size_t max_devices;
    struct action *action;
    struct problems *problems;
};

static const struct action_type *type_of(const json_t *body);
static void read_body(struct reader *reader, json_t *body);
static void check_param(const struct action_param *param, const json_t *value,
                        struct problems *problems);
static const struct action_param *find_param(const struct action_type *type, const char *name);
static void add_unknown_param(struct problems *problems, const struct action_type *type,
                              const char *name);
static json_t *action_object(const struct action *action, json_t *devices_take);

enum err action_parse(const char *body, size_t len, size_t max_devices, struct action **ret_action,
                      struct problems *problems, struct error *error)
{
    CLEANUP(cleanup_json) json_t *json = NULL;
    enum err err = json_read(body, len, &json, error);
    struct reader reader = {.max_devices = max_devices, .problems = problems};

    if (err != OK) {
        return err;
    }
    if (!json_is_object(json)) {
        return error_set(error, ERR_MALFORMED, "expected an object");
    }
    reader.action = xcalloc(1, sizeof(*reader.action));
    atomic_init(&reader.action->references, 1);
    reader.action->type = type_of(json);
    read_body(&reader, json);
    if (problems->count > 0) {
        action_unref(reader.action);
        return error_set(error, ERR_INVALID, "the action has problems: %zu", problems->count);
    }
    *ret_action = reader.action;
    return OK;
}

void action_check_params(const struct action_type *type, const json_t *params,
                         struct problems *problems)
{
    const struct action_param *param;
    const char *name;
    json_t *value;

    json_object_foreach ((json_t *)params, name, value) {
        param = find_param(type, name);
        if (param != NULL) {
            check_param(param, value, problems);
        } else {
            add_unknown_param(problems, type, name);
        }
    }
    for (param = type->params; param->name != NULL; param++) {
        if (param->required && json_object_get(params, param->name) == NULL) {
            check_param(param, NULL, problems);
        }
    }
}

struct action *action_ref(struct action *action)
{
    (void)atomic_fetch_add(&action->references, 1);
    return action;
}

void action_unref(struct action *action)
{
    if (action == NULL || atomic_fetch_sub(&action->references, 1) > 1) {
        return;
    }
    for (size_t i = 0; i < action->device_count; i++) {
        if (action->devices[i].canonical != action->devices[i].asked) {
            free(action->devices[i].canonical);
        }
        free(action->devices[i].asked);
    }
    free(action->devices);
    json_decref(action->params);
    free(action);
}

char *action_body(const struct action *action, const char *const *devices, size_t count)
{
    json_t *list = json_array();
    CLEANUP(cleanup_json) json_t *object = NULL;

    for (size_t i = 0; i < count; i++) {
        (void)json_array_append_new(list, json_string(devices[i]));
    }
    object = action_object(action, list);
    return json_write(object);
}

json_t *action_as_asked(const struct action *action)
{
    json_t *list = json_array();

    for (size_t i = 0; i < action->device_count; i++) {
        (void)json_array_append_new(list, json_string(action->devices[i].asked));
    }
    return action_object(action, list);
}

json_t *action_params(const struct action *action)
{
    return json_deep_copy(action->params);
}

int64_t action_param_integer(const struct action *action, const char *name, int64_t fallback)
{
    const json_t *value = json_object_get(action->params, name);

    return json_is_integer(value) ? json_integer_value(value) : fallback;
}

const char *action_param_string(const struct action *action, const char *name)
{
    return json_string_value(json_object_get(action->params, name));
}

static json_t *action_object(const struct action *action, json_t *devices_take)
{
    json_t *object = json_object();

    json_object_set_new(object, "types", json_string(action->type->name));
    json_object_set_new(object, action->kind == DEVICE_ID ? "ids" : "macs", devices_take);
    if (action->params != NULL) {
        json_object_set_new(object, "params", action_params(action));
    }
    return object;
}

/* ---- What is said of a wrong value ---- */

static char *add_word_take(char *text, const char *separator, const char *word)
{
    char *longer = xasprintf("%s%s%s", text, separator, word);

    free(text);
    return longer;
}

/* The text, or its start where it is long; never half a character. */
static void write_excerpt(const char *text, char out[GIVEN_SIZE])
{
    size_t len = strlen(text);
    size_t cut = len;

    if (len > EXCERPT_BYTES) {
        for (cut = EXCERPT_BYTES; ((unsigned char)text[cut] & 0xc0) == 0x80; cut--) {
        }
    }
    (void)snprintf(out, GIVEN_SIZE, "\"%.*s%s\"", (int)cut, text, cut < len ? "…" : "");
}

static const char *describe(const json_t *value, char out[GIVEN_SIZE])
{
    if (value == NULL) {
        return "nothing";
    }
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return json_array_size(value) > 0 ? "a list" : "an empty list";
    case JSON_STRING:
        write_excerpt(json_string_value(value), out);
        return out;
    case JSON_INTEGER:
        (void)snprintf(out, GIVEN_SIZE, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return out;
    case JSON_REAL:
        return "a number with a fraction or an exponent";
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        return "null";
    }
    return "something else";
}

static void add_expected(struct problems *problems, const char *pointer, const char *expected,
                         const json_t *value)
{
    char given[GIVEN_SIZE];

    problems_add(problems, pointer, "expected %s, got %s", expected, describe(value, given));
}

static void add_expected_item(struct problems *problems, const char *list, size_t index,
                              const char *expected, const json_t *value)
{
    CLEANUP(cleanup_free) char *pointer = xasprintf("%s/%zu", list, index);

    add_expected(problems, pointer, expected, value);
}

static void add_unknown(struct problems *problems, const char *parent, const char *name,
                        const char *known)
{
    CLEANUP(cleanup_free) char *pointer = NULL;
    char excerpt[GIVEN_SIZE];

    /* A pointer that is cut points nowhere: a key too long to say back is told at its parent. */
    if (strlen(name) > EXCERPT_BYTES) {
        write_excerpt(name, excerpt);
        problems_add(problems, parent, "unknown key %s: %s", excerpt, known);
    } else {
        pointer = json_pointer_append(parent, name);
        problems_add(problems, pointer, "unknown key: %s", known);
    }
}

/* ---- Parameters ---- */

static bool integer_fits(const struct action_param *param, const json_t *value)
{
    json_int_t integer = json_integer_value(value);

    return json_is_integer(value) && integer >= param->min && integer <= param->max;
}

/* The code point that starts at *text, which is valid UTF-8: the JSON reader lets nothing else
 * in. Moves *text behind it. */
static uint32_t next_code_point(const char **text)
{
    const unsigned char *byte = (const unsigned char *)*text;
    uint32_t code = *byte < 0x80   ? *byte
                    : *byte < 0xe0 ? *byte & 0x1fU
                    : *byte < 0xf0 ? *byte & 0x0fU
                                   : *byte & 0x07U;

    for (byte++; (*byte & 0xc0) == 0x80; byte++) {
        code = code << 6 | (*byte & 0x3fU);
    }
    *text = (const char *)byte;
    return code;
}

/* Printable: what cannot break a line, drive a terminal or turn the direction of the text around
 * it, wherever the name may be shown. */
static bool is_printable(uint32_t code)
{
    static const struct {
        uint32_t first, last;
    } refused[] = {
        {0x0000, 0x001f}, /* C0 controls */
        {0x007f, 0x009f}, /* DEL, C1 controls */
        {0x2028, 0x2029}, /* line and paragraph separators */
        {0x202a, 0x202e}, /* embeddings and overrides of direction */
        {0x2066, 0x2069}, /* isolates of direction */
    };

    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        if (code >= refused[i].first && code <= refused[i].last) {
            return false;
        }
    }
    return true;
}

static bool string_fits(const struct action_param *param, const json_t *value)
{
    const char *text = json_string_value(value);
    int64_t count = 0;

    if (text == NULL) {
        return false;
    }
    for (; *text != '\0'; count++) {
        if (count == param->max || !is_printable(next_code_point(&text))) {
            return false;
        }
    }
    return count >= param->min;
}

/* What a parameter must be, for people. The caller frees. */
static char *param_expectation(const struct action_param *param)
{
    switch (param->type) {
    case PARAM_INTEGER:
        return xasprintf("an integer from %" PRId64 " to %" PRId64, param->min, param->max);
    case PARAM_STRING:
        return xasprintf("a string of %" PRId64 " to %" PRId64 " printable characters", param->min,
                         param->max);
    case PARAM_INTEGER_LIST:
        return xasprintf("a list of distinct integers from %" PRId64 " to %" PRId64, param->min,
                         param->max);
    }
    return xstrdup("another value");
}

static const struct action_param *find_param(const struct action_type *type, const char *name)
{
    for (const struct action_param *param = type->params; param->name != NULL; param++) {
        if (strcmp(param->name, name) == 0) {
            return param;
        }
    }
    return NULL;
}

static void add_unknown_param(struct problems *problems, const struct action_type *type,
                              const char *name)
{
    CLEANUP(cleanup_free) char *known = xasprintf("%s takes", type->name);
    const struct action_param *param = type->params;

    if (param->name == NULL) {
        known = add_word_take(known, " ", "no parameters");
    }
    for (; param->name != NULL; param++) {
        known = add_word_take(known, param == type->params ? " " : ", ", param->name);
    }
    add_unknown(problems, "/params", name, known);
}

static bool list_repeats(const json_t *list, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (json_equal(json_array_get(list, i), json_array_get(list, index))) {
            return true;
        }
    }
    return false;
}

static void check_list(const struct action_param *param, const json_t *list, const char *pointer,
                       const char *expected, struct problems *problems)
{
    size_t count = json_array_size(list);
    size_t index;
    json_t *item;

    /* More items than there are values: some repeat, and looking for them would take long. */
    if (count == 0 || count > (size_t)(param->max - param->min) + 1) {
        add_expected(problems, pointer, expected, list);
        return;
    }
    json_array_foreach (list, index, item) {
        if (!integer_fits(param, item) || list_repeats(list, index)) {
            add_expected_item(problems, pointer, index, expected, item);
        }
    }
}

static void check_param(const struct action_param *param, const json_t *value,
                        struct problems *problems)
{
    CLEANUP(cleanup_free) char *pointer = json_pointer_append("/params", param->name);
    CLEANUP(cleanup_free) char *expected = param_expectation(param);
    bool fits = true;

    switch (param->type) {
    case PARAM_INTEGER:
        fits = integer_fits(param, value);
        break;
    case PARAM_STRING:
        fits = string_fits(param, value);
        break;
    case PARAM_INTEGER_LIST:
        check_list(param, value, pointer, expected, problems);
        break;
    }
    if (!fits) {
        add_expected(problems, pointer, expected, value);
    }
}

/* ---- The body ---- */

static const struct action_type *type_of(const json_t *body)
{
    const char *name = json_string_value(json_object_get(body, "types"));

    return name != NULL ? action_type_find(name) : NULL;
}

static void read_types(struct reader *reader, const json_t *value)
{
    CLEANUP(cleanup_free) char *expected = NULL;
    const struct action_type *type;

    if (reader->action->type != NULL) {
        return;
    }
    expected = xstrdup("one of");
    for (size_t i = 0; (type = action_type_at(i)) != NULL; i++) {
        expected = add_word_take(expected, i > 0 ? ", " : " ", type->name);
    }
    add_expected(reader->problems, "/types", expected, value);
}

static bool id_canonical(const char *text, char ret_text[CANONICAL_SIZE])
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                  "0123456789._:-";
    size_t len = strlen(text);

    /* "." and ".." have allowed characters only, but are steps in a path wherever an id becomes
     * part of one; no device is called that. */
    if (len == 0 || len >= CANONICAL_SIZE || strspn(text, allowed) != len ||
        strcmp(text, ".") == 0 || strcmp(text, "..") == 0) {
        return false;
    }
    memcpy(ret_text, text, len + 1);
    return true;
}

static bool mac_is_canonical(const char *text, char ret_text[CANONICAL_SIZE])
{
    return mac_canonical(text, ret_text) == OK;
}

static const struct {
    const char *key;
    bool (*read)(const char *text, char ret_text[CANONICAL_SIZE]);
    const char *expected;
} kinds[] = {
    [DEVICE_ID] = {"ids", id_canonical, "an id of 1 to 128 characters of A-Z a-z 0-9 . _ : -"},
    [DEVICE_MAC] = {"macs", mac_is_canonical, "a MAC address like 00:0c:29:cd:c7:b2"},
};

static void add_device(struct action *action, const char *asked, const char *canonical)
{
    struct action_device *device = &action->devices[action->device_count++];

    device->asked = xstrdup(asked);
    device->canonical = strcmp(asked, canonical) == 0 ? device->asked : xstrdup(canonical);
}

static void read_devices(struct reader *reader, enum device_kind kind, const json_t *list)
{
    struct action *action = reader->action;
    CLEANUP(cleanup_free) char *pointer = json_pointer_append("", kinds[kind].key);
    CLEANUP(cleanup_json) json_t *seen = json_object();
    char canonical[CANONICAL_SIZE];
    size_t index;
    json_t *item;

    action->kind = kind;
    if (json_array_size(list) == 0) {
        add_expected(reader->problems, pointer, "a non-empty list of strings", list);
        return;
    }
    /* Grows what the other list has filled when a body has both, which is a problem elsewhere. */
    action->devices = xrealloc(action->devices, action->device_count + json_array_size(list),
                               sizeof(*action->devices));
    json_array_foreach (list, index, item) {
        if (reader->problems->count == PROBLEMS_MAX) {
            return;
        }
        if (!json_is_string(item) || !kinds[kind].read(json_string_value(item), canonical)) {
            add_expected_item(reader->problems, pointer, index, kinds[kind].expected, item);
        } else if (json_object_get(seen, canonical) == NULL) {
            json_object_set_new(seen, canonical, json_true());
            add_device(action, json_string_value(item), canonical);
        }
    }
    if (json_object_size(seen) > reader->max_devices) {
        problems_add(reader->problems, pointer, "expected at most %zu devices, got %zu",
                     reader->max_devices, json_object_size(seen));
    }
}

static void read_ids(struct reader *reader, const json_t *value)
{
    read_devices(reader, DEVICE_ID, value);
}

static void read_macs(struct reader *reader, const json_t *value)
{
    read_devices(reader, DEVICE_MAC, value);
}

static void read_params(struct reader *reader, const json_t *value)
{
    if (!json_is_object(value)) {
        add_expected(reader->problems, "/params", "an object", value);
        return;
    }
    if (reader->action->type != NULL) {
        action_check_params(reader->action->type, value, reader->problems);
    }
    if (json_object_size(value) > 0) {
        reader->action->params = json_incref((json_t *)value);
    }
}

static const struct {
    const char *name;
    void (*read)(struct reader *reader, const json_t *value);
} keys[] = {
    {"types", read_types},
    {"ids", read_ids},
    {"macs", read_macs},
    {"params", read_params},
};

static void read_key(struct reader *reader, const char *name, const json_t *value)
{
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (strcmp(keys[i].name, name) == 0) {
            keys[i].read(reader, value);
            return;
        }
    }
    add_unknown(reader->problems, "", name, "an action has types, ids or macs, and params");
}

static void read_body(struct reader *reader, json_t *body)
{
    const struct action_type *type = reader->action->type;
    bool has_ids = json_object_get(body, "ids") != NULL;
    bool has_macs = json_object_get(body, "macs") != NULL;
    const char *name;
    json_t *value;

    json_object_foreach (body, name, value) {
        read_key(reader, name, value);
    }
    if (json_object_get(body, "types") == NULL) {
        read_types(reader, NULL);
    }
    if (has_ids == has_macs) {
        problems_add(reader->problems, "", "expected one of ids and macs, got %s",
                     has_ids ? "both" : "neither");
    }
    if (type != NULL && json_object_get(body, "params") == NULL) {
        action_check_params(type, NULL, reader->problems);
    }
}
