/* Log: one JSON object a line on stderr, for operators. Any thread; a line is written whole.
 * Secrets cannot get in: struct secret has no way into a json_t, and URLs are never logged. */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <jansson.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };

/* Lines below the level are dropped; the start level is LOG_LEVEL_INFO. */
void log_set_level(enum log_level level);

/* Writes {"time":…,"level":…,"msg":msg, fields…}. fields_take (may be NULL) is an object, given
 * away. Control characters are escaped by the JSON encoding, so a line is a line. */
void log_write(enum log_level level, const char *msg, json_t *fields_take);

/* log_info("listening", "s:s", "address", text): the fields as json_pack() takes them, without
 * the braces. */
#define log_debug(msg, ...)     log_write(LOG_LEVEL_DEBUG, msg, LOG_FIELDS(__VA_ARGS__))
#define log_info(msg, ...)      log_write(LOG_LEVEL_INFO, msg, LOG_FIELDS(__VA_ARGS__))
#define log_warning(msg, ...)   log_write(LOG_LEVEL_WARNING, msg, LOG_FIELDS(__VA_ARGS__))
#define log_error(msg, ...)     log_write(LOG_LEVEL_ERROR, msg, LOG_FIELDS(__VA_ARGS__))
#define LOG_FIELDS(format, ...) json_pack("{" format "}", ##__VA_ARGS__)

#endif
