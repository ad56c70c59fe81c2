/* Log: see log.h. */
#include "common/log.h"

#include "common/clock.h"
#include "common/memory.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Atomic enum log_level lowest = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
    lowest = level;
}

/* One write() for a line: lines of several threads do not mix, and nothing waits in a buffer when
 * the process dies. */
static void write_line(const char *text, size_t len)
{
    while (len > 0) {
        ssize_t done = write(STDERR_FILENO, text, len);
        if (done < 0 && errno != EINTR) {
            return;
        }
        text += done > 0 ? done : 0;
        len -= done > 0 ? (size_t)done : 0;
    }
}

void log_write(enum log_level level, const char *msg, json_t *fields_take)
{
    static const char *const names[] = {"debug", "info", "warning", "error"};
    CLEANUP(cleanup_free) char *text = NULL;
    char time[CLOCK_TEXT_SIZE];
    json_t *line = NULL;
    size_t len;

    if (level < lowest) {
        json_decref(fields_take);
        return;
    }
    line = json_pack("{s:s, s:s, s:s}", "time", clock_format(clock_wall_ms(), time), "level",
                     names[level], "msg", msg);
    if (fields_take != NULL) {
        (void)json_object_update(line, fields_take);
        json_decref(fields_take);
    }
    text = json_dumps(line, JSON_COMPACT | JSON_ENSURE_ASCII);
    json_decref(line);
    if (text == NULL) {
        return;
    }
    len = strlen(text);
    text[len] = '\n'; /* takes the place of the NUL */
    write_line(text, len + 1);
}
