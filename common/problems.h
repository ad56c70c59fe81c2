/* Problems: a list of what is wrong with a JSON document, each with its place. Any thread, one at
 * a time. */
#ifndef COMMON_PROBLEMS_H
#define COMMON_PROBLEMS_H

#include <jansson.h>
#include <stddef.h>

struct problem {
    char *pointer; /* JSON pointer (RFC 6901), "" for the whole document */
    char *detail;  /* what is wrong and what is expected */
};

/* Zero it to start with an empty list. */
struct problems {
    struct problem *items;
    size_t count;
};

#define PROBLEMS_MAX 100 /* more than these are not kept */

/* Adds one; the texts are copied. What the format cuts within a character stays UTF-8: JSON takes
 * nothing else. */
void problems_add(struct problems *problems, const char *pointer, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* [{"pointer":…,"detail":…},…]; new reference. */
json_t *problems_json(const struct problems *problems);

void problems_done(struct problems *problems);

#endif
