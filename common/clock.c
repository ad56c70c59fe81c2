/* Clock: see clock.h. */
#include "common/clock.h"

#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int64_t read_us(clockid_t id)
{
    struct timespec now;
    int failed = clock_gettime(id, &now);

    assert(failed == 0);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_boot_us(void)
{
    return read_us(CLOCK_BOOTTIME);
}

int64_t clock_boot_ms(void)
{
    return clock_boot_us() / 1000;
}

int64_t clock_wall_ms(void)
{
    return read_us(CLOCK_REALTIME) / 1000;
}

static char boot_id[64];

static void read_boot_id(void)
{
    ssize_t got = -1;
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

    if (fd >= 0) {
        got = read(fd, boot_id, sizeof(boot_id) - 1);
        (void)close(fd);
    }
    /* Without an identity nothing is comparable: an identity nobody else ever has. */
    if (got <= 0) {
        (void)snprintf(boot_id, sizeof(boot_id), "unknown-%ld-%lld", (long)getpid(),
                       (long long)clock_wall_ms());
    }
    boot_id[strcspn(boot_id, "\n")] = '\0';
}

const char *clock_boot_id(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, read_boot_id);
    return boot_id;
}

const char *clock_format(int64_t wall_ms, char text[CLOCK_TEXT_SIZE])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm utc;
    char date[24];

    (void)gmtime_r(&seconds, &utc);
    (void)strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(text, CLOCK_TEXT_SIZE, "%s.%03dZ", date, (int)(wall_ms % 1000));
    return text;
}

/* Reads two digits; -1 when they are not. */
static int two_digits(const char *text)
{
    bool digits = text[0] >= '0' && text[0] <= '9' && text[1] >= '0' && text[1] <= '9';

    return digits ? (text[0] - '0') * 10 + text[1] - '0' : -1;
}

/* Reads Z, +hh:mm or -hh:mm to the end of the text, as seconds east of UTC. */
static enum err parse_zone(const char *text, int64_t *ret_offset_s)
{
    int hours;
    int minutes;

    if (strcmp(text, "Z") == 0) {
        *ret_offset_s = 0;
        return OK;
    }
    if (strlen(text) != 6 || (text[0] != '+' && text[0] != '-') || text[3] != ':') {
        return ERR_MALFORMED;
    }
    hours = two_digits(text + 1);
    minutes = two_digits(text + 4);
    if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) {
        return ERR_MALFORMED;
    }
    *ret_offset_s = (text[0] == '-' ? -1 : 1) * ((int64_t)hours * 3600 + (int64_t)minutes * 60);
    return OK;
}

enum err clock_parse(const char *text, int64_t *ret_wall_ms)
{
    struct tm utc = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &utc);
    int64_t ms = 0;
    int64_t offset_s;
    int64_t seconds;
    int day;

    if (rest == NULL) {
        return ERR_MALFORMED;
    }
    if (*rest == '.') {
        int64_t scale = 100;
        for (rest++; *rest >= '0' && *rest <= '9'; rest++, scale /= 10) {
            ms += (*rest - '0') * scale;
        }
    }
    if (parse_zone(rest, &offset_s) != OK) {
        return ERR_MALFORMED;
    }
    /* timegm() mends impossible dates such as 31 April; we refuse them. */
    day = utc.tm_mday;
    seconds = timegm(&utc);
    if (utc.tm_mday != day) {
        return ERR_MALFORMED;
    }
    *ret_wall_ms = (seconds - offset_s) * 1000 + ms;
    return OK;
}
