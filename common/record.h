/* Record: reads the bytes of an audit record, one JSON object on one line, without allocating: for
 * verifying and searching millions of them. Strict and total: any bytes may come. Any thread. */
#ifndef COMMON_RECORD_H
#define COMMON_RECORD_H

#include "common/error.h"
#include "common/memory.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A piece of the record, borrowed. Of a string: what stands between its quotes, escapes as they
 * are. Of any other value: its text. at NULL: there is no such field. */
struct record_piece {
    const char *at;
    size_t len;
};

/* The fields that somebody reads. Others are checked to be JSON and passed over. */
struct record {
    int64_t v;
    int64_t seq;
    struct record_piece node; /* strings */
    struct record_piece time;
    struct record_piece event;
    struct record_piece request_id;
    struct record_piece client;
    struct record_piece key_id;
    struct record_piece team;
    struct record_piece remote;
    struct record_piece action_id;
    struct record_piece call_id;
    struct record_piece account;
    struct record_piece action;
    struct record_piece reason;
    struct record_piece decision;
    struct record_piece rule;
    struct record_piece problem;
    struct record_piece outcome;
    struct record_piece devices; /* an array of strings */
    struct record_piece results; /* an array of objects */
    struct record_piece params;  /* an object */
    struct record_piece detail;  /* an object */
};

/* ERR_MALFORMED: not one JSON object (RFC 8259, no white space outside strings, no NUL and no half
 * surrogate pair in them, depth at most 32), the same name twice at the top or more than 64 that
 * are not above, a field above with another type, or v, node, seq, time or event missing. */
enum err record_read(const char *bytes, size_t len, struct record *ret_record) MUST_CHECK;

/* Goes through the strings of an array of strings, or the values of the member `name` of an array
 * of objects. *at starts as NULL. False: there are no more. */
bool record_next_string(struct record_piece array, const char **at, struct record_piece *ret);
bool record_next_member(struct record_piece array, const char *name, const char **at,
                        struct record_piece *ret);

/* A member of an object, at any place in it (not inside inner ones); at NULL when there is none. */
struct record_piece record_member(struct record_piece object, const char *name);

/* A piece that is an integer; fallback when it is none. */
int64_t record_integer(struct record_piece piece, int64_t fallback);

/* Whether a string's piece stands for that text: escapes are resolved. */
bool record_equals(struct record_piece piece, const char *text);

#endif
