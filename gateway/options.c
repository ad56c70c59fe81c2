/* Options: see options.h. Reading and freeing; the schema is made in options_schema.c. */
#include "gateway/options.h"

#include "common/file.h"
#include "common/json.h"
#include "common/memory.h"
#include "policy/rules.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    const char *folder;
    struct problems *problems;
};

static void read_object(const struct reader *reader, const struct option_row *table,
                        const json_t *value, const char *pointer, void *target);

static const char *const type_names[] = {
    [OPTION_BOOL] = "true or false",        [OPTION_INTEGER] = "an integer",
    [OPTION_STRING] = "a string",           [OPTION_FILE] = "a string (a file name)",
    [OPTION_TEXTS] = "an array of strings", [OPTION_OBJECT] = "an object",
    [OPTION_LIST] = "an array of objects",  [OPTION_MAP] = "an object",
};

static bool has_type(const struct option_row *option, const json_t *value)
{
    switch (option->type) {
    case OPTION_BOOL:
        return json_is_boolean(value);
    case OPTION_INTEGER:
        return json_is_integer(value);
    case OPTION_STRING:
    case OPTION_FILE:
        return json_is_string(value);
    case OPTION_TEXTS:
    case OPTION_LIST:
        return json_is_array(value);
    case OPTION_OBJECT:
    case OPTION_MAP:
        return json_is_object(value);
    }
    return false;
}

static void set_fallback(const struct option_row *option, void *place)
{
    switch (option->type) {
    case OPTION_BOOL:
        *(bool *)place = option->fallback != 0;
        break;
    case OPTION_INTEGER:
        *(int64_t *)place = option->fallback;
        break;
    case OPTION_STRING:
    case OPTION_FILE:
        *(char **)place = xstrdup(option->fallback_text);
        break;
    case OPTION_OBJECT:
        for (const struct option_row *member = option->members; member->name != NULL; member++) {
            set_fallback(member, (char *)place + member->offset);
        }
        break;
    default:
        break; /* lists and maps start empty */
    }
}

static bool in_choices(const char *const *choices, const char *text)
{
    for (; *choices != NULL; choices++) {
        if (strcmp(*choices, text) == 0) {
            return true;
        }
    }
    return false;
}

static void list_choices(const char *const *choices, char *text, size_t size)
{
    size_t used = 0;

    text[0] = '\0';
    for (; *choices != NULL && used + strlen(*choices) + 3 < size; choices++) {
        used += (size_t)snprintf(text + used, size - used, "%s%s", used > 0 ? ", " : "", *choices);
    }
}

/* Checks one string, which may be an item of TEXTS. */
static bool check_text(const struct reader *reader, const struct option_row *option,
                       const json_t *value, const char *pointer)
{
    const char *text = json_string_value(value);
    const char *expected;
    char choices[256];

    if (option->unquoted && option->check != NULL && option->check(text) != NULL) {
        problems_add(reader->problems, pointer, "expected %s", option->check(text));
        return false;
    }
    if (option->choices != NULL && !in_choices(option->choices, text)) {
        list_choices(option->choices, choices, sizeof(choices));
        problems_add(reader->problems, pointer, "is \"%.64s\"; expected one of: %s", text, choices);
        return false;
    }
    expected = option->check != NULL ? option->check(text) : NULL;
    if (expected != NULL) {
        problems_add(reader->problems, pointer, "is \"%.64s\"; expected %s", text, expected);
        return false;
    }
    return true;
}

static bool check_range(const struct reader *reader, const struct option_row *option,
                        int64_t number, const char *what, const char *pointer)
{
    if (number < option->min) {
        problems_add(reader->problems, pointer, "%s %" PRId64 "; at least %" PRId64 " is needed",
                     what, number, option->min);
        return false;
    }
    if (option->max > 0 && number > option->max) {
        problems_add(reader->problems, pointer, "%s %" PRId64 "; at most %" PRId64 " is allowed",
                     what, number, option->max);
        return false;
    }
    return true;
}

static void read_texts(const struct reader *reader, const struct option_row *option,
                       const json_t *value, const char *pointer, struct text_list *list)
{
    list->items = xcalloc(json_array_size(value), sizeof(*list->items));
    for (size_t i = 0; i < json_array_size(value); i++) {
        CLEANUP(cleanup_free) char *place = xasprintf("%s/%zu", pointer, i);
        const json_t *item = json_array_get(value, i);
        if (!json_is_string(item)) {
            problems_add(reader->problems, place, "expected a string");
        } else if (check_text(reader, option, item, place)) {
            list->items[list->count++] = xstrdup(json_string_value(item));
        }
    }
}

static void read_list(const struct reader *reader, const struct option_row *option,
                      const json_t *value, const char *pointer, struct option_list *list)
{
    list->count = json_array_size(value);
    list->items = xcalloc(list->count, option->size);
    for (size_t i = 0; i < list->count; i++) {
        CLEANUP(cleanup_free) char *place = xasprintf("%s/%zu", pointer, i);
        read_object(reader, option->members, json_array_get(value, i), place,
                    (char *)list->items + i * option->size);
    }
}

static void read_map(const struct reader *reader, const struct option_row *option, json_t *value,
                     const char *pointer, struct option_list *list)
{
    const char *name;
    json_t *item;

    list->items = xcalloc(json_object_size(value), option->size);
    json_object_foreach (value, name, item) {
        CLEANUP(cleanup_free) char *place = json_pointer_append(pointer, name);
        void *target = (char *)list->items + list->count++ * option->size;
        const char *expected = option->check != NULL ? option->check(name) : NULL;
        if (expected != NULL) {
            problems_add(reader->problems, place, "the name must be %s", expected);
        }
        read_object(reader, option->members, item, place, target);
        *(char **)target = xstrdup(name);
    }
}

static void read_value(const struct reader *reader, const struct option_row *option, json_t *value,
                       const char *pointer, void *target)
{
    void *place = (char *)target + option->offset;

    switch (option->type) {
    case OPTION_BOOL:
        *(bool *)place = json_is_true(value);
        break;
    case OPTION_INTEGER:
        if (check_range(reader, option, json_integer_value(value), "is", pointer)) {
            *(int64_t *)place = json_integer_value(value);
        }
        break;
    case OPTION_STRING:
    case OPTION_FILE:
        if (check_range(reader, option, (int64_t)json_string_length(value), "its length is",
                        pointer) &&
            check_text(reader, option, value, pointer)) {
            free(*(char **)place);
            *(char **)place = option->type == OPTION_FILE
                                  ? file_place(reader->folder, json_string_value(value))
                                  : xstrdup(json_string_value(value));
        }
        break;
    case OPTION_TEXTS:
        if (check_range(reader, option, (int64_t)json_array_size(value), "the number of items is",
                        pointer)) {
            read_texts(reader, option, value, pointer, place);
        }
        break;
    case OPTION_LIST:
        if (check_range(reader, option, (int64_t)json_array_size(value), "the number of items is",
                        pointer)) {
            read_list(reader, option, value, pointer, place);
        }
        break;
    case OPTION_MAP:
        if (check_range(reader, option, (int64_t)json_object_size(value),
                        "the number of entries is", pointer)) {
            read_map(reader, option, value, pointer, place);
        }
        break;
    case OPTION_OBJECT:
        if (option->present > 0) {
            *(bool *)((char *)target + option->present - 1) = true;
        }
        read_object(reader, option->members, value, pointer, place);
        break;
    }
}

static const struct option_row *find_option(const struct option_row *table, const char *name)
{
    for (; table->name != NULL; table++) {
        if (strcmp(table->name, name) == 0) {
            return table;
        }
    }
    return NULL;
}

static void name_known(const struct option_row *table, char *text, size_t size)
{
    size_t used = 0;

    text[0] = '\0';
    for (; table->name != NULL && used + strlen(table->name) + 3 < size; table++) {
        used +=
            (size_t)snprintf(text + used, size - used, "%s%s", used > 0 ? ", " : "", table->name);
    }
}

static void read_object(const struct reader *reader, const struct option_row *table,
                        const json_t *value, const char *pointer, void *target)
{
    const char *name;
    json_t *member;

    for (const struct option_row *option = table; option->name != NULL; option++) {
        if (option->type != OPTION_OBJECT || json_object_get(value, option->name) == NULL) {
            set_fallback(option, (char *)target + option->offset);
        }
    }
    if (!json_is_object(value)) {
        problems_add(reader->problems, pointer, "expected an object");
        return;
    }
    json_object_foreach ((json_t *)value, name, member) {
        CLEANUP(cleanup_free) char *place = json_pointer_append(pointer, name);
        const struct option_row *option = find_option(table, name);
        if (option == NULL) {
            char known[384];
            name_known(table, known, sizeof(known));
            problems_add(reader->problems, place, "unknown option; known here: %s", known);
        } else if (!has_type(option, member)) {
            problems_add(reader->problems, place, "expected %s", type_names[option->type]);
        } else {
            read_value(reader, option, member, place, target);
        }
    }
    for (const struct option_row *option = table; option->name != NULL; option++) {
        if (option->required && json_object_get(value, option->name) == NULL) {
            CLEANUP(cleanup_free) char *place = json_pointer_append(pointer, option->name);
            problems_add(reader->problems, place, "is required: %s", option->doc);
        }
    }
}

void options_read(const struct option_row *table, const json_t *value, const char *folder,
                  void *target, struct problems *problems)
{
    struct reader reader = {.folder = folder, .problems = problems};

    read_object(&reader, table, value, "", target);
}

static void free_texts(struct text_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i]);
    }
    free(list->items);
}

static void free_list(const struct option_row *option, struct option_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        char *item = (char *)list->items + i * option->size;
        if (option->type == OPTION_MAP) {
            free(*(char **)item);
        }
        options_free(option->members, item);
    }
    free(list->items);
}

void options_free(const struct option_row *table, void *target)
{
    for (const struct option_row *option = table; option->name != NULL; option++) {
        void *place = (char *)target + option->offset;
        switch (option->type) {
        case OPTION_STRING:
        case OPTION_FILE:
            free(*(char **)place);
            break;
        case OPTION_TEXTS:
            free_texts(place);
            break;
        case OPTION_LIST:
        case OPTION_MAP:
            free_list(option, place);
            break;
        case OPTION_OBJECT:
            options_free(option->members, place);
            break;
        default:
            break;
        }
    }
}
