/* Framer: a strict, incremental reader of HTTP/1.1 requests (RFC 9112) that only finds where each
 * message ends and whether it is one we let through. It keeps none of the bytes.
 * Any thread, one at a time; no I/O, no allocation, no clock. */
#ifndef GATEWAY_FRAMER_H
#define GATEWAY_FRAMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct framer_limits {
    size_t max_header_bytes; /* request line, headers and the empty line; over it: 431 */
    size_t max_headers;      /* header lines; over it: 431 */
    uint64_t max_body_bytes; /* declared, or the sum of the chunks; over it: 413 */
};

enum framer_verdict {
    FRAMER_MORE,    /* everything was consumed and is fine so far */
    FRAMER_DONE,    /* a whole message ended exactly here; the next byte begins another */
    FRAMER_REFUSED, /* status and detail say why; there is no way on from here */
};

enum framer_place { FRAMER_BETWEEN, FRAMER_IN_HEAD, FRAMER_IN_BODY };

#define FRAMER_TOKEN_SIZE 18 /* the longest word we look for is "Transfer-Encoding" */

/* Embedded by its owner; read status and detail, leave the rest alone. */
struct framer {
    struct framer_limits limits;
    int status;         /* once refused: 400, 413 or 431 */
    const char *detail; /* once refused: static text for the client, says what to change */

    unsigned char step;                 /* enum step, in framer.c */
    unsigned char value;                /* which bytes the present header's value may have */
    unsigned char minor;                /* of HTTP/1.x */
    unsigned char seen;                 /* a bit for each header of interest */
    bool bodiless;                      /* GET or HEAD */
    const struct framer_header *header; /* the present header, if of interest */
    size_t token_len;                   /* of the present word; may pass FRAMER_TOKEN_SIZE */
    char token[FRAMER_TOKEN_SIZE];
    size_t head_bytes;
    size_t headers;
    uint64_t content_length;
    uint64_t left;       /* of the body, or of the present chunk */
    uint64_t body_bytes; /* sum of the chunks announced so far */
};

/* Starts before the first message; limits is copied. */
void framer_init(struct framer *framer, const struct framer_limits *limits);

/* Reads on. *ret_consumed is how many of the len bytes belong to what was judged: all of them for
 * FRAMER_MORE, up to the end of the message for FRAMER_DONE, up to the offending byte for
 * FRAMER_REFUSED. Verdicts and positions do not depend on how the input is cut. */
enum framer_verdict framer_feed(struct framer *framer, const void *data, size_t len,
                                size_t *ret_consumed);

/* Where the last byte left us. After FRAMER_DONE: between. */
enum framer_place framer_place(const struct framer *framer);

#endif
