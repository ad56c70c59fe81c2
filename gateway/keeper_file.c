/* Keeper: the file that checkpoints are appended to. It is opened anew each time, so it may be
 * moved away. What a crash cut off is ended first, so that it does not take the next note with it.
 */
#include "gateway/keeper_priv.h"

#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_UNWRITTEN ((size_t)256 * 1024)

/* How many newlines are missing before an appended note: it must come after an empty line. */
static size_t missing_newlines(int fd)
{
    char tail[2];
    off_t end = lseek(fd, 0, SEEK_END);

    if (end <= 0) {
        return 0;
    }
    if (end == 1) {
        return 2;
    }
    if (pread(fd, tail, sizeof(tail), end - 2) != sizeof(tail) || tail[1] != '\n') {
        return 2;
    }
    return tail[0] == '\n' ? 0 : 1;
}

static bool append(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t written = write(fd, data, len);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return false;
        }
        data += written;
        len -= (size_t)written;
    }
    return true;
}

void keeper_write_file(struct keeper *keeper)
{
    const char *path = keeper->config->audit.checkpoint_file;
    int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    bool good = fd >= 0 && append(fd, "\n\n", missing_newlines(fd)) &&
                append(fd, keeper->unwritten, strlen(keeper->unwritten)) && fsync(fd) == 0;
    int problem = errno;

    if (fd >= 0) {
        (void)close(fd);
    }
    if (!good && !keeper->file_failed) {
        log_error("a checkpoint could not be appended: it is in the store, and will be tried again",
                  "s:s, s:s", "file", path, "error", strerror(problem));
    } else if (good && keeper->file_failed) {
        log_info("checkpoints are appended again", "s:s", "file", path);
    }
    keeper->file_failed = !good;
    if (good || strlen(keeper->unwritten) > MAX_UNWRITTEN) {
        free(keeper->unwritten);
        keeper->unwritten = NULL;
    }
}
