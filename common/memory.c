/* Memory: see memory.h. Exhaustion ends the process with a line on stderr: the store makes
 * that as safe as any other crash, and half-handled exhaustion never is. */
#include "common/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *require(void *p)
{
    if (p == NULL) {
        (void)fputs("{\"level\":\"error\",\"msg\":\"out of memory\"}\n", stderr);
        abort();
    }
    return p;
}

void *xcalloc(size_t count, size_t size)
{
    return require(calloc(count > 0 ? count : 1, size > 0 ? size : 1));
}

void *xrealloc(void *p, size_t count, size_t size)
{
    if (count == 0 || size == 0) {
        count = size = 1;
    }
    return require(reallocarray(p, count, size));
}

char *xstrdup(const char *text)
{
    return text != NULL ? require(strdup(text)) : NULL;
}

char *xstrndup(const char *text, size_t len)
{
    return require(strndup(text, len));
}

char *xasprintf(const char *format, ...)
{
    va_list args;
    char *text = NULL;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0) {
        text = NULL;
    }
    va_end(args);
    return require(text);
}

void cleanup_free(void *local)
{
    free(*(void **)local);
}
