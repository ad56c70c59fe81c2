/*
 * A small gzip text that inflates to about a gigabyte.
 */
#ifndef SIM_BOMB_H
#define SIM_BOMB_H

#include <stddef.h>

/* The 1 MiB of gzip, owned by the caller. */
char *bomb_new(size_t *ret_len);

#endif
