/* Mailbox: see mailbox.h. A mutex-protected list and an eventfd; the fd is written only when the
 * list was empty, so a burst costs one wake-up. */
#include "common/mailbox.h"

#include <assert.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct mailbox {
    pthread_mutex_t lock;
    struct mail *first; /* under lock, as are last and waiting */
    struct mail **last;
    size_t waiting;
    size_t limit;
    int fd;
    struct event *wake;
    mailbox_cb on_mail;
    void *receiver;
};

static void deliver_each(struct mail *list, void *receiver)
{
    while (list != NULL) {
        struct mail *mail = list;
        list = mail->next;
        mail->next = NULL;
        mail->deliver(mail, receiver);
    }
}

static struct mail *take_all(struct mailbox *mailbox)
{
    struct mail *list;

    (void)pthread_mutex_lock(&mailbox->lock);
    list = mailbox->first;
    mailbox->first = NULL;
    mailbox->last = &mailbox->first;
    mailbox->waiting = 0;
    (void)pthread_mutex_unlock(&mailbox->lock);
    return list;
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    struct mailbox *mailbox = arg;
    uint64_t count;
    struct mail *list;
    ssize_t got = read(fd, &count, sizeof(count));

    (void)got;
    (void)what;
    list = take_all(mailbox);
    if (list != NULL) {
        mailbox->on_mail(list, mailbox->receiver);
    }
}

struct mailbox *mailbox_new(struct event_base *base, size_t limit, mailbox_cb on_mail,
                            void *receiver)
{
    struct mailbox *mailbox = xcalloc(1, sizeof(*mailbox));

    (void)pthread_mutex_init(&mailbox->lock, NULL);
    mailbox->last = &mailbox->first;
    mailbox->limit = limit;
    mailbox->on_mail = on_mail != NULL ? on_mail : deliver_each;
    mailbox->receiver = receiver;
    mailbox->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert(mailbox->fd >= 0);
    mailbox->wake = event_new(base, mailbox->fd, EV_READ | EV_PERSIST, on_wake, mailbox);
    assert(mailbox->wake != NULL);
    (void)event_add(mailbox->wake, NULL);
    return mailbox;
}

bool mailbox_flush(struct mailbox *mailbox)
{
    struct mail *list;
    bool some = false;

    while ((list = take_all(mailbox)) != NULL) {
        mailbox->on_mail(list, mailbox->receiver);
        some = true;
    }
    return some;
}

void mailbox_free(struct mailbox *mailbox)
{
    if (mailbox == NULL) {
        return;
    }
    (void)mailbox_flush(mailbox);
    event_free(mailbox->wake);
    (void)close(mailbox->fd);
    (void)pthread_mutex_destroy(&mailbox->lock);
    free(mailbox);
}

static bool post(struct mailbox *mailbox, struct mail *mail, size_t limit)
{
    bool first;
    uint64_t one = 1;

    (void)pthread_mutex_lock(&mailbox->lock);
    if (mailbox->waiting >= limit) {
        (void)pthread_mutex_unlock(&mailbox->lock);
        return false;
    }
    first = mailbox->first == NULL;
    mail->next = NULL;
    *mailbox->last = mail;
    mailbox->last = &mail->next;
    mailbox->waiting++;
    if (first) {
        /* Written under the lock: the receiver cannot be freed between the two. */
        ssize_t put = write(mailbox->fd, &one, sizeof(one));
        assert(put == (ssize_t)sizeof(one));
    }
    (void)pthread_mutex_unlock(&mailbox->lock);
    return true;
}

enum err mailbox_post(struct mailbox *mailbox, struct mail *mail)
{
    return post(mailbox, mail, mailbox->limit) ? OK : ERR_FULL;
}

void mailbox_answer(struct mailbox *mailbox, struct mail *mail)
{
    (void)post(mailbox, mail, SIZE_MAX);
}
