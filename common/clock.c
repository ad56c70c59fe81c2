/* Clock: see clock.h. */
#include "common/clock.h"

#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
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

enum err clock_parse(const char *text, int64_t *ret_wall_ms)
{
    struct tm utc = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &utc);
    int64_t ms = 0;
    int hours = 0;
    int minutes = 0;
    int used = 0;
    int day;
    time_t seconds;

    if (rest == NULL) {
        return ERR_MALFORMED;
    }
    if (*rest == '.') {
        int64_t scale = 100;
        for (rest++; *rest >= '0' && *rest <= '9'; rest++, scale /= 10) {
            ms += (*rest - '0') * scale;
        }
    }
    if (strcmp(rest, "Z") != 0 && (sscanf(rest, "%*1[+-]%2d:%2d%n", &hours, &minutes, &used) != 2 ||
                                   used != 6 || rest[6] != '\0' || hours > 23 || minutes > 59)) {
        return ERR_MALFORMED;
    }
    /* timegm() mends impossible dates such as 31 April; we refuse them. */
    day = utc.tm_mday;
    seconds = timegm(&utc);
    if (utc.tm_mday != day) {
        return ERR_MALFORMED;
    }
    *ret_wall_ms =
        ((int64_t)seconds - (rest[0] == '-' ? -1 : 1) * (hours * 3600 + minutes * 60)) * 1000 + ms;
    return OK;
}
