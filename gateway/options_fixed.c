/* Options, those that a running gateway cannot change: see options_check_fixed(). */
#include "gateway/options.h"

#include "common/json.h"
#include "common/memory.h"
#include "policy/rules.h"

#include <stdlib.h>
#include <string.h>

static bool equal_objects(const struct option_row *table, const void *a, const void *b);

static bool equal_texts(const struct text_list *a, const struct text_list *b)
{
    bool equal = a->count == b->count;

    for (size_t i = 0; equal && i < a->count; i++) {
        equal = strcmp(a->items[i], b->items[i]) == 0;
    }
    return equal;
}

static const char *item_of(const struct option_row *option, const struct option_list *list,
                           size_t index)
{
    return (const char *)list->items + index * option->size;
}

static bool equal_lists(const struct option_row *option, const struct option_list *a,
                        const struct option_list *b)
{
    bool equal = a->count == b->count;

    for (size_t i = 0; equal && i < a->count; i++) {
        const char *one = item_of(option, a, i);
        const char *other = item_of(option, b, i);
        equal = (option->type == OPTION_LIST ||
                 strcmp(*(char *const *)one, *(char *const *)other) == 0) &&
                equal_objects(option->members, one, other);
    }
    return equal;
}

static bool is_present(const struct option_row *option, const void *target)
{
    return option->present == 0 || *(const bool *)((const char *)target + option->present - 1);
}

static bool equal_values(const struct option_row *option, const void *a, const void *b)
{
    const void *one = (const char *)a + option->offset;
    const void *other = (const char *)b + option->offset;

    switch (option->type) {
    case OPTION_BOOL:
        return *(const bool *)one == *(const bool *)other;
    case OPTION_INTEGER:
        return *(const int64_t *)one == *(const int64_t *)other;
    case OPTION_STRING:
    case OPTION_FILE: {
        const char *text = *(char *const *)one;
        const char *other_text = *(char *const *)other;
        return text == NULL || other_text == NULL ? text == other_text
                                                  : strcmp(text, other_text) == 0;
    }
    case OPTION_TEXTS:
        return equal_texts(one, other);
    case OPTION_OBJECT:
        return is_present(option, a) == is_present(option, b) &&
               equal_objects(option->members, one, other);
    case OPTION_LIST:
    case OPTION_MAP:
        return equal_lists(option, one, other);
    }
    return false;
}

static bool equal_objects(const struct option_row *table, const void *a, const void *b)
{
    for (; table->name != NULL; table++) {
        if (!equal_values(table, a, b)) {
            return false;
        }
    }
    return true;
}

static bool has_fixed(const struct option_row *table)
{
    for (; table->name != NULL; table++) {
        if (table->fixed || (table->members != NULL && has_fixed(table->members))) {
            return true;
        }
    }
    return false;
}

static void check_objects(const struct option_row *table, const void *a, const void *b,
                          const char *pointer, struct problems *problems);

/* In lists, places are compared: where one has fixed members, it has as many items. */
static void check_lists(const struct option_row *option, const struct option_list *a,
                        const struct option_list *b, const char *pointer, struct problems *problems)
{
    if (a->count != b->count) {
        problems_add(problems, pointer, "there are %zu, and there were %zu: takes a restart",
                     b->count, a->count);
        return;
    }
    for (size_t i = 0; i < a->count; i++) {
        CLEANUP(cleanup_free) char *place = xasprintf("%s/%zu", pointer, i);
        check_objects(option->members, item_of(option, a, i), item_of(option, b, i), place,
                      problems);
    }
}

static void check_objects(const struct option_row *table, const void *a, const void *b,
                          const char *pointer, struct problems *problems)
{
    for (const struct option_row *option = table; option->name != NULL; option++) {
        CLEANUP(cleanup_free) char *place = json_pointer_append(pointer, option->name);
        const void *one = (const char *)a + option->offset;
        const void *other = (const char *)b + option->offset;
        if (option->fixed) {
            if (!equal_values(option, a, b)) {
                problems_add(problems, place, "is not as it was: takes a restart");
            }
        } else if (option->type == OPTION_OBJECT) {
            check_objects(option->members, one, other, place, problems);
        } else if (option->type == OPTION_LIST && has_fixed(option->members)) {
            check_lists(option, one, other, place, problems);
        }
    }
}

void options_check_fixed(const struct option_row *table, const void *before, const void *after,
                         struct problems *problems)
{
    check_objects(table, before, after, "", problems);
}
