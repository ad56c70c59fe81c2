/* Tests of lines: by example, and random operations against a list in order of arrival. */
#include "policy/lines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

#define CLAIMS  300
#define DEVICES 150 /* more than the first table has buckets */

static const char kinds[3];

static void on_clear(struct claim *claim, void *arg)
{
    size_t *count = arg;

    assert_true(claim->clear);
    (*count)++;
}

static struct claim claim_of(size_t kind)
{
    return (struct claim){.kind = &kinds[kind]};
}

static void test_equal_kinds_go_together(void **state)
{
    size_t cleared = 0;
    struct lines *lines = lines_new(on_clear, &cleared);
    struct claim a = claim_of(0);
    struct claim b = claim_of(0);

    (void)state;
    assert_true(lines_enter(lines, &a, 'i', "x"));
    assert_true(lines_enter(lines, &b, 'i', "x"));
    lines_leave(lines, &a);
    lines_leave(lines, &b);
    assert_int_equal(cleared, 0);
    lines_free(lines);
}

static void test_a_later_equal_does_not_overtake(void **state)
{
    size_t cleared = 0;
    struct lines *lines = lines_new(on_clear, &cleared);
    struct claim a = claim_of(0);
    struct claim b = claim_of(1);
    struct claim c = claim_of(0);
    struct claim d = claim_of(0);

    (void)state;
    assert_true(lines_enter(lines, &a, 'i', "x"));
    assert_false(lines_enter(lines, &b, 'i', "x"));
    assert_false(lines_enter(lines, &c, 'i', "x"));
    assert_true(lines_enter(lines, &d, 'm', "x")); /* another space */
    lines_leave(lines, &a);
    assert_true(b.clear);
    assert_false(c.clear);
    lines_leave(lines, &b);
    assert_true(c.clear);
    assert_int_equal(cleared, 2);
    lines_leave(lines, &c);
    lines_leave(lines, &d);
    lines_free(lines);
}

static void test_one_that_gives_up_in_between(void **state)
{
    size_t cleared = 0;
    struct lines *lines = lines_new(on_clear, &cleared);
    struct claim a = claim_of(0);
    struct claim b = claim_of(1);
    struct claim c = claim_of(0);

    (void)state;
    assert_true(lines_enter(lines, &a, 'i', "x"));
    assert_false(lines_enter(lines, &b, 'i', "x"));
    assert_false(lines_enter(lines, &c, 'i', "x"));
    lines_leave(lines, &b);
    assert_true(c.clear);
    assert_int_equal(cleared, 1);
    lines_leave(lines, &a);
    lines_leave(lines, &c);
    lines_free(lines);
}

/* ---- Random operations ---- */

struct model {
    struct claim claims[CLAIMS];
    size_t device[CLAIMS];
    uint64_t order[CLAIMS]; /* 0: not in a line */
};

static uint64_t draw(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

/* Clear: everybody before it in the line asks for the same. */
static bool should_be_clear(const struct model *model, size_t claim)
{
    for (size_t i = 0; i < CLAIMS; i++) {
        if (model->order[i] != 0 && model->order[i] < model->order[claim] &&
            model->device[i] == model->device[claim] &&
            model->claims[i].kind != model->claims[claim].kind) {
            return false;
        }
    }
    return true;
}

static void test_against_a_list(void **state)
{
    static struct model model;
    size_t cleared = 0;
    struct lines *lines = lines_new(on_clear, &cleared);
    uint64_t random = 7;

    (void)state;
    for (uint64_t step = 1; step <= 4000; step++) {
        size_t i = draw(&random) % CLAIMS;
        char name[32];
        if (model.order[i] == 0) {
            model.claims[i] = claim_of(draw(&random) % 3);
            /* some devices are asked for much, and most now and then */
            model.device[i] = draw(&random) % (draw(&random) % 2 == 0 ? 5 : DEVICES);
            model.order[i] = step;
            (void)snprintf(name, sizeof(name), "%zu", model.device[i]);
            assert_int_equal(lines_enter(lines, &model.claims[i], 'i', name),
                             should_be_clear(&model, i));
        } else {
            lines_leave(lines, &model.claims[i]);
            model.order[i] = 0;
        }
        for (size_t k = 0; k < CLAIMS; k++) {
            if (model.order[k] != 0) {
                assert_int_equal(model.claims[k].clear, should_be_clear(&model, k));
            }
        }
    }
    assert_true(cleared > 100);
    lines_free(lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_kinds_go_together),
        cmocka_unit_test(test_a_later_equal_does_not_overtake),
        cmocka_unit_test(test_one_that_gives_up_in_between),
        cmocka_unit_test(test_against_a_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
