/* Buffer: bytes that grow up to a bound chosen by the owner. Any thread, one at a time. */
#ifndef COMMON_BUFFER_H
#define COMMON_BUFFER_H

#include "common/error.h"
#include "common/memory.h"

#include <stddef.h>

struct buffer {
    char *data; /* always followed by a NUL once anything was added; NULL before */
    size_t len;
    size_t capacity;
    size_t max;
};

/* max is the greatest number of bytes it will hold. */
void buffer_init(struct buffer *buffer, size_t max);
void buffer_done(struct buffer *buffer);

/* Appends len bytes; ERR_FULL, and nothing appended, if that would pass the bound. */
enum err buffer_add(struct buffer *buffer, const void *data, size_t len) MUST_CHECK;

/* Appends formatted text, with the same bound. */
enum err buffer_printf(struct buffer *buffer, const char *format, ...) MUST_CHECK
    __attribute__((format(printf, 2, 3)));

/* Hands the text out (the caller frees it, never NULL) and leaves the buffer empty. */
char *buffer_take(struct buffer *buffer);

#endif
