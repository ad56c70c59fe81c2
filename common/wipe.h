/* Wipe: malloc() and its relatives for libraries that secrets pass through (libcurl has them in
 * URLs, libevent in headers, jansson in answers): what is freed is overwritten first. Memory of
 * malloc() and of these functions can be freed by either. Any thread. */
#ifndef COMMON_WIPE_H
#define COMMON_WIPE_H

#include <stddef.h>

/* As their namesakes in C. */
void *wipe_malloc(size_t size);
void *wipe_calloc(size_t count, size_t size);
void *wipe_realloc(void *p, size_t size);
char *wipe_strdup(const char *text);
void wipe_free(void *p);

/* Makes OpenSSL, libevent and jansson use them from now on; libcurl is told where it is started.
 * Once, before OpenSSL is used at all, and before there are other threads. */
void wipe_libraries(void);

#endif
