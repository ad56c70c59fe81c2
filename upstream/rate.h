/* Rate: what an answer's headers say about the rate limit. Pure; any thread.
 * Source: OPSWAT OAuth API (X-RateLimit-*; whether the reset time is an epoch or a rest is not
 * documented), RFC 9110 10.2.3 (Retry-After). */
#ifndef UPSTREAM_RATE_H
#define UPSTREAM_RATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* No upstream can make anybody wait longer than this. */
#define RATE_MAX_WAIT_S 86400

/* -1 = nothing said, or nothing sensible. */
struct rate {
    int64_t limit;
    int64_t remaining;
    int64_t reset_s;       /* from now */
    int64_t retry_after_s; /* from now */
};

void rate_init(struct rate *rate);

/* Takes one header line (CR LF and all) into account; any other header is ignored. */
void rate_read_header(struct rate *rate, const char *line, size_t len, int64_t now_wall_s);

/* Whether the line is the header with that name (any case), and its value, white space around it
 * dropped. The value points into line. */
bool rate_header_value(const char *line, size_t len, const char *name, const char **ret_value,
                       size_t *ret_len);

#endif
