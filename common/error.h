/* Errors: one code to branch on and one sentence for a person.
 * The text is UTF-8, wherever it comes from and is cut: answers and records are made of it.
 * Any thread; a struct error is embedded by the caller and owns nothing. */
#ifndef COMMON_ERROR_H
#define COMMON_ERROR_H

enum err {
    OK = 0,
    ERR_MALFORMED, /* bytes that are not what the format says */
    ERR_INVALID,   /* well formed, but a value is not allowed */
    ERR_DENIED,    /* policy, permission or authentication says no */
    ERR_NOT_FOUND,
    ERR_EXISTS,
    ERR_FULL,        /* a configured bound is reached; nothing was taken */
    ERR_IO,          /* a file, socket or database failed */
    ERR_UNAVAILABLE, /* not now: later may be different */
};

struct error {
    enum err code;
    char text[512];
};

/* Sets the error (which may be NULL) and returns code, so that a caller can return it. */
enum err error_set(struct error *error, enum err code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "context: " before the text that is there. */
enum err error_prefix(struct error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
