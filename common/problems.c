/* Problems: see problems.h. */
#include "common/problems.h"

#include "common/memory.h"
#include "common/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void problems_add(struct problems *problems, const char *pointer, const char *format, ...)
{
    char detail[512];
    va_list args;

    if (problems->count == PROBLEMS_MAX) {
        return;
    }
    va_start(args, format);
    (void)vsnprintf(detail, sizeof(detail), format, args);
    va_end(args);
    utf8_mend(detail);
    problems->items = xrealloc(problems->items, problems->count + 1, sizeof(*problems->items));
    problems->items[problems->count++] =
        (struct problem){.pointer = xstrdup(pointer), .detail = xstrdup(detail)};
}

json_t *problems_json(const struct problems *problems)
{
    json_t *list = json_array();

    for (size_t i = 0; i < problems->count; i++) {
        (void)json_array_append_new(list,
                                    json_pack("{s:s, s:s}", "pointer", problems->items[i].pointer,
                                              "detail", problems->items[i].detail));
    }
    return list;
}

void problems_done(struct problems *problems)
{
    for (size_t i = 0; i < problems->count; i++) {
        free(problems->items[i].pointer);
        free(problems->items[i].detail);
    }
    free(problems->items);
    *problems = (struct problems){0};
}
