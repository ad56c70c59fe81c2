/* How old an earlier process's grants and pauses are: a wrong age only ever makes a slot come free,
 * or a pause end, too late (docs/decisions/0002). */
#include "gateway/restore.h"

#include "common/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

#define BOOT_MS       5000000 /* now */
#define WALL_MS       INT64_C(1795341600000)
#define UNANSWERED_MS 35000

/* Of a call that was taken, and counted so long after, at some ages by the two clocks. */
static struct store_grant grant_of(bool this_boot, int64_t boot_ms, int64_t wall_age_ms,
                                   int64_t after_ms)
{
    return (struct store_grant){
        .boot_id = this_boot ? clock_boot_id() : "another boot",
        .taken_boot_ms = boot_ms,
        .taken_wall_ms = WALL_MS - wall_age_ms,
        .answered_boot_ms = after_ms < 0 ? -1 : boot_ms + after_ms,
        .answered_wall_ms = after_ms < 0 ? -1 : WALL_MS - wall_age_ms + after_ms,
    };
}

static void assert_counted(struct store_grant grant, int64_t wanted_ms, int64_t wanted_taken_ms)
{
    int64_t taken_ms = 0;

    assert_int_equal(restore_counted_ms(&grant, UNANSWERED_MS, BOOT_MS, WALL_MS, &taken_ms),
                     wanted_ms);
    assert_int_equal(taken_ms, wanted_taken_ms);
}

/* The wall clock is not even looked at. */
static void test_the_same_boot(void **state)
{
    static const int64_t wall_ages_ms[] = {-3600000, 0, 1000, 3600000};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wall_ages_ms); i++) {
        int64_t age_ms = wall_ages_ms[i];
        assert_counted(grant_of(true, 4990000, age_ms, 500), 4990500, 4990000);
        assert_counted(grant_of(true, 4990000, age_ms, -1), 4990000 + UNANSWERED_MS, 4990000);
        assert_counted(grant_of(true, 4990000, age_ms, 60000), 5050000, 4990000);
    }
}

/* By the wall clock, but no older than this boot. */
static void test_another_boot(void **state)
{
    (void)state;
    assert_counted(grant_of(false, 77, 20000, 500), BOOT_MS - 19500, BOOT_MS - 20000);
    assert_counted(grant_of(false, 77, 20000, -1), BOOT_MS - 20000 + UNANSWERED_MS,
                   BOOT_MS - 20000);
    assert_counted(grant_of(false, 77, 2 * BOOT_MS, 500), 500, 0);
    assert_counted(grant_of(false, 77, 2 * BOOT_MS, -1), UNANSWERED_MS, 0);
}

/* A pause goes on as long as it had to; whole, when the wall clock went back; and from this boot
 * on, when it says that all is long over. */
static void test_a_pause_after_another_boot(void **state)
{
    (void)state;
    assert_counted(grant_of(false, 77, 20000, 60000), BOOT_MS + 40000, BOOT_MS - 20000);
    assert_counted(grant_of(false, 77, -3600000, 60000), BOOT_MS + 60000, BOOT_MS);
    assert_counted(grant_of(false, 77, 2 * BOOT_MS, 60000), 60000, 0);
}

int main(void)
{
    static const struct CMUnitTest suite[] = {
        cmocka_unit_test(test_the_same_boot),
        cmocka_unit_test(test_another_boot),
        cmocka_unit_test(test_a_pause_after_another_boot),
    };

    return cmocka_run_group_tests(suite, NULL, NULL);
}
