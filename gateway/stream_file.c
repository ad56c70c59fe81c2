/* Stream to a file: JSON lines, a record's exact bytes and a newline each. On the streams' thread.
 * It never leaves half a line behind: what a full disk or a power cut left is cut off again. */
#include "common/buffer.h"
#include "gateway/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODE       0640
#define BATCH_SIZE (256 * 1024)       /* bytes written at once */
#define LINE_MAX_  (64 * 1024 * 1024) /* no record is that long */
#define TAIL_SIZE  (8 * 1024 * 1024)  /* where the last line is looked for */

struct file_stream {
    struct stream stream;
    char *path;
    int fd; /* -1: none */
    dev_t device;
    ino_t inode;
    struct buffer lines; /* not yet written */
    int64_t queued;      /* one past the last record in lines */
    int64_t written;     /* everything below it is in the file */
    int64_t synced;      /* and on the disk */
};

static struct file_stream *of(struct stream *stream)
{
    return (struct file_stream *)stream;
}

static void on_error(struct file_stream *file, const char *what, int64_t from)
{
    (void)error_set(&file->stream.why, ERR_IO, "%s: %s: %s", file->path, what, strerror(errno));
    file->stream.from = from;
    file->stream.state = STREAM_FAILED;
}

/* ---- Opening ---- */

/* The name must outlive a power cut, too. */
static bool sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    CLEANUP(cleanup_free)
    char *folder = slash == NULL ? xstrdup(".") : xstrndup(path, (size_t)(slash - path) + 1);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool done = fd >= 0 && fsync(fd) == 0;

    if (fd >= 0) {
        (void)close(fd);
    }
    return done;
}

/* Looks at how the file ends: keeps its last line, and ends or takes away a piece of a line. Only
 * what begins like a record is taken away, as it is written again. */
static bool mend_tail(struct file_stream *file, off_t size)
{
    static const char record[] = "{\"v\":";
    const off_t from = size > TAIL_SIZE ? size - TAIL_SIZE : 0;
    CLEANUP(cleanup_free) char *tail = xcalloc(1, (size_t)(size - from) + 1);
    ssize_t got = pread(file->fd, tail, (size_t)(size - from), from);
    const char *piece;
    const char *line;
    size_t len;

    if (got < 0) {
        return false;
    }
    len = (size_t)got;
    piece = memrchr(tail, '\n', len);
    piece = piece != NULL ? piece + 1 : tail;
    if (piece > tail) {
        line = memrchr(tail, '\n', (size_t)(piece - 1 - tail));
        line = line != NULL ? line + 1 : tail;
        file->stream.last_len = (size_t)(piece - 1 - line);
        file->stream.last = xstrndup(line, file->stream.last_len);
    }
    if (piece == tail + len) {
        return true;
    }
    if (strncmp(piece, record, strlen(record)) == 0 && (piece > tail || from == 0)) {
        return ftruncate(file->fd, from + (piece - tail)) == 0;
    }
    return write(file->fd, "\n", 1) == 1;
}

static void open_file(struct file_stream *file)
{
    struct stat info;

    file->fd =
        open(file->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, MODE);
    if (file->fd < 0 || fstat(file->fd, &info) != 0) {
        on_error(file, "cannot be opened", file->written);
    } else if (!S_ISREG(info.st_mode)) {
        errno = EINVAL;
        on_error(file, "is not a regular file", file->written);
    } else if (!mend_tail(file, info.st_size) || fdatasync(file->fd) != 0 ||
               !sync_folder(file->path)) {
        on_error(file, "cannot be made ready", file->written);
    } else {
        file->device = info.st_dev;
        file->inode = info.st_ino;
        file->stream.state = STREAM_OPEN;
    }
}

static void open_stream(struct stream *stream, int64_t seq)
{
    struct file_stream *file = of(stream);

    file->queued = file->written = file->synced = seq;
    open_file(file);
}

/* ---- Writing ---- */

/* Takes back what a write that failed half-way left. */
static void take_back(struct file_stream *file, size_t written)
{
    int saved = errno;
    off_t end = lseek(file->fd, 0, SEEK_CUR); /* after what was written */

    if (written > 0 && end >= (off_t)written) {
        (void)!ftruncate(file->fd, end - (off_t)written);
    }
    errno = saved;
}

static void flush(struct stream *stream)
{
    struct file_stream *file = of(stream);
    size_t done = 0;

    while (done < file->lines.len) {
        ssize_t put = write(file->fd, file->lines.data + done, file->lines.len - done);
        if (put < 0 && errno != EINTR) {
            take_back(file, done);
            on_error(file, "cannot be written", file->written);
            return;
        }
        done += put > 0 ? (size_t)put : 0;
    }
    file->lines.len = 0;
    file->written = file->queued;
}

static enum err send_record(struct stream *stream, const struct store_record *record)
{
    struct file_stream *file = of(stream);

    if (buffer_add(&file->lines, record->bytes, record->len) != OK ||
        buffer_add(&file->lines, "\n", 1) != OK) {
        errno = EFBIG;
        on_error(file, "a record is too long", file->written);
        return OK;
    }
    file->queued = record->seq + 1;
    if (file->lines.len >= BATCH_SIZE) {
        flush(stream);
    }
    return OK;
}

static int64_t settle(struct stream *stream)
{
    struct file_stream *file = of(stream);

    if (file->synced < file->written) {
        if (fdatasync(file->fd) != 0) {
            on_error(file, "cannot be written to the disk", file->synced);
        } else {
            file->synced = file->written;
        }
    }
    return file->synced;
}

/* ---- Moved files ---- */

static void close_file(struct file_stream *file)
{
    if (file->fd >= 0) {
        (void)close(file->fd);
    }
    file->fd = -1;
    free(file->stream.last);
    file->stream.last = NULL;
    file->lines.len = 0;
}

/* What was taken goes into the old file, whatever it is called now, and the rest into the new one.
 */
static void reopen(struct stream *stream)
{
    struct file_stream *file = of(stream);

    flush(stream);
    if (stream->state == STREAM_OPEN) {
        (void)settle(stream);
    }
    if (stream->state == STREAM_OPEN) {
        close_file(file);
        open_file(file);
    }
}

static void check(struct stream *stream)
{
    struct file_stream *file = of(stream);
    struct stat info;

    if (stream->state == STREAM_OPEN &&
        (stat(file->path, &info) != 0 || info.st_dev != file->device ||
         info.st_ino != file->inode)) {
        reopen(stream);
    }
}

/* ---- Life ---- */

static struct stream *new_stream(const struct stream_setup *setup)
{
    struct file_stream *file = xcalloc(1, sizeof(*file));

    file->stream.kind = &stream_kind_file;
    file->path = xstrdup(setup->config->path);
    file->fd = -1;
    buffer_init(&file->lines, LINE_MAX_);
    return &file->stream;
}

static void finish(struct stream *stream)
{
    flush(stream);
    if (stream->state == STREAM_OPEN) {
        (void)settle(stream);
    }
    if (stream->state == STREAM_OPEN) {
        stream->from = of(stream)->synced;
        stream->state = STREAM_ENDED;
    }
}

static void close_stream(struct stream *stream)
{
    if (stream->state == STREAM_OPEN) {
        stream->from = settle(stream);
    }
    close_file(of(stream));
    stream->state = STREAM_CLOSED;
}

static void free_stream(struct stream *stream)
{
    struct file_stream *file = of(stream);

    close_file(file);
    buffer_done(&file->lines);
    free(file->path);
    free(file);
}

const struct stream_kind stream_kind_file = {
    .type = "file",
    .new = new_stream,
    .free = free_stream,
    .open = open_stream,
    .send = send_record,
    .flush = flush,
    .settle = settle,
    .check = check,
    .reopen = reopen,
    .finish = finish,
    .close = close_stream,
};
