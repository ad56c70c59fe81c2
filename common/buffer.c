/* Buffer: see buffer.h. */
#include "common/buffer.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buffer_init(struct buffer *buffer, size_t max)
{
    *buffer = (struct buffer){.max = max};
}

void buffer_done(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){.max = buffer->max};
}

static enum err reserve(struct buffer *buffer, size_t more)
{
    if (more > buffer->max - buffer->len) {
        return ERR_FULL;
    }
    if (buffer->capacity - buffer->len <= more) {
        size_t capacity = (buffer->len + more) * 2 + 64;
        buffer->data = xrealloc(buffer->data, capacity, 1);
        buffer->capacity = capacity;
    }
    return OK;
}

enum err buffer_add(struct buffer *buffer, const void *data, size_t len)
{
    enum err err = reserve(buffer, len);

    if (err != OK) {
        return err;
    }
    if (len > 0) {
        memcpy(buffer->data + buffer->len, data, len);
    }
    buffer->len += len;
    buffer->data[buffer->len] = '\0';
    return OK;
}

enum err buffer_printf(struct buffer *buffer, const char *format, ...)
{
    va_list args;
    int needed;
    enum err err;

    va_start(args, format);
    needed = vsnprintf(NULL, 0, format, args);
    va_end(args);
    assert(needed >= 0);
    err = reserve(buffer, (size_t)needed);
    if (err != OK) {
        return err;
    }
    va_start(args, format);
    (void)vsnprintf(buffer->data + buffer->len, (size_t)needed + 1, format, args);
    va_end(args);
    buffer->len += (size_t)needed;
    return OK;
}

char *buffer_take(struct buffer *buffer)
{
    char *text = buffer->data != NULL ? buffer->data : xcalloc(1, 1);

    *buffer = (struct buffer){.max = buffer->max};
    return text;
}
