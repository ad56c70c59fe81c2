/* Record: see record.h. One pass over the bytes, by scan.h. */
#include "common/record.h"

#include "common/scan.h"

#include <string.h>

#define OTHERS_MAX 64 /* names at the top that are no field's */

enum kind { INTEGER, STRING, STRINGS, OBJECTS, OBJECT };

struct field {
    const char *name;
    size_t len;
    enum kind kind;
    size_t offset;
};

#define FIELD(name, kind)                                                                          \
    {                                                                                              \
#name, sizeof(#name) - 1, kind, offsetof(struct record, name)                              \
    }

static const struct field fields[] = {
    FIELD(v, INTEGER),       FIELD(node, STRING),      FIELD(seq, INTEGER),
    FIELD(time, STRING),     FIELD(event, STRING),     FIELD(request_id, STRING),
    FIELD(client, STRING),   FIELD(key_id, STRING),    FIELD(team, STRING),
    FIELD(remote, STRING),   FIELD(action_id, STRING), FIELD(call_id, STRING),
    FIELD(account, STRING),  FIELD(action, STRING),    FIELD(devices, STRINGS),
    FIELD(params, OBJECT),   FIELD(reason, STRING),    FIELD(decision, STRING),
    FIELD(rule, STRING),     FIELD(problem, STRING),   FIELD(outcome, STRING),
    FIELD(results, OBJECTS), FIELD(detail, OBJECT),
};

#define REQUIRED 0x1fU /* the first five */

/* Goes over an array whose values all begin with that character. */
static bool skip_array_of(struct scan *scan, char first)
{
    if (!scan_take(scan, '[')) {
        return false;
    }
    if (scan_take(scan, ']')) {
        return true;
    }
    do {
        if (scan->at == scan->end || *scan->at != first || !scan_value(scan, 2)) {
            return false;
        }
    } while (scan_take(scan, ','));
    return scan_take(scan, ']');
}

/* What a value's text is as a piece. */
static struct record_piece piece_of(const char *from, const char *to)
{
    if (*from == '"') {
        return (struct record_piece){from + 1, (size_t)(to - from) - 2};
    }
    return (struct record_piece){from, (size_t)(to - from)};
}

static struct scan scan_of(struct record_piece piece)
{
    return (struct scan){piece.at, piece.at + piece.len};
}

static bool parse_integer(struct record_piece piece, int64_t *ret_value)
{
    bool negative = piece.len > 0 && piece.at[0] == '-';
    int64_t value = 0;

    if (piece.at == NULL || piece.len == (negative ? 1U : 0U)) {
        return false;
    }
    for (size_t i = negative ? 1 : 0; i < piece.len; i++) {
        char digit = piece.at[i];
        if (digit < '0' || digit > '9' || __builtin_mul_overflow(value, 10, &value) ||
            (negative ? __builtin_sub_overflow(value, digit - '0', &value)
                      : __builtin_add_overflow(value, digit - '0', &value))) {
            return false;
        }
    }
    *ret_value = value;
    return true;
}

bool record_equals(struct record_piece piece, const char *text)
{
    return piece.at != NULL && scan_equals(scan_of(piece), text);
}

int64_t record_integer(struct record_piece piece, int64_t fallback)
{
    int64_t value;

    return parse_integer(piece, &value) ? value : fallback;
}

/* ---- The record ---- */

struct reading {
    uint32_t seen; /* bits of fields[] */
    size_t next;   /* the field that comes next if they come in order */
    size_t others; /* names that are no field's */
    struct scan other[OTHERS_MAX];
};

/* The field of a name; NULL: it is another. */
static const struct field *find_field(struct reading *reading, struct record_piece name)
{
    bool escaped = memchr(name.at, '\\', name.len) != NULL;

    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        size_t at = (reading->next + i) % ARRAY_LEN(fields);
        const struct field *field = &fields[at];
        if (escaped ? record_equals(name, field->name)
                    : name.len == field->len && name.at[0] == field->name[0] &&
                          memcmp(name.at, field->name, name.len) == 0) {
            reading->next = at + 1;
            return field;
        }
    }
    return NULL;
}

/* Remembers a name that is no field's; false: it was there before, or these are too many. */
static bool add_other(struct reading *reading, struct scan name)
{
    for (size_t i = 0; i < reading->others; i++) {
        if (scan_same_text(reading->other[i], name)) {
            return false;
        }
    }
    if (reading->others == OTHERS_MAX) {
        return false;
    }
    reading->other[reading->others++] = name;
    return true;
}

static bool read_field(struct scan *scan, const struct field *field, struct record *record)
{
    const char *from = scan->at;
    void *to = (char *)record + field->offset;
    bool good = false;

    if (from == scan->end) {
        return false;
    }
    switch (field->kind) {
    case INTEGER:
        return scan_number(scan) && parse_integer(piece_of(from, scan->at), to);
    case STRING:
        good = scan_take(scan, '"') && scan_string(scan);
        break;
    case STRINGS:
        good = skip_array_of(scan, '"');
        break;
    case OBJECTS:
        good = skip_array_of(scan, '{');
        break;
    case OBJECT:
        good = *from == '{' && scan_value(scan, 1);
        break;
    }
    if (good) {
        *(struct record_piece *)to = piece_of(from, scan->at);
    }
    return good;
}

static bool read_member(struct scan *scan, struct reading *reading, struct record *record)
{
    const char *from = scan->at;
    const struct field *field;
    struct record_piece name;
    uint32_t bit;

    if (!scan_name(scan)) {
        return false;
    }
    name = piece_of(from, scan->at - 1);
    field = find_field(reading, name);
    if (field == NULL) {
        return add_other(reading, scan_of(name)) && scan_value(scan, 1);
    }
    bit = UINT32_C(1) << (field - fields);
    if ((reading->seen & bit) != 0) {
        return false;
    }
    reading->seen |= bit;
    return read_field(scan, field, record);
}

enum err record_read(const char *bytes, size_t len, struct record *ret_record)
{
    struct scan scan = {bytes, bytes + len};
    struct record record = {0};
    struct reading reading;

    reading.seen = 0;
    reading.next = 0;
    reading.others = 0;
    if (!scan_take(&scan, '{')) {
        return ERR_MALFORMED;
    }
    do {
        if (!read_member(&scan, &reading, &record)) {
            return ERR_MALFORMED;
        }
    } while (scan_take(&scan, ','));
    if (!scan_take(&scan, '}') || scan.at != scan.end || (reading.seen & REQUIRED) != REQUIRED) {
        return ERR_MALFORMED;
    }
    *ret_record = record;
    return OK;
}

/* ---- Inside of it ---- */

/* The next value of an array; at its end, or if it is none, false. */
static bool next_value(struct record_piece array, const char **at, struct record_piece *ret)
{
    const char *from;
    struct scan scan;

    if (array.at == NULL) {
        return false;
    }
    scan = (struct scan){*at != NULL ? *at : array.at, array.at + array.len};
    if (!scan_take(&scan, *at != NULL ? ',' : '[')) {
        return false;
    }
    from = scan.at;
    if (!scan_value(&scan, 0)) {
        return false;
    }
    *at = scan.at;
    *ret = piece_of(from, scan.at);
    return true;
}

bool record_next_string(struct record_piece array, const char **at, struct record_piece *ret)
{
    return next_value(array, at, ret);
}

bool record_next_member(struct record_piece array, const char *name, const char **at,
                        struct record_piece *ret)
{
    struct record_piece value;

    while (next_value(array, at, &value)) {
        struct record_piece member = record_member(value, name);
        if (member.at != NULL) {
            *ret = member;
            return true;
        }
    }
    return false;
}

struct record_piece record_member(struct record_piece object, const char *name)
{
    const struct record_piece none = {NULL, 0};
    struct scan scan;

    if (object.at == NULL) {
        return none;
    }
    scan = scan_of(object);
    if (!scan_take(&scan, '{')) {
        return none;
    }
    do {
        const char *from = scan.at;
        const char *value;
        if (!scan_name(&scan)) {
            return none;
        }
        value = scan.at;
        if (!scan_value(&scan, 0)) {
            return none;
        }
        if (record_equals(piece_of(from, value - 1), name)) {
            return piece_of(value, scan.at);
        }
    } while (scan_take(&scan, ','));
    return none;
}
