/* Keeper, shared by its own files: keeper.c (the thread and its checkpoints), keeper_file.c (the
 * file they are appended to), keeper_command.c (the program that gets them), keeper_prune.c
 * (dropping old records). All on the keeper's thread. */
#ifndef GATEWAY_KEEPER_PRIV_H
#define GATEWAY_KEEPER_PRIV_H

#include "common/mailbox.h"
#include "common/signing_key.h"
#include "gateway/keeper.h"
#include "store/store.h"

#include <event2/event.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct keeper {
    const struct settings *settings;
    const struct config *config;   /* theirs */
    const struct settings *wanted; /* once no checkpoint is being stored; or NULL */
    struct store *store;
    struct event_base *base;
    struct mailbox *mailbox;
    pthread_t thread;
    bool started;
    struct mail stop;
    bool stopping;
    bool last;          /* the checkpoint being stored covers everything */
    int64_t give_up_ms; /* boot clock: the end waits no longer */

    struct event *checkpoint_timer;
    bool signing;   /* a checkpoint is being stored: */
    char *new_note; /* the writer's thread sets these meanwhile */
    int64_t new_size;
    char *note;          /* the newest that is stored, or NULL */
    int64_t signed_size; /* that it covers; -1: none */
    bool failed;         /* the last attempt */

    char *unwritten; /* notes that checkpoint_file does not have yet, or NULL */
    bool file_failed;

    pid_t command;  /* 0: none runs */
    bool unshipped; /* note is newer than what it got */
    struct event *command_timer;
    int64_t command_until_ms; /* boot clock */

    struct event *prune_timer;
    bool pruning; /* a write is under way */
};

/* keeper.c: ends the thread, if it is to end and nothing is left to be done. */
void keeper_end(struct keeper *keeper);

/* keeper_file.c: appends what is unwritten, durably. Says once that it cannot, and once that it can
 * again. */
void keeper_write_file(struct keeper *keeper);

/* keeper_command.c: starts the command with the newest note on its standard input, unless it still
 * runs; watches it; ends it with the process. */
void keeper_command_start(struct keeper *keeper);
void keeper_command_init(struct keeper *keeper);
void keeper_command_done(struct keeper *keeper);

/* keeper_prune.c */
void keeper_prune_init(struct keeper *keeper);
void keeper_prune_look(struct keeper *keeper); /* soon, if records are to be dropped at all */
void keeper_prune_done(struct keeper *keeper);

#endif
