/* Scan: goes over JSON (RFC 8259) in memory, strictly and without allocating; white space between
 * tokens, \u0000 and half surrogate pairs are not taken. Never reads behind the end. When a
 * function returns false the text is not what it should be, and the place is anywhere. Any thread.
 */
#ifndef COMMON_SCAN_H
#define COMMON_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#define SCAN_DEPTH_MAX 32 /* arrays and objects in one another */

/* What is still to be read. */
struct scan {
    const char *at;
    const char *end;
};

/* Goes over one character if it is that one. */
static inline bool scan_take(struct scan *scan, char expected)
{
    if (scan->at < scan->end && *scan->at == expected) {
        scan->at++;
        return true;
    }
    return false;
}

/* Goes over the rest of a string, of which the opening quote was taken. */
bool scan_string(struct scan *scan);

/* Goes over the name of a member and its colon. */
bool scan_name(struct scan *scan);

bool scan_number(struct scan *scan);

/* Goes over any value, which stands inside `outside` arrays and objects. */
bool scan_value(struct scan *scan, unsigned outside);

/* Whether what stands between the quotes of a string means that text, or the same as another:
 * escapes are resolved. */
bool scan_equals(struct scan string, const char *text);
bool scan_same_text(struct scan a, struct scan b);

#endif
