/* Tests of the heap: random operations against a plain search. */
#include "policy/heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

#define ITEMS 200

struct item {
    unsigned value;
    unsigned number; /* equal values: by number */
    size_t place;
    size_t other_place;
};

static bool less(const void *a, const void *b)
{
    const struct item *one = a;
    const struct item *other = b;

    return one->value != other->value ? one->value < other->value : one->number < other->number;
}

static bool more(const void *a, const void *b)
{
    return less(b, a);
}

static uint64_t draw(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

static const struct item *first_of(const struct item *items, heap_before before)
{
    const struct item *first = NULL;

    for (size_t i = 0; i < ITEMS; i++) {
        if (items[i].place != 0 && (first == NULL || before(&items[i], first))) {
            first = &items[i];
        }
    }
    return first;
}

static void test_an_empty_heap_has_no_first(void **state)
{
    struct heap heap;

    (void)state;
    heap_init(&heap, less, offsetof(struct item, place));
    assert_null(heap_first(&heap));
    heap_done(&heap);
}

static void test_items_in_two_heaps(void **state)
{
    static struct item items[ITEMS];
    struct heap least;
    struct heap most;
    uint64_t random = 1;

    (void)state;
    heap_init(&least, less, offsetof(struct item, place));
    heap_init(&most, more, offsetof(struct item, other_place));
    for (unsigned step = 0; step < 20000; step++) {
        struct item *item = &items[draw(&random) % ITEMS];
        if (item->place == 0) {
            item->value = (unsigned)draw(&random) % 50;
            item->number = step;
            heap_add(&least, item);
            heap_add(&most, item);
        } else {
            heap_remove(&least, item);
            heap_remove(&most, item);
            assert_int_equal(item->place, 0);
            assert_int_equal(item->other_place, 0);
        }
        assert_ptr_equal(heap_first(&least), first_of(items, less));
        assert_ptr_equal(heap_first(&most), first_of(items, more));
    }
    heap_done(&least);
    heap_done(&most);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_empty_heap_has_no_first),
        cmocka_unit_test(test_items_in_two_heaps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
