/* Tests of the ledger: what has arrived, as far as bytes can tell. */
#include "gateway/stream_ledger.h"

#include "common/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

static void test_nothing_has_arrived_at_first(void **state)
{
    struct stream_ledger ledger = {0};

    (void)state;
    stream_ledger_begin(&ledger, 7, 100);
    stream_ledger_update(&ledger, 0, 0, 0);
    assert_int_equal(stream_ledger_arrived(&ledger), 7);
    assert_int_equal(stream_ledger_safe(&ledger), 7);
    stream_ledger_done(&ledger);
}

static void test_messages_arrive_whole(void **state)
{
    struct stream_ledger ledger = {0};

    (void)state;
    stream_ledger_begin(&ledger, 0, 0);
    stream_ledger_add(&ledger, 1, 100);
    stream_ledger_add(&ledger, 2, 100);
    stream_ledger_update(&ledger, 101, 99, 0); /* all but a byte of the first */
    assert_int_equal(stream_ledger_arrived(&ledger), 0);
    stream_ledger_update(&ledger, 100, 100, 1); /* the other side's system lacks a byte */
    assert_int_equal(stream_ledger_arrived(&ledger), 0);
    stream_ledger_update(&ledger, 100, 100, 0);
    assert_int_equal(stream_ledger_arrived(&ledger), 1);
    stream_ledger_update(&ledger, 0, 200, 100);
    assert_int_equal(stream_ledger_arrived(&ledger), 1);
    stream_ledger_update(&ledger, 0, 200, 0);
    assert_int_equal(stream_ledger_arrived(&ledger), 2);
    stream_ledger_done(&ledger);
}

/* Encrypted, there are more bytes; those of a handshake are not of a message. */
static void test_bytes_on_the_wire_differ(void **state)
{
    struct stream_ledger ledger = {0};

    (void)state;
    stream_ledger_begin(&ledger, 0, 0);
    stream_ledger_update(&ledger, 0, 900, 0);
    assert_int_equal(stream_ledger_arrived(&ledger), 0);
    stream_ledger_add(&ledger, 1, 100);
    stream_ledger_update(&ledger, 0, 1029, 129);
    assert_int_equal(stream_ledger_arrived(&ledger), 0);
    stream_ledger_update(&ledger, 0, 1029, 0);
    assert_int_equal(stream_ledger_arrived(&ledger), 1);
    stream_ledger_done(&ledger);
}

static void test_the_margin_is_not_safe(void **state)
{
    struct stream_ledger ledger = {0};

    (void)state;
    stream_ledger_begin(&ledger, 5, 250);
    for (int64_t seq = 6; seq <= 10; seq++) {
        stream_ledger_add(&ledger, seq, 100);
        stream_ledger_update(&ledger, 0, (uint64_t)(seq - 5) * 100, 0);
    }
    assert_int_equal(stream_ledger_arrived(&ledger), 10);
    assert_int_equal(stream_ledger_safe(&ledger), 7); /* 200 of 500 bytes, and 250 may be unread */
    stream_ledger_confirm(&ledger);
    assert_int_equal(stream_ledger_safe(&ledger), 10);
    stream_ledger_add(&ledger, 11, 100);
    stream_ledger_update(&ledger, 0, 600, 0);
    assert_int_equal(stream_ledger_safe(&ledger), 10);
    stream_ledger_begin(&ledger, 3, 250);
    assert_int_equal(stream_ledger_safe(&ledger), 3);
    stream_ledger_done(&ledger);
}

/* Against a plain model: a pipe that takes bytes as it likes. */
static void test_random_pipes(void **state)
{
    (void)state;
    srand(7);
    for (int round = 0; round < 200; round++) {
        const uint64_t margin = (uint64_t)rand() % 2000;
        struct stream_ledger ledger = {0};
        uint64_t ends[2001];
        uint64_t added = 0;
        uint64_t written = 0;
        uint64_t got = 0;
        int64_t count = 0;

        stream_ledger_begin(&ledger, 0, margin);
        while (count < 2000) {
            for (int k = rand() % 5; k > 0 && count < 2000; k--) {
                size_t bytes = 1 + (size_t)rand() % 300;
                ends[count++] = added += bytes;
                stream_ledger_add(&ledger, count, bytes);
            }
            written += (uint64_t)rand() % (added - written + 1);
            got += (uint64_t)rand() % (written - got + 1);
            stream_ledger_update(&ledger, (size_t)(added - written), written, written - got);
            int64_t arrived = stream_ledger_arrived(&ledger);
            int64_t safe = stream_ledger_safe(&ledger);
            assert_true(arrived == 0 || ends[arrived - 1] <= got);
            assert_true(safe == 0 || ends[safe - 1] + margin <= got);
            assert_true(safe <= arrived);
        }
        stream_ledger_update(&ledger, 0, added, 0);
        assert_int_equal(stream_ledger_arrived(&ledger), count);
        stream_ledger_done(&ledger);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_has_arrived_at_first),
        cmocka_unit_test(test_messages_arrive_whole),
        cmocka_unit_test(test_bytes_on_the_wire_differ),
        cmocka_unit_test(test_the_margin_is_not_safe),
        cmocka_unit_test(test_random_pipes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
