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
 * ERR_DENIED with the command that mends it. Files in $CREDENTIALS_DIRECTORY may also be root's, as
 * long as others cannot read them. White space around the secret is dropped; an empty
 * secret is ERR_INVALID. The caller frees. */
enum err file_read_secret(const char *path, struct secret **ret_secret,
                          struct error *error) MUST_CHECK;

/* directory/name, or name alone if that is absolute. The caller frees. */
char *file_join(const char *directory, const char *name);

/* The same, but "credential:NAME" is the file NAME of $CREDENTIALS_DIRECTORY, where a service
 * manager puts secrets (systemd.exec(5), LoadCredential=). Where there is no such directory it
 * stays as it is, and reading it fails. The caller frees. */
char *file_place(const char *directory, const char *name);

/* Whether it is a credential that stayed as it is. */
bool file_is_unplaced(const char *name);

#endif
