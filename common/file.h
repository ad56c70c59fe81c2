/* File: reading small files whole. Any thread; blocks on the disk. */
#ifndef COMMON_FILE_H
#define COMMON_FILE_H

#include "common/error.h"
#include "common/memory.h"
#include "common/secret.h"

#include <stdbool.h>
#include <stddef.h>

/* Reads a regular file of at most max bytes; the caller frees *ret_data, which ends in a NUL that
 * *ret_len does not count. The error names the file. ERR_NOT_FOUND, ERR_IO, ERR_FULL. */
enum err file_read(const char *path, size_t max, char **ret_data, size_t *ret_len,
                   struct error *error) MUST_CHECK;

/* Reads a secret: a regular file of this process's own user that nobody else can read, else
 * ERR_DENIED with the command that mends it. White space around the secret is dropped; an empty
 * secret is ERR_INVALID. The caller frees. */
enum err file_read_secret(const char *path, struct secret **ret_secret,
                          struct error *error) MUST_CHECK;

/* directory/name, or name alone if that is absolute. The caller frees. */
char *file_join(const char *directory, const char *name);

#endif
