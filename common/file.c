/* File: see file.h. */
#include "common/file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_SECRET_BYTES 8192

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
    }
}

static const char credential[] = "credential:";

static bool is_credential(const char *path)
{
    const char *directory = getenv("CREDENTIALS_DIRECTORY");
    size_t len = directory != NULL ? strlen(directory) : 0;

    return len > 0 && strncmp(path, directory, len) == 0 && path[len] == '/' &&
           strchr(path + len + 1, '/') == NULL;
}

/* Where the service manager keeps credentials only the service gets in; it lets the service read
 * its own, which are root's, by an access list: and that shows as the group's permission. */
static bool is_private_credential(const char *path, const struct stat *info)
{
    return is_credential(path) && (info->st_uid == 0 || info->st_uid == geteuid()) &&
           (info->st_mode & (S_IWGRP | S_IXGRP | S_IRWXO)) == 0;
}

static enum err check_private(const char *path, const struct stat *info, struct error *error)
{
    if (is_private_credential(path, info)) {
        return OK;
    }
    if (info->st_uid != geteuid()) {
        return error_set(error, ERR_DENIED,
                         "%s: belongs to user %u, but the gateway runs as user %u: chown it", path,
                         (unsigned)info->st_uid, (unsigned)geteuid());
    }
    if ((info->st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        return error_set(error, ERR_DENIED,
                         "%s: others can access this secret (mode %04o): run chmod 600 on it", path,
                         (unsigned)(info->st_mode & 07777));
    }
    return OK;
}

static enum err read_all(int fd, const char *path, size_t max, char **ret_data, size_t *ret_len,
                         struct error *error)
{
    char *data = xcalloc(1, max + 1);
    size_t len = 0;

    for (;;) {
        ssize_t got = read(fd, data + len, max + 1 - len);
        if (got == 0) {
            break;
        }
        if (got < 0 && errno != EINTR) {
            secret_cleanse(data, len);
            free(data);
            return error_set(error, ERR_IO, "%s: %s", path, strerror(errno));
        }
        len += got > 0 ? (size_t)got : 0;
        if (len > max) {
            secret_cleanse(data, len);
            free(data);
            return error_set(error, ERR_FULL, "%s: longer than %zu bytes", path, max);
        }
    }
    data[len] = '\0';
    *ret_data = data;
    *ret_len = len;
    return OK;
}

static enum err read_file(const char *path, size_t max, bool private, char **ret_data,
                          size_t *ret_len, struct error *error)
{
    CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat info;
    enum err err;

    if (fd < 0 && file_is_unplaced(path)) {
        return error_set(error, ERR_NOT_FOUND,
                         "%s: there are no credentials here ($CREDENTIALS_DIRECTORY is not set): "
                         "the service manager gives them to the service alone",
                         path);
    }
    if (fd < 0) {
        return error_set(error, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path,
                         strerror(errno));
    }
    if (fstat(fd, &info) != 0) {
        return error_set(error, ERR_IO, "%s: %s", path, strerror(errno));
    }
    if (!S_ISREG(info.st_mode)) {
        return error_set(error, ERR_INVALID, "%s: not a regular file", path);
    }
    if (private && (err = check_private(path, &info, error)) != OK) {
        return err;
    }
    return read_all(fd, path, max, ret_data, ret_len, error);
}

enum err file_read(const char *path, size_t max, char **ret_data, size_t *ret_len,
                   struct error *error)
{
    return read_file(path, max, false, ret_data, ret_len, error);
}

enum err file_read_secret(const char *path, struct secret **ret_secret, struct error *error)
{
    char *data = NULL;
    size_t len = 0;
    size_t start = 0;
    enum err err = read_file(path, MAX_SECRET_BYTES, true, &data, &len, error);

    if (err != OK) {
        return err;
    }
    size_t all = len;
    while (len > 0 && isspace((unsigned char)data[len - 1])) {
        len--;
    }
    while (start < len && isspace((unsigned char)data[start])) {
        start++;
    }
    if (start == len) {
        err = error_set(error, ERR_INVALID, "%s: holds no secret, the file is empty", path);
    } else {
        *ret_secret = secret_new(data + start, len - start);
    }
    secret_cleanse(data, all);
    free(data);
    return err;
}

char *file_join(const char *directory, const char *name)
{
    return name[0] == '/' ? xstrdup(name) : xasprintf("%s/%s", directory, name);
}

bool file_is_unplaced(const char *name)
{
    return strncmp(name, credential, strlen(credential)) == 0;
}

char *file_place(const char *directory, const char *name)
{
    const char *credentials = getenv("CREDENTIALS_DIRECTORY");

    if (!file_is_unplaced(name)) {
        return file_join(directory, name);
    }
    return credentials != NULL ? file_join(credentials, name + strlen(credential)) : xstrdup(name);
}
