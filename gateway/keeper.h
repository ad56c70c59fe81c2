/* Keeper: keeps the audit log in order. Signs a checkpoint of it at the start, every
 * checkpoint_interval_s when there is news, and at the end; appends each to checkpoint_file, and
 * starts checkpoint_command with it; drops records older than retain_days. On a thread of its own:
 * nobody ever waits for it but the end of the process. */
#ifndef GATEWAY_KEEPER_H
#define GATEWAY_KEEPER_H

#include "common/error.h"
#include "common/memory.h"
#include "gateway/config.h"

struct keeper;
struct store;

/* Reads the signing key; *ret_keeper is made also without one, and then signs nothing. config is
 * borrowed. The errors of signing_key_load(). */
enum err keeper_new(const struct config *config, struct keeper **ret_keeper,
                    struct error *error) MUST_CHECK;

/* The public key as a vkey (see common/note.h), or NULL without a key. The caller frees. */
char *keeper_verifier(const struct keeper *keeper);

/* Starts the thread, and with it the first checkpoint; the store, which is borrowed, must have been
 * given a record. */
enum err keeper_start(struct keeper *keeper, struct store *store, struct error *error) MUST_CHECK;

/* Signs a last checkpoint over everything that was given to the store, and ends the thread. Before
 * store_stop(), and waits some seconds at most. Takes NULL. */
void keeper_stop(struct keeper *keeper);

/* After store_stop(). Takes NULL. */
void keeper_free(struct keeper *keeper);

#endif
