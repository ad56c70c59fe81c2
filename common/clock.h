/* Clock: the two times of the house, in milliseconds. Any thread.
 * Inside, everything is measured on the boot clock, which nobody can set; the wall clock is
 * only for audit, store, tokens and people. */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include "common/error.h"
#include "common/memory.h"

#include <stdint.h>

/* Milliseconds since this machine booted, suspend included (CLOCK_BOOTTIME). */
int64_t clock_boot_ms(void);

/* Milliseconds since the epoch, as the wall clock says. */
int64_t clock_wall_ms(void);

/* Microseconds on the boot clock, for measuring durations. */
int64_t clock_boot_us(void);

/* Identity of this boot of the machine: boot times of equal identity can be compared.
 * The text is static. */
const char *clock_boot_id(void);

#define CLOCK_TEXT_SIZE 32

/* RFC 3339 in UTC with milliseconds: 2026-11-22T10:00:00.000Z. */
const char *clock_format(int64_t wall_ms, char text[CLOCK_TEXT_SIZE]);

/* Reads RFC 3339 (T and Z in capitals, or an offset; no leap seconds) into milliseconds since the
 * epoch; what is finer is dropped. ERR_MALFORMED. */
enum err clock_parse(const char *text, int64_t *ret_wall_ms) MUST_CHECK;

#endif
