/* Memory: allocation that cannot fail quietly, and ownership made visible.
 * Any thread. Sizes that a client chooses are bounded before they come here. */
#ifndef COMMON_MEMORY_H
#define COMMON_MEMORY_H

#include <stddef.h>

/* Allocates zeroed memory for count objects of size bytes; aborts the process when there is none.
 */
void *xcalloc(size_t count, size_t size) __attribute__((returns_nonnull, malloc));

/* Resizes like realloc(); aborts when there is no memory. */
void *xrealloc(void *p, size_t count, size_t size) __attribute__((returns_nonnull));

/* Copies a string, or its first len bytes; NULL gives NULL for xstrdup. The caller frees. */
char *xstrdup(const char *text);
char *xstrndup(const char *text, size_t len) __attribute__((returns_nonnull));

/* printf into a new string that the caller frees. */
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2), returns_nonnull));

/* For CLEANUP(): frees the pointer that a local variable holds. */
void cleanup_free(void *local);

/* Runs function(&local) when the local variable goes out of scope. */
#define CLEANUP(function) __attribute__((cleanup(function)))

/* A function whose result must be looked at. */
#define MUST_CHECK __attribute__((warn_unused_result))

/* Moves ownership out of a pointer variable, which is NULL afterwards. */
#define TAKE(pointer)                                                                              \
    __extension__({                                                                                \
        __typeof__(pointer) taken_ = (pointer);                                                    \
        (pointer) = NULL;                                                                          \
        taken_;                                                                                    \
    })

#define ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))

#endif
