/* Keeper: keeps the audit log in order. Signs a checkpoint of it at the start, every
 * checkpoint_interval_s when there is news, and at the end; appends each to checkpoint_file, and
 * starts checkpoint_command with it; drops records older than retain_days. On a thread of its own:
 * nobody ever waits for it but the end of the process. */
#ifndef GATEWAY_KEEPER_H
#define GATEWAY_KEEPER_H

#include "common/error.h"
#include "common/memory.h"
#include "gateway/settings.h"

struct keeper;
struct store;

/* Without a signing key it signs nothing. */
struct keeper *keeper_new(const struct settings *settings);

/* Starts the thread, and with it the first checkpoint; the store, which is borrowed, must have been
 * given a record. */
enum err keeper_start(struct keeper *keeper, struct store *store, struct error *error) MUST_CHECK;

/* Goes by other settings from now on; another key signs a checkpoint at once. The store must have
 * been given the record of the change. Any thread; after keeper_start(). */
void keeper_configure(struct keeper *keeper, const struct settings *settings);

/* Signs a last checkpoint over everything that was given to the store, and ends the thread. Before
 * store_stop(), and waits some seconds at most. Takes NULL. */
void keeper_stop(struct keeper *keeper);

/* After store_stop(). Takes NULL. */
void keeper_free(struct keeper *keeper);

#endif
