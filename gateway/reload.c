/* Reload: see reload.h. */
#include "gateway/reload.h"

#include "common/json.h"
#include "common/log.h"
#include "common/mailbox.h"
#include "gateway/audit.h"
#include "gateway/metrics.h"
#include "gateway/worker.h"

#include <stdlib.h>

#define MAX_MAIL 1024

struct reload {
    struct reload_parts parts;
    const struct settings *settings; /* in force */
    const struct settings *next;     /* on their way; NULL: none are */
    struct reconfiguration change;
    size_t waiting; /* workers that have not taken them yet */
    bool again;     /* a SIGHUP came meanwhile */
    bool stopped;
    struct mailbox *mailbox;
};

struct reload *reload_new(struct event_base *base, const struct reload_parts *parts,
                          const struct settings *settings)
{
    struct reload *reload = xcalloc(1, sizeof(*reload));

    reload->parts = *parts;
    reload->settings = settings_ref(settings);
    reload->mailbox = mailbox_new(base, MAX_MAIL, NULL, reload);
    return reload;
}

const struct settings *reload_settings(const struct reload *reload)
{
    return reload->settings;
}

void reload_stop(struct reload *reload)
{
    reload->stopped = true;
}

void reload_free(struct reload *reload)
{
    if (reload == NULL) {
        return;
    }
    mailbox_free(reload->mailbox);
    problems_done(&reload->change.problems);
    settings_unref(reload->settings);
    settings_unref(reload->next);
    free(reload->change.record);
    free(reload);
}

/* ---- Rejecting ---- */

static void on_rejection_stored(enum err result, void *arg)
{
    (void)arg;
    if (result != OK) {
        metrics_add(METRIC_AUDIT_FAILURES, NULL, NULL, 1);
    }
}

static void record_rejection(struct reload *reload, json_t *detail)
{
    struct store_write *write = store_write_new();
    json_t *record = audit_begin("config.rejected", NULL);

    audit_add(record, "detail", detail);
    store_write_add_record(write, audit_end(record));
    metrics_add(METRIC_AUDIT_RECORDS, "config.rejected", NULL, 1);
    if (store_submit(reload->parts.gateway->store, write, reload->mailbox, on_rejection_stored,
                     reload) != OK) {
        store_write_free(write);
        on_rejection_stored(ERR_FULL, reload);
    }
}

/* Says all that is wrong: the problems; or where there are none, why the file cannot be read. */
static void reject(struct reload *reload, const struct problems *problems,
                   const struct error *error)
{
    for (size_t i = 0; i < problems->count; i++) {
        log_error("the configuration is wrong", "s:s, s:s", "pointer", problems->items[i].pointer,
                  "detail", problems->items[i].detail);
    }
    if (problems->count > 0) {
        record_rejection(reload, json_pack("{s:o}", "errors", problems_json(problems)));
    } else {
        log_error("the configuration is wrong", "s:s", "detail", error->text);
        record_rejection(reload, json_pack("{s:s}", "text", error->text));
    }
    log_error("the configuration was not reloaded: the one before stays in force", "");
    notify_ready(reload->parts.notifier, "serving; the last reload was rejected");
}

/* ---- The steps ---- */

static void start(struct reload *reload);

static void finish(struct reload *reload)
{
    if (reload->again && !reload->stopped) {
        reload->again = false;
        start(reload);
    }
}

/* The record is stored, and whoever works with clients or calls has them. */
static void on_resumed(struct mail *mail, void *receiver)
{
    struct reload *reload = receiver;
    const struct settings *before = reload->settings;

    (void)mail;
    reload->settings = TAKE(reload->next);
    settings_unref(before);
    if (reload->stopped) {
        return;
    }
    keeper_configure(reload->parts.keeper, reload->settings);
    refusals_configure(reload->parts.gateway->refusals, reload->settings->config);
    notify_ready(reload->parts.notifier, "serving");
    log_info("configuration reloaded", "s:s", "sha256", reload->settings->config->sha256);
    finish(reload);
}

static void on_worker_done(struct mail *mail, void *receiver)
{
    struct reload *reload = receiver;
    json_t *record;

    free(mail);
    if (--reload->waiting > 0 || reload->stopped) {
        return;
    }
    record = audit_begin("config.loaded", NULL);
    audit_add(record, "detail", settings_detail(reload->next));
    reload->change.record = audit_end(record);
    reload->change.on_done = on_resumed;
    metrics_add(METRIC_AUDIT_RECORDS, "config.loaded", NULL, 1);
    dispatcher_resume(reload->parts.gateway->dispatcher, &reload->change);
}

static void on_dispatcher_done(struct mail *mail, void *receiver)
{
    struct reload *reload = receiver;

    (void)mail;
    if (reload->stopped) {
        return;
    }
    if (reload->change.result != OK) {
        reject(reload, &reload->change.problems, NULL);
        problems_done(&reload->change.problems);
        settings_unref(TAKE(reload->next));
        finish(reload);
        return;
    }
    reload->waiting = reload->parts.worker_count;
    for (size_t i = 0; i < reload->parts.worker_count; i++) {
        worker_configure(reload->parts.workers[i], reload->next, reload->mailbox, on_worker_done);
    }
}

static void warn(const struct config *config)
{
    for (size_t i = 0; i < config->warnings.count; i++) {
        log_warning("the configuration may not be what is meant", "s:s, s:s", "pointer",
                    config->warnings.items[i].pointer, "detail", config->warnings.items[i].detail);
    }
}

/* Reads the file and makes everything of it that can be wrong. */
static enum err make_next(struct reload *reload, struct problems *problems, struct error *error)
{
    struct config *config = NULL;
    enum err err = config_load(reload->parts.path, &config, problems, error);

    if (err != OK) {
        return err;
    }
    config_check_change(reload->parts.started, config, problems);
    if (problems->count > 0) {
        config_free(config);
        return ERR_INVALID;
    }
    warn(config);
    return settings_new(config, reload->settings, &reload->next, problems);
}

static void start(struct reload *reload)
{
    struct problems problems = {0};
    struct error error = {0};

    notify_reloading(reload->parts.notifier);
    if (make_next(reload, &problems, &error) != OK) {
        reject(reload, &problems, &error);
    } else {
        reload->change = (struct reconfiguration){
            .settings = reload->next, .reply_to = reload->mailbox, .on_done = on_dispatcher_done};
        dispatcher_configure(reload->parts.gateway->dispatcher, &reload->change);
    }
    problems_done(&problems);
}

void reload_now(struct reload *reload)
{
    if (reload->stopped) {
        return;
    }
    if (reload->next != NULL) {
        reload->again = true;
    } else {
        start(reload);
    }
}
