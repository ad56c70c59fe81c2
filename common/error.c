/* Errors: see error.h. */
#include "common/error.h"

#include "common/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum err error_set(struct error *error, enum err code, const char *format, ...)
{
    va_list args;

    if (error != NULL) {
        error->code = code;
        va_start(args, format);
        (void)vsnprintf(error->text, sizeof(error->text), format, args);
        va_end(args);
        utf8_mend(error->text);
    }
    return code;
}

enum err error_prefix(struct error *error, const char *format, ...)
{
    char context[256];
    char text[sizeof(error->text)];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(context, sizeof(context), format, args);
    va_end(args);
    memcpy(text, error->text, sizeof(text));
    (void)snprintf(error->text, sizeof(error->text), "%s: %.*s", context,
                   (int)(sizeof(error->text) - sizeof(context) - 2), text);
    utf8_mend(error->text);
    return error->code;
}
