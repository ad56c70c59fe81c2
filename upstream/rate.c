/* Rate: see rate.h. */
#include "upstream/rate.h"

#include <string.h>
#include <strings.h>
#include <time.h>

#define MAX_DIGITS  12
#define FIRST_EPOCH 1000000000

void rate_init(struct rate *rate)
{
    *rate = (struct rate){.limit = -1, .remaining = -1, .reset_s = -1, .retry_after_s = -1};
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

bool rate_header_value(const char *line, size_t len, const char *name, const char **ret_value,
                       size_t *ret_len)
{
    size_t start = strlen(name);

    if (len <= start || line[start] != ':' || strncasecmp(line, name, start) != 0) {
        return false;
    }
    start++;
    while (start < len && is_blank(line[start])) {
        start++;
    }
    while (len > start && is_blank(line[len - 1])) {
        len--;
    }
    *ret_value = line + start;
    *ret_len = len - start;
    return true;
}

static int64_t read_number(const char *text, size_t len)
{
    int64_t number = 0;

    if (len == 0 || len > MAX_DIGITS) {
        return -1;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return -1;
        }
        number = number * 10 + (text[i] - '0');
    }
    return number;
}

/* From a moment on the wall clock to seconds from now. */
static int64_t seconds_until(int64_t wall_s, int64_t now_wall_s)
{
    return wall_s > now_wall_s ? wall_s - now_wall_s : 0;
}

static int64_t read_wait(const char *text, size_t len, int64_t now_wall_s)
{
    int64_t wait_s = read_number(text, len);

    if (wait_s >= FIRST_EPOCH) {
        wait_s = seconds_until(wait_s, now_wall_s);
    }
    return wait_s < RATE_MAX_WAIT_S ? wait_s : RATE_MAX_WAIT_S;
}

/* Seconds, or a date as HTTP writes it. */
static int64_t read_retry_after(const char *text, size_t len, int64_t now_wall_s)
{
    char date[40];
    struct tm utc = {0};
    const char *rest;
    int64_t wait_s;

    if (len > 0 && text[0] >= '0' && text[0] <= '9') {
        return read_wait(text, len, now_wall_s);
    }
    if (len >= sizeof(date)) {
        return -1;
    }
    memcpy(date, text, len);
    date[len] = '\0';
    rest = strptime(date, "%a, %d %b %Y %H:%M:%S GMT", &utc);
    if (rest == NULL || *rest != '\0') {
        return -1;
    }
    wait_s = seconds_until(timegm(&utc), now_wall_s);
    return wait_s < RATE_MAX_WAIT_S ? wait_s : RATE_MAX_WAIT_S;
}

void rate_read_header(struct rate *rate, const char *line, size_t len, int64_t now_wall_s)
{
    const char *value;
    size_t value_len;

    if (rate_header_value(line, len, "X-RateLimit-Limit", &value, &value_len)) {
        rate->limit = read_number(value, value_len);
    } else if (rate_header_value(line, len, "X-RateLimit-Remaining", &value, &value_len)) {
        rate->remaining = read_number(value, value_len);
    } else if (rate_header_value(line, len, "X-RateLimit-Reset-Time", &value, &value_len)) {
        rate->reset_s = read_wait(value, value_len, now_wall_s);
    } else if (rate_header_value(line, len, "Retry-After", &value, &value_len)) {
        rate->retry_after_s = read_retry_after(value, value_len, now_wall_s);
    }
}
