/* Record: any bytes as an audit record, against jansson. What the scanner takes, jansson takes too
 * (but for numbers that it cannot hold), and both see the same fields, lists and members. What
 * jansson takes as an object without the same name twice, the scanner takes, unless its header says
 * why not. */
#include "fuzz.h"

#include "common/json.h"
#include "common/record.h"
#include "common/scan.h"

#include <assert.h>
#include <string.h>

#define OTHERS_MAX 64

enum kind { INTEGER, STRING, STRINGS, OBJECTS, OBJECT };

static const struct field {
    const char *name;
    enum kind kind;
    bool required;
    size_t offset;
} fields[] = {
    {"v", INTEGER, true, offsetof(struct record, v)},
    {"seq", INTEGER, true, offsetof(struct record, seq)},
    {"node", STRING, true, offsetof(struct record, node)},
    {"time", STRING, true, offsetof(struct record, time)},
    {"event", STRING, true, offsetof(struct record, event)},
    {"request_id", STRING, false, offsetof(struct record, request_id)},
    {"client", STRING, false, offsetof(struct record, client)},
    {"key_id", STRING, false, offsetof(struct record, key_id)},
    {"team", STRING, false, offsetof(struct record, team)},
    {"remote", STRING, false, offsetof(struct record, remote)},
    {"action_id", STRING, false, offsetof(struct record, action_id)},
    {"call_id", STRING, false, offsetof(struct record, call_id)},
    {"account", STRING, false, offsetof(struct record, account)},
    {"action", STRING, false, offsetof(struct record, action)},
    {"reason", STRING, false, offsetof(struct record, reason)},
    {"decision", STRING, false, offsetof(struct record, decision)},
    {"rule", STRING, false, offsetof(struct record, rule)},
    {"problem", STRING, false, offsetof(struct record, problem)},
    {"outcome", STRING, false, offsetof(struct record, outcome)},
    {"devices", STRINGS, false, offsetof(struct record, devices)},
    {"results", OBJECTS, false, offsetof(struct record, results)},
    {"params", OBJECT, false, offsetof(struct record, params)},
    {"detail", OBJECT, false, offsetof(struct record, detail)},
};

static const struct record_piece *piece_at(const struct record *record, const struct field *field)
{
    return (const struct record_piece *)((const char *)record + field->offset);
}

/* ---- What the scanner took is what jansson has ---- */

static void check_members(struct record_piece object, const json_t *value)
{
    const char *name;
    json_t *member;

    assert(record_member(object, "no such name, ever").at == NULL);
    json_object_foreach ((json_t *)value, name, member) {
        struct record_piece piece = record_member(object, name);
        assert(piece.at != NULL);
        if (json_is_string(member)) {
            assert(record_equals(piece, json_string_value(member)));
        } else if (json_is_integer(member)) {
            assert(record_integer(piece, json_integer_value(member) ^ 1) ==
                   json_integer_value(member));
        }
    }
}

static void check_strings(struct record_piece array, const json_t *value)
{
    const char *at = NULL;
    struct record_piece item;
    size_t count = 0;

    for (; record_next_string(array, &at, &item); count++) {
        const char *text = json_string_value(json_array_get(value, count));
        assert(text != NULL && record_equals(item, text));
    }
    assert(count == json_array_size(value));
}

static void check_objects(struct record_piece array, const json_t *value)
{
    const char *at = NULL;
    struct record_piece id;
    size_t found = 0;
    size_t with_id = 0;
    size_t index;
    json_t *item;

    while (record_next_member(array, "id", &at, &id)) {
        found++;
    }
    json_array_foreach (value, index, item) {
        with_id += json_object_get(item, "id") != NULL ? 1 : 0;
    }
    assert(found == with_id);
}

static void check_field(const struct record *record, const struct field *field, const json_t *value)
{
    if (field->kind == INTEGER) {
        int64_t integer;
        memcpy(&integer, piece_at(record, field), sizeof(integer));
        assert(json_is_integer(value) && integer == json_integer_value(value));
        return;
    }
    struct record_piece piece = *piece_at(record, field);
    assert((piece.at == NULL) == (value == NULL));
    if (value == NULL) {
        return;
    }
    switch (field->kind) {
    case STRING:
        assert(json_is_string(value) && record_equals(piece, json_string_value(value)));
        break;
    case STRINGS:
        check_strings(piece, value);
        break;
    case OBJECTS:
        check_objects(piece, value);
        break;
    default:
        assert(json_is_object(value));
        check_members(piece, value);
        break;
    }
}

/* ---- What jansson took and the scanner did not ---- */

/* White space outside strings, and how deep arrays and objects go. */
static void measure(const char *text, size_t len, bool *ret_space, size_t *ret_depth)
{
    bool inside = false;
    size_t depth = 0;

    *ret_space = false;
    *ret_depth = 0;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (inside && c == '\\') {
            i++;
        } else if (c == '"') {
            inside = !inside;
        } else if (!inside) {
            *ret_space = *ret_space || strchr(" \t\r\n", c) != NULL;
            depth += c == '{' || c == '[' ? 1 : 0;
            *ret_depth = depth > *ret_depth ? depth : *ret_depth;
            depth -= c == '}' || c == ']' ? 1 : 0;
        }
    }
}

static bool all_are(const json_t *list, json_type type)
{
    size_t index;
    json_t *item;

    json_array_foreach (list, index, item) {
        if (json_typeof(item) != type) {
            return false;
        }
    }
    return json_is_array(list);
}

static bool has_kind(const json_t *value, enum kind kind)
{
    switch (kind) {
    case INTEGER:
        return json_is_integer(value);
    case STRING:
        return json_is_string(value);
    case STRINGS:
        return all_are(value, JSON_STRING);
    case OBJECTS:
        return all_are(value, JSON_OBJECT);
    default:
        return json_is_object(value);
    }
}

static bool should_be_taken(const char *text, size_t len, const json_t *root)
{
    size_t known = 0;
    size_t depth;
    bool space;

    measure(text, len, &space, &depth);
    if (space || depth > SCAN_DEPTH_MAX || !json_is_object(root)) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const json_t *value = json_object_get(root, fields[i].name);
        known += value != NULL ? 1 : 0;
        if (value == NULL ? fields[i].required : !has_kind(value, fields[i].kind)) {
            return false;
        }
    }
    return json_object_size(root) - known <= OTHERS_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct record record = {.seq = 0};
    enum err err = record_read(text, size, &record);
    json_error_t why;
    CLEANUP(cleanup_json) json_t *loose = json_loadb(text, size, 0, &why);
    CLEANUP(cleanup_json) json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);

    assert(err == OK || err == ERR_MALFORMED);
    if (err == OK) {
        assert(loose != NULL || json_error_code(&why) == json_error_numeric_overflow);
    }
    if (root == NULL) {
        return 0;
    }
    assert((err == OK) == should_be_taken(text, size, root));
    for (size_t i = 0; i < ARRAY_LEN(fields) && err == OK; i++) {
        check_field(&record, &fields[i], json_object_get(root, fields[i].name));
    }
    return 0;
}
