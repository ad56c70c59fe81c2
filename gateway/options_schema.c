/* Options, the JSON Schema made from a table: see options.h. */
#include "gateway/options.h"

#include "common/memory.h"

static json_t *object_schema(const struct option_row *table);

static void set_range(json_t *schema, const struct option_row *option, const char *least,
                      const char *most)
{
    if (option->min != 0 || option->type == OPTION_INTEGER) {
        (void)json_object_set_new(schema, least, json_integer(option->min));
    }
    if (option->max > 0) {
        (void)json_object_set_new(schema, most, json_integer(option->max));
    }
}

static json_t *text_schema(const struct option_row *option)
{
    json_t *schema = json_pack("{s:s}", "type", "string");

    if (option->choices != NULL) {
        json_t *choices = json_array();
        for (const char *const *choice = option->choices; *choice != NULL; choice++) {
            (void)json_array_append_new(choices, json_string(*choice));
        }
        (void)json_object_set_new(schema, "enum", choices);
    }
    return schema;
}

static json_t *value_schema(const struct option_row *option)
{
    json_t *schema = NULL;

    switch (option->type) {
    case OPTION_BOOL:
        return json_pack("{s:s, s:b}", "type", "boolean", "default", (int)option->fallback);
    case OPTION_INTEGER:
        schema = json_pack("{s:s}", "type", "integer");
        set_range(schema, option, "minimum", "maximum");
        if (!option->required && option->fallback >= option->min) {
            (void)json_object_set_new(schema, "default", json_integer(option->fallback));
        }
        return schema;
    case OPTION_STRING:
    case OPTION_FILE:
        schema = text_schema(option);
        set_range(schema, option, "minLength", "maxLength");
        if (option->fallback_text != NULL) {
            (void)json_object_set_new(schema, "default", json_string(option->fallback_text));
        }
        return schema;
    case OPTION_TEXTS:
        schema = json_pack("{s:s, s:o}", "type", "array", "items", text_schema(option));
        set_range(schema, option, "minItems", "maxItems");
        return schema;
    case OPTION_LIST:
        schema = json_pack("{s:s, s:o}", "type", "array", "items", object_schema(option->members));
        set_range(schema, option, "minItems", "maxItems");
        return schema;
    case OPTION_MAP:
        schema = json_pack("{s:s, s:o}", "type", "object", "additionalProperties",
                           object_schema(option->members));
        set_range(schema, option, "minProperties", "maxProperties");
        return schema;
    case OPTION_OBJECT:
        return object_schema(option->members);
    }
    return schema;
}

static json_t *object_schema(const struct option_row *table)
{
    json_t *properties = json_object();
    json_t *required = json_array();

    for (const struct option_row *option = table; option->name != NULL; option++) {
        json_t *schema = value_schema(option);
        (void)json_object_set_new(schema, "description", json_string(option->doc));
        (void)json_object_set_new(properties, option->name, schema);
        if (option->required) {
            (void)json_array_append_new(required, json_string(option->name));
        }
    }
    json_t *schema = json_pack("{s:s, s:b, s:o}", "type", "object", "additionalProperties", 0,
                               "properties", properties);
    if (json_array_size(required) > 0) {
        (void)json_object_set(schema, "required", required);
    }
    json_decref(required);
    return schema;
}

json_t *options_schema(const struct option_row *table, const char *title)
{
    json_t *schema = json_pack("{s:s, s:s}", "$schema",
                               "https://json-schema.org/draft/2020-12/schema", "title", title);
    json_t *object = object_schema(table);

    (void)json_object_update(schema, object);
    json_decref(object);
    return schema;
}
