/* Pulse: see pulse.h. A question that is under way is not asked again: who does not answer gets no
 * second one. Rounds are counted, not time: when all of the process, or the machine, was stopped
 * for a while, nobody hangs. */
#include "gateway/pulse.h"

#include "common/mailbox.h"
#include "store/store.h"

#include <assert.h>
#include <event2/event.h>
#include <stdatomic.h>
#include <stdlib.h>

#define ASK_TIMES 4 /* in an interval */
#define MAX_MAIL  64

struct watched {
    struct mail mail; /* the question; the first member */
    struct watched *next;
    const char *name;
    struct mailbox *mailbox; /* NULL: of the store */
    bool (*ask_store)(struct watched *watched);
    struct pulse *pulse;
    atomic_bool asked; /* and not answered yet */
    int missed;        /* rounds since the question */
};

struct pulse {
    struct event *timer;
    struct mailbox *mailbox; /* the store answers here */
    struct store *store;
    struct watched *watched;
    int64_t interval_ms;
    pulse_cb on_beat;
    void *arg;
};

/* ---- Answers ---- */

/* On the thread of who is asked. */
static void on_question(struct mail *mail, void *receiver)
{
    (void)receiver;
    ((struct watched *)mail)->asked = false;
}

static void on_written(enum err result, void *arg)
{
    (void)result;
    ((struct watched *)arg)->asked = false;
}

static void on_read(enum err result, const struct store_action *action, void *arg)
{
    (void)result;
    (void)action;
    ((struct watched *)arg)->asked = false;
}

/* ---- Questions ---- */

static bool ask_writer(struct watched *watched)
{
    struct store_write *write = store_write_new();
    struct pulse *pulse = watched->pulse;

    if (store_submit(pulse->store, write, pulse->mailbox, on_written, watched) == OK) {
        return true;
    }
    store_write_free(write);
    return false;
}

static bool ask_reader(struct watched *watched)
{
    struct pulse *pulse = watched->pulse;

    return store_read_action(pulse->store, "", pulse->mailbox, on_read, watched) == OK;
}

/* A store that takes no question has thousands waiting: it is asked again next time. */
static void ask(struct watched *watched)
{
    if (watched->asked) {
        watched->missed++;
        return;
    }
    watched->missed = 0;
    watched->asked = true;
    if (watched->mailbox == NULL) {
        watched->asked = watched->ask_store(watched);
        return;
    }
    watched->mail.deliver = on_question;
    mailbox_answer(watched->mailbox, &watched->mail);
}

const char *pulse_hangs(const struct pulse *pulse)
{
    for (const struct watched *at = pulse->watched; at != NULL; at = at->next) {
        if (at->missed >= ASK_TIMES && at->asked) {
            return at->name;
        }
    }
    return NULL;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct pulse *pulse = arg;

    (void)fd;
    (void)what;
    for (struct watched *at = pulse->watched; at != NULL; at = at->next) {
        ask(at);
    }
    pulse->on_beat(pulse_hangs(pulse), pulse->arg);
}

/* ---- Life ---- */

struct pulse *pulse_new(struct event_base *base, int64_t interval_ms, pulse_cb on_beat, void *arg)
{
    struct pulse *pulse = xcalloc(1, sizeof(*pulse));

    pulse->timer = event_new(base, -1, EV_PERSIST, on_timer, pulse);
    assert(pulse->timer != NULL);
    pulse->mailbox = mailbox_new(base, MAX_MAIL, NULL, pulse);
    pulse->interval_ms = interval_ms;
    pulse->on_beat = on_beat;
    pulse->arg = arg;
    return pulse;
}

static struct watched *watch(struct pulse *pulse, const char *name)
{
    struct watched *watched = xcalloc(1, sizeof(*watched));

    watched->name = name;
    watched->pulse = pulse;
    watched->next = pulse->watched;
    pulse->watched = watched;
    return watched;
}

void pulse_watch_mailbox(struct pulse *pulse, const char *name, struct mailbox *mailbox)
{
    watch(pulse, name)->mailbox = mailbox;
}

void pulse_watch_store(struct pulse *pulse, struct store *store)
{
    pulse->store = store;
    watch(pulse, "the store's writer")->ask_store = ask_writer;
    watch(pulse, "the store's reader")->ask_store = ask_reader;
}

void pulse_start(struct pulse *pulse)
{
    const int64_t ms = pulse->interval_ms / ASK_TIMES;
    const struct timeval interval = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

    on_timer(-1, 0, pulse);
    (void)event_add(pulse->timer, &interval);
}

void pulse_free(struct pulse *pulse)
{
    if (pulse == NULL) {
        return;
    }
    mailbox_free(pulse->mailbox);
    event_free(pulse->timer);
    while (pulse->watched != NULL) {
        struct watched *next = pulse->watched->next;
        free(pulse->watched);
        pulse->watched = next;
    }
    free(pulse);
}
