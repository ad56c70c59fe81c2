/* Tests of the mailbox: order, bound, answers that are never refused, several senders. */
#include "common/mailbox.h"

#include <event2/event.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

#define SENDERS 4
#define EACH    5000

struct number {
    struct mail mail;
    int sender;
    int value;
};

struct receiver {
    struct event_base *base;
    int next[SENDERS];
    int received;
    int expected;
};

static void on_number(struct mail *mail, void *arg)
{
    struct number *number = (struct number *)mail;
    struct receiver *receiver = arg;

    assert_int_equal(number->value, receiver->next[number->sender]);
    receiver->next[number->sender]++;
    if (++receiver->received == receiver->expected) {
        (void)event_base_loopbreak(receiver->base);
    }
    free(number);
}

static struct mail *new_number(int sender, int value)
{
    struct number *number = xcalloc(1, sizeof(*number));

    number->mail.deliver = on_number;
    number->sender = sender;
    number->value = value;
    return &number->mail;
}

static void test_bound_counts_requests_only(void **state)
{
    struct receiver receiver = {.base = event_base_new(), .expected = 3};
    struct mailbox *mailbox = mailbox_new(receiver.base, 2, NULL, &receiver);
    struct mail *third = new_number(0, 2);

    (void)state;
    assert_int_equal(mailbox_post(mailbox, new_number(0, 0)), OK);
    assert_int_equal(mailbox_post(mailbox, new_number(0, 1)), OK);
    assert_int_equal(mailbox_post(mailbox, third), ERR_FULL);
    mailbox_answer(mailbox, third);
    assert_int_equal(receiver.received, 0); /* only the loop delivers */
    (void)event_base_dispatch(receiver.base);
    assert_int_equal(receiver.received, 3);
    assert_int_equal(mailbox_post(mailbox, new_number(0, 3)), OK);
    mailbox_free(mailbox); /* delivers what still waits */
    assert_int_equal(receiver.received, 4);
    event_base_free(receiver.base);
}

struct sender {
    struct mailbox *mailbox;
    int index;
};

static void *send_all(void *arg)
{
    struct sender *sender = arg;

    for (int i = 0; i < EACH; i++) {
        struct mail *mail = new_number(sender->index, i);
        while (mailbox_post(sender->mailbox, mail) != OK) {
            (void)sched_yield();
        }
    }
    return NULL;
}

static void test_many_senders_keep_their_order(void **state)
{
    struct receiver receiver = {.base = event_base_new(), .expected = SENDERS * EACH};
    struct mailbox *mailbox = mailbox_new(receiver.base, 64, NULL, &receiver);
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];

    (void)state;
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.mailbox = mailbox, .index = i};
        assert_int_equal(pthread_create(&threads[i], NULL, send_all, &senders[i]), 0);
    }
    (void)event_base_dispatch(receiver.base);
    for (int i = 0; i < SENDERS; i++) {
        (void)pthread_join(threads[i], NULL);
        assert_int_equal(receiver.next[i], EACH);
    }
    mailbox_free(mailbox);
    event_base_free(receiver.base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bound_counts_requests_only),
        cmocka_unit_test(test_many_senders_keep_their_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
