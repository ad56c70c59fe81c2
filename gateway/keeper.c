/* Keeper: the thread and its checkpoints. See keeper.h. */
#include "gateway/keeper_priv.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mailbox.h"
#include "common/note.h"
#include "store/audit.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define STOP_WAIT_MS 5000 /* for the last checkpoint, when the store does not answer */
#define MAX_MAIL     64

static void on_checkpoint_timer(evutil_socket_t fd, short what, void *arg);

static char *origin_of(const char *node)
{
    return xasprintf("tollgate/%s", node);
}

struct keeper *keeper_new(const struct settings *settings)
{
    struct keeper *keeper = xcalloc(1, sizeof(*keeper));

    keeper->settings = settings_ref(settings);
    keeper->config = settings->config;
    keeper->signed_size = -1;
    keeper->base = event_base_new();
    keeper->mailbox = mailbox_new(keeper->base, MAX_MAIL, NULL, keeper);
    keeper->checkpoint_timer = event_new(keeper->base, -1, EV_PERSIST, on_checkpoint_timer, keeper);
    assert(keeper->checkpoint_timer != NULL);
    keeper_command_init(keeper);
    keeper_prune_init(keeper);
    return keeper;
}

/* ---- Checkpoints ---- */

/* On the writer's thread, while this one waits to hear of it. */
static char *on_sign(const char *node, int64_t size, const uint8_t *root, void *arg)
{
    struct keeper *keeper = arg;
    CLEANUP(cleanup_free) char *origin = origin_of(node);
    struct checkpoint checkpoint = {.size = (uint64_t)size};
    enum err err;

    (void)snprintf(checkpoint.origin, sizeof(checkpoint.origin), "%s", origin);
    memcpy(checkpoint.root, root, sizeof(checkpoint.root));
    free(keeper->new_note);
    err = note_sign_checkpoint(&checkpoint, keeper->settings->audit_key, &keeper->new_note, NULL,
                               NULL);
    assert(err == OK); /* the configuration allows no node that is no key's name */
    keeper->new_size = size;
    return xstrdup(keeper->new_note);
}

void keeper_end(struct keeper *keeper)
{
    if (keeper->stopping && !keeper->signing && keeper->command == 0) {
        (void)event_base_loopbreak(keeper->base);
    }
}

static void sign(struct keeper *keeper);
static void take_wanted(struct keeper *keeper);

static void on_signed(enum err result, void *arg)
{
    struct keeper *keeper = arg;

    keeper->signing = false;
    if (result != OK) {
        if (!keeper->failed) {
            log_error("a checkpoint of the audit log could not be stored", "");
        }
        keeper->failed = true;
        take_wanted(keeper);
        keeper_end(keeper);
        return;
    }
    if (keeper->failed) {
        log_info("checkpoints of the audit log are stored again", "");
    }
    keeper->failed = false;
    keeper->signed_size = keeper->new_size;
    free(keeper->note);
    keeper->note = TAKE(keeper->new_note);
    if (keeper->config->audit.checkpoint_file != NULL) {
        char *before = keeper->unwritten;
        keeper->unwritten = xasprintf("%s%s\n", before != NULL ? before : "", keeper->note);
        free(before);
        keeper_write_file(keeper);
    }
    keeper_command_start(keeper);
    if (keeper->stopping && !keeper->last) {
        sign(keeper); /* what was recorded since */
    }
    take_wanted(keeper);
    keeper_end(keeper);
}

static void sign(struct keeper *keeper)
{
    struct store_write *write;

    if (keeper->settings->audit_key == NULL || keeper->signing) {
        return;
    }
    write = store_write_new();
    store_write_add_checkpoint(write, on_sign, keeper);
    keeper->last = keeper->stopping;
    keeper->signing = true;
    if (store_submit(keeper->store, write, keeper->mailbox, on_signed, keeper) != OK) {
        store_write_free(write);
        keeper->signing = false;
    }
}

static void on_checkpoint_timer(evutil_socket_t fd, short what, void *arg)
{
    struct keeper *keeper = arg;

    (void)fd;
    (void)what;
    if (keeper->stopping && clock_boot_ms() > keeper->give_up_ms) {
        if (keeper->signing) {
            log_warning("the last checkpoint could not be stored in time", "");
        }
        (void)event_base_loopbreak(keeper->base);
        return;
    }
    if (keeper->unwritten != NULL) {
        keeper_write_file(keeper);
    }
    if (store_audit_size(keeper->store) > keeper->signed_size) {
        sign(keeper);
    }
}

/* ---- Other settings ---- */

static void warn_unsigned(const struct keeper *keeper)
{
    if (keeper->settings->audit_key == NULL) {
        log_warning("the audit log is not signed: set audit.signing_key_file", "");
    }
}

static bool same_key(const struct signing_key *a, const struct signing_key *b)
{
    uint8_t one[PUBLIC_KEY_BYTES];
    uint8_t other[PUBLIC_KEY_BYTES];

    if (a == NULL || b == NULL) {
        return a == b;
    }
    signing_key_public(a, one);
    signing_key_public(b, other);
    return memcmp(one, other, sizeof(one)) == 0;
}

/* The key must not change while the writer's thread signs with it. */
static void take_wanted(struct keeper *keeper)
{
    const struct settings *before = keeper->settings;
    struct timeval interval;
    bool same;

    if (keeper->wanted == NULL || keeper->signing || keeper->stopping) {
        return;
    }
    keeper->settings = TAKE(keeper->wanted);
    keeper->config = keeper->settings->config;
    same = same_key(before->audit_key, keeper->settings->audit_key);
    settings_unref(before);
    if (keeper->config->audit.checkpoint_file == NULL) {
        free(TAKE(keeper->unwritten));
    }
    interval = (struct timeval){.tv_sec = keeper->config->audit.checkpoint_interval_s};
    (void)event_add(keeper->checkpoint_timer, &interval);
    keeper_prune_look(keeper);
    if (!same) {
        warn_unsigned(keeper);
        sign(keeper);
    }
}

struct change {
    struct mail mail;
    const struct settings *settings;
};

static void on_change(struct mail *mail, void *receiver)
{
    struct change *change = (struct change *)mail;
    struct keeper *keeper = receiver;

    settings_unref(keeper->wanted);
    keeper->wanted = change->settings;
    free(change);
    take_wanted(keeper);
}

void keeper_configure(struct keeper *keeper, const struct settings *settings)
{
    struct change *change = xcalloc(1, sizeof(*change));

    change->mail.deliver = on_change;
    change->settings = settings_ref(settings);
    mailbox_answer(keeper->mailbox, &change->mail);
}

/* ---- The thread ---- */

static void *run(void *arg)
{
    struct keeper *keeper = arg;

    (void)pthread_setname_np(pthread_self(), "keeper");
    sign(keeper);
    (void)event_base_dispatch(keeper->base);
    return NULL;
}

enum err keeper_start(struct keeper *keeper, struct store *store, struct error *error)
{
    const struct timeval interval = {.tv_sec = keeper->config->audit.checkpoint_interval_s};
    int failed;

    keeper->store = store;
    warn_unsigned(keeper);
    (void)event_add(keeper->checkpoint_timer, &interval);
    failed = pthread_create(&keeper->thread, NULL, run, keeper);
    if (failed != 0) {
        return error_set(error, ERR_UNAVAILABLE, "cannot start a thread: %s", strerror(failed));
    }
    keeper->started = true;
    return OK;
}

static void on_stop(struct mail *mail, void *receiver)
{
    static const struct timeval soon = {.tv_usec = 200000};
    struct keeper *keeper = receiver;

    (void)mail;
    keeper->stopping = true;
    keeper->give_up_ms = clock_boot_ms() + STOP_WAIT_MS;
    (void)event_add(keeper->checkpoint_timer, &soon);
    /* Whatever was given to the store before is in it; node.stopped is, so there is news. */
    sign(keeper);
    keeper_end(keeper);
}

void keeper_stop(struct keeper *keeper)
{
    if (keeper != NULL && keeper->started) {
        keeper->stop.deliver = on_stop;
        mailbox_answer(keeper->mailbox, &keeper->stop);
        (void)pthread_join(keeper->thread, NULL);
        keeper->started = false;
    }
}

void keeper_free(struct keeper *keeper)
{
    if (keeper == NULL) {
        return;
    }
    mailbox_free(keeper->mailbox);
    keeper_command_done(keeper);
    keeper_prune_done(keeper);
    event_free(keeper->checkpoint_timer);
    event_base_free(keeper->base);
    settings_unref(keeper->wanted);
    settings_unref(keeper->settings);
    free(keeper->note);
    free(keeper->new_note);
    free(keeper->unwritten);
    free(keeper);
}
