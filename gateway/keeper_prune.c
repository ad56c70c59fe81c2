/* Keeper: drops records of the audit log that are older than retain_days, a few blocks at a time,
 * and only behind a checkpoint that is stored: what is dropped stays proven to have been there. */
#include "gateway/keeper_priv.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/record.h"
#include "store/audit.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define DAY_MS     ((int64_t)24 * 3600 * 1000)
#define LOOK_S     600 /* how often to look for old records */
#define STEP_MS    50  /* between two steps, so that others get at the store */
#define STEP_SIZE  ((int64_t)4 * STORE_BLOCK_RECORDS)
#define FIRST_WAIT 1 /* s after the start, or a change of the configuration */

static void look_in(struct keeper *keeper, int64_t ms)
{
    struct timeval delay = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

    (void)evtimer_add(keeper->prune_timer, &delay);
}

static void on_pruned(enum err result, void *arg)
{
    struct keeper *keeper = arg;

    keeper->pruning = false;
    if (result != OK) {
        log_warning("old records of the audit log could not be dropped", "");
    }
    look_in(keeper, result == OK ? STEP_MS : (int64_t)LOOK_S * 1000);
}

struct age {
    bool known;
    int64_t time_ms;
};

static bool on_record(const struct store_record *stored, void *arg)
{
    struct age *age = arg;
    struct record record;
    char text[CLOCK_TEXT_SIZE];

    if (record_read(stored->bytes, stored->len, &record) == OK && record.time.len < sizeof(text)) {
        memcpy(text, record.time.at, record.time.len);
        text[record.time.len] = '\0';
        age->known = clock_parse(text, &age->time_ms) == OK;
    }
    return false;
}

/* The first record that some stream has not sent yet. */
static enum err unsent_seq(const struct keeper *keeper, struct store_audit *audit, int64_t *ret_seq)
{
    const struct option_list *streams = &keeper->config->audit.streams;
    enum err err = OK;

    *ret_seq = INT64_MAX;
    for (size_t i = 0; err == OK && i < streams->count; i++) {
        int64_t seq = 0;
        err = store_audit_stream(audit, config_stream(keeper->config, i)->name,
                                 keeper->config->node, &seq, NULL);
        *ret_seq = seq < *ret_seq ? seq : *ret_seq;
    }
    return err;
}

/* How far the log can be pruned by one step: the size, or 0 when nothing is old enough, or a stream
 * has not sent it yet. */
static int64_t next_size(struct keeper *keeper, struct store_audit *audit)
{
    const char *node = keeper->config->node;
    int64_t before = clock_wall_ms() - keeper->config->audit.retain_days * DAY_MS;
    CLEANUP(cleanup_free) char *note = NULL;
    int64_t pruned = 0;
    int64_t unsent = 0;
    struct age age = {0};

    if (store_audit_pruned(audit, node, &pruned, &note, NULL) != OK ||
        unsent_seq(keeper, audit, &unsent) != OK || pruned + STEP_SIZE > unsent ||
        pruned + STEP_SIZE > keeper->signed_size ||
        store_audit_each_record(audit, node, pruned + STEP_SIZE - 1, pruned + STEP_SIZE, on_record,
                                &age, NULL) != OK) {
        return 0;
    }
    return age.known && age.time_ms < before ? pruned + STEP_SIZE : 0;
}

static bool step(struct keeper *keeper)
{
    struct store_audit *audit;
    struct store_write *write;
    int64_t size;

    if (store_audit_open(keeper->config->store, &audit, NULL) != OK) {
        return false;
    }
    size = next_size(keeper, audit);
    store_audit_close(audit);
    if (size == 0) {
        return false;
    }
    write = store_write_new();
    store_write_prune(write, size, keeper->note);
    keeper->pruning = store_submit(keeper->store, write, keeper->mailbox, on_pruned, keeper) == OK;
    if (!keeper->pruning) {
        store_write_free(write);
    }
    return keeper->pruning;
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
    struct keeper *keeper = arg;

    (void)fd;
    (void)what;
    if (keeper->stopping || keeper->pruning || keeper->config->audit.retain_days == 0) {
        return;
    }
    if (keeper->signed_size < 0 || !step(keeper)) {
        look_in(keeper, (int64_t)LOOK_S * 1000);
    }
}

void keeper_prune_init(struct keeper *keeper)
{
    keeper->prune_timer = evtimer_new(keeper->base, on_look, keeper);
    assert(keeper->prune_timer != NULL);
    keeper_prune_look(keeper);
}

void keeper_prune_look(struct keeper *keeper)
{
    if (keeper->config->audit.retain_days > 0) {
        look_in(keeper, (int64_t)FIRST_WAIT * 1000);
    }
}

void keeper_prune_done(struct keeper *keeper)
{
    event_free(keeper->prune_timer);
}
