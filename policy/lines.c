/* Lines: see lines.h. */
#include "policy/lines.h"

#include "common/memory.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_BUCKETS 64

struct line {
    struct line *next; /* in its bucket */
    uint64_t hash;
    struct claim *first;
    struct claim *last;
    struct claim *first_waiting; /* all before it are clear; NULL: none waits */
    char space;
    char name[];
};

struct lines {
    struct line **buckets;
    size_t bucket_count; /* a power of two */
    size_t line_count;
    lines_clear_cb on_clear;
    void *arg;
};

struct lines *lines_new(lines_clear_cb on_clear, void *arg)
{
    struct lines *lines = xcalloc(1, sizeof(*lines));

    lines->bucket_count = FIRST_BUCKETS;
    lines->buckets = xcalloc(lines->bucket_count, sizeof(struct line *));
    lines->on_clear = on_clear;
    lines->arg = arg;
    return lines;
}

void lines_free(struct lines *lines)
{
    if (lines == NULL) {
        return;
    }
    for (size_t i = 0; i < lines->bucket_count; i++) {
        while (lines->buckets[i] != NULL) {
            struct line *line = lines->buckets[i];
            lines->buckets[i] = line->next;
            free(line);
        }
    }
    free(lines->buckets);
    free(lines);
}

/* FNV-1a. Names are chosen by authenticated clients and bounded by the queue limits. */
static uint64_t hash_of(char space, const char *name)
{
    uint64_t hash = UINT64_C(14695981039346656037) ^ (uint8_t)space;

    for (; *name != '\0'; name++) {
        hash = (hash ^ (uint8_t)*name) * UINT64_C(1099511628211);
    }
    return hash ^ hash >> 29;
}

static void grow(struct lines *lines)
{
    size_t count = 2 * lines->bucket_count;
    struct line **buckets = xcalloc(count, sizeof(struct line *));

    for (size_t i = 0; i < lines->bucket_count; i++) {
        struct line *next;
        for (struct line *line = lines->buckets[i]; line != NULL; line = next) {
            next = line->next;
            line->next = buckets[line->hash & (count - 1)];
            buckets[line->hash & (count - 1)] = line;
        }
    }
    free(lines->buckets);
    lines->buckets = buckets;
    lines->bucket_count = count;
}

static struct line *get_line(struct lines *lines, char space, const char *name)
{
    uint64_t hash = hash_of(space, name);
    struct line *line = lines->buckets[hash & (lines->bucket_count - 1)];
    size_t size = strlen(name) + 1;

    while (line != NULL &&
           !(line->hash == hash && line->space == space && strcmp(line->name, name) == 0)) {
        line = line->next;
    }
    if (line == NULL) {
        if (lines->line_count++ == lines->bucket_count) {
            grow(lines);
        }
        line = xcalloc(1, sizeof(*line) + size);
        line->hash = hash;
        line->space = space;
        memcpy(line->name, name, size);
        line->next = lines->buckets[hash & (lines->bucket_count - 1)];
        lines->buckets[hash & (lines->bucket_count - 1)] = line;
    }
    return line;
}

static void drop_line(struct lines *lines, struct line *line)
{
    struct line **link = &lines->buckets[line->hash & (lines->bucket_count - 1)];

    while (*link != line) {
        link = &(*link)->next;
    }
    *link = line->next;
    lines->line_count--;
    free(line);
}

bool lines_enter(struct lines *lines, struct claim *claim, char space, const char *name)
{
    struct line *line = get_line(lines, space, name);

    claim->line = line;
    claim->next = NULL;
    claim->previous = line->last;
    claim->clear =
        line->first == NULL || (line->first_waiting == NULL && line->first->kind == claim->kind);
    if (line->last != NULL) {
        line->last->next = claim;
    } else {
        line->first = claim;
    }
    line->last = claim;
    if (!claim->clear && line->first_waiting == NULL) {
        line->first_waiting = claim;
    }
    return claim->clear;
}

/* Clears the claims that now stand with the head. */
static void advance(struct lines *lines, struct line *line)
{
    while (line->first_waiting != NULL && line->first_waiting->kind == line->first->kind) {
        struct claim *claim = line->first_waiting;
        line->first_waiting = claim->next;
        claim->clear = true;
        lines->on_clear(claim, lines->arg);
    }
}

void lines_leave(struct lines *lines, struct claim *claim)
{
    struct line *line = claim->line;

    if (line->first_waiting == claim) {
        line->first_waiting = claim->next;
    }
    if (claim->previous != NULL) {
        claim->previous->next = claim->next;
    } else {
        line->first = claim->next;
    }
    if (claim->next != NULL) {
        claim->next->previous = claim->previous;
    } else {
        line->last = claim->previous;
    }
    claim->line = NULL;
    if (line->first == NULL) {
        drop_line(lines, line);
    } else {
        advance(lines, line);
    }
}
