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
    int ms = (int)(wall_ms % 1000 + 1000) % 1000; /* also before 1970 */
    time_t seconds = (time_t)((wall_ms - ms) / 1000);
    struct tm utc;
    char date[24];

    (void)gmtime_r(&seconds, &utc);
    (void)strftime(date, sizeof(date), "%04Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(text, CLOCK_TEXT_SIZE, "%s.%03dZ", date, ms);
    return text;
}

/* Reads that many digits; -1 when they are not. */
static int read_digits(const char *text, size_t count)
{
    int value = 0;

    for (size_t i = 0; i < count; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return -1;
        }
        value = value * 10 + text[i] - '0';
    }
    return value;
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
    hours = read_digits(text + 1, 2);
    minutes = read_digits(text + 4, 2);
    if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) {
        return ERR_MALFORMED;
    }
    *ret_offset_s = (text[0] == '-' ? -1 : 1) * ((int64_t)hours * 3600 + (int64_t)minutes * 60);
    return OK;
}

/* Reads the 19 characters of 2026-11-22T10:00:00, into a date that exists. */
static enum err parse_date_time(const char *text, struct tm *ret_utc)
{
    static const char form[] = "dddd-dd-ddTdd:dd:dd";
    struct tm utc = {0};
    struct tm real;

    for (size_t i = 0; form[i] != '\0'; i++) {
        if (form[i] == 'd' ? read_digits(text + i, 1) < 0 : text[i] != form[i]) {
            return ERR_MALFORMED;
        }
    }
    utc.tm_year = read_digits(text, 4) - 1900;
    utc.tm_mon = read_digits(text + 5, 2) - 1;
    utc.tm_mday = read_digits(text + 8, 2);
    utc.tm_hour = read_digits(text + 11, 2);
    utc.tm_min = read_digits(text + 14, 2);
    utc.tm_sec = read_digits(text + 17, 2);
    /* timegm() mends what cannot be, such as 31 April or 24:00; we refuse it. */
    real = utc;
    (void)timegm(&real);
    if (real.tm_mon != utc.tm_mon || real.tm_mday != utc.tm_mday || real.tm_hour != utc.tm_hour ||
        real.tm_min != utc.tm_min || real.tm_sec != utc.tm_sec) {
        return ERR_MALFORMED;
    }
    *ret_utc = utc;
    return OK;
}

enum err clock_parse(const char *text, int64_t *ret_wall_ms)
{
    const char *rest = text + strlen("2026-11-22T10:00:00");
    struct tm utc;
    int64_t ms = 0;
    int64_t offset_s;

    if (parse_date_time(text, &utc) != OK) {
        return ERR_MALFORMED;
    }
    if (*rest == '.') {
        int64_t scale = 100;
        if (read_digits(++rest, 1) < 0) {
            return ERR_MALFORMED;
        }
        for (; *rest >= '0' && *rest <= '9'; rest++, scale /= 10) {
            ms += (*rest - '0') * scale;
        }
    }
    if (parse_zone(rest, &offset_s) != OK) {
        return ERR_MALFORMED;
    }
    *ret_wall_ms = ((int64_t)timegm(&utc) - offset_s) * 1000 + ms;
    return OK;
}
