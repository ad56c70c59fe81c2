/* Lines: requests for one device keep their order. Each device that is asked for has a line of
 * claims in order of arrival. The claims at its head that ask for the same thing (the same kind)
 * are clear; those behind wait until all before them have ended.
 * Pure; one thread. Costs O(1) for each claim, amortised. */
#ifndef POLICY_LINES_H
#define POLICY_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lines;
struct line;

/* One device of one owner. Embedded in an array that the owner keeps until lines_leave(). */
struct claim {
    struct claim *next;
    struct claim *previous;
    struct line *line;
    void *owner;
    const void *kind; /* claims of equal kind do not contradict each other */
    bool clear;
};

/* Called when a claim that had to wait becomes clear. It may not call back into the lines. */
typedef void (*lines_clear_cb)(struct claim *claim, void *arg);

struct lines *lines_new(lines_clear_cb on_clear, void *arg);
void lines_free(struct lines *lines);

/* Takes the last place in the line of a device (name is copied; space tells ids from MACs).
 * claim->owner and kind are set. Returns whether it is clear at once. */
bool lines_enter(struct lines *lines, struct claim *claim, char space, const char *name);

/* Gives the place up; others may become clear. */
void lines_leave(struct lines *lines, struct claim *claim);

#endif
