/* Options: a table of options that parses, bounds, defaults and documents a JSON document. The
 * same rows give the JSON Schema. Any thread; tables are static.
 *
 * Where a value goes, by type, at `offset` of the struct that the table describes:
 *   BOOL bool · INTEGER int64_t · STRING, FILE char * (NULL when left out) ·
 *   OBJECT the embedded struct · TEXTS struct text_list ·
 *   LIST struct option_list · MAP struct option_list, whose items begin with char *name */
#ifndef GATEWAY_OPTIONS_H
#define GATEWAY_OPTIONS_H

#include "common/problems.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_type {
    OPTION_BOOL,
    OPTION_INTEGER,
    OPTION_STRING,
    OPTION_FILE, /* a string that is made relative to the document's folder */
    OPTION_TEXTS,
    OPTION_OBJECT,
    OPTION_LIST,
    OPTION_MAP,
};

/* Checks the form of a string; NULL when it is good, else what is expected (static). */
typedef const char *(*option_check)(const char *text);

struct option_row {
    const char *name; /* NULL ends a table */
    enum option_type type;
    size_t offset;
    bool required;
    int64_t min; /* INTEGER: value; STRING, FILE: length; TEXTS, LIST, MAP: items */
    int64_t max;
    int64_t fallback;                 /* BOOL, INTEGER left out */
    const char *fallback_text;        /* STRING, FILE left out */
    const char *const *choices;       /* STRING, TEXTS: the only values allowed, NULL-ended */
    option_check check;               /* STRING, TEXTS */
    const struct option_row *members; /* OBJECT, LIST, MAP */
    size_t size;                      /* LIST, MAP: of one item */
    size_t present; /* OBJECT: offset of a bool that says it was there, + 1; or 0 */
    bool fixed;     /* a change of it takes a restart; so of all that is in it */
    bool unquoted;  /* STRING: may hold a secret by mistake, so that no problem quotes it */
    const char *doc;
};

struct option_list {
    void *items;
    size_t count;
};

/* Reads value into target (zeroed, described by table); what is wrong goes to problems, all of it.
 * target must be ended with options_free() in any case. folder is where relative files are. */
void options_read(const struct option_row *table, const json_t *value, const char *folder,
                  void *target, struct problems *problems);

/* Frees what options_read() put into target, not target itself. */
void options_free(const struct option_row *table, void *target);

/* Adds a problem for each fixed option in which two targets that were read by the table differ. */
void options_check_fixed(const struct option_row *table, const void *before, const void *after,
                         struct problems *problems);

/* The JSON Schema (draft 2020-12) of the table. New reference. */
json_t *options_schema(const struct option_row *table, const char *title);

#endif
