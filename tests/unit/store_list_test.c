/* Store: lists of actions, on every backend. */
#include "common/mailbox.h"
#include "common/memory.h"
#include "store_fixture.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct listing {
    int calls;
    enum err result;
    int64_t next;
    int count;
    int numbers[STORE_LIST_MAX]; /* of the ids, act_N */
};

static void on_list(enum err result, const struct store_action *actions, size_t count, int64_t next,
                    void *arg)
{
    struct listing *listing = arg;

    listing->calls++;
    listing->result = result;
    listing->next = next;
    listing->count = (int)count;
    assert_in_range(count, 0, STORE_LIST_MAX);
    for (size_t i = 0; i < count; i++) {
        struct store_action wanted = sample_action(actions[i].id);
        wanted.team = actions[i].team;
        wanted.state = actions[i].state;
        wanted.call_id = actions[i].call_id;
        wanted.request = actions[i].request;
        same_action(&actions[i], &wanted);
        listing->numbers[i] = (int)strtol(actions[i].id + strlen("act_"), NULL, 10);
    }
}

static void list(struct fixture *fixture, const struct store_action_query *query,
                 struct listing *ret_listing)
{
    *ret_listing = (struct listing){0};
    assert_int_equal(
        store_list_actions(fixture->store, query, fixture->replies, on_list, ret_listing), OK);
    assert_int_equal(ret_listing->calls, 0);
    wait_for_call(fixture, &ret_listing->calls);
    assert_int_equal(ret_listing->result, OK);
}

static void add_numbered(struct store_write *write, int number, const char *team, const char *in)
{
    char id[32];
    struct store_action action = sample_action(id);

    (void)snprintf(id, sizeof(id), "act_%d", number);
    action.team = team;
    action.state = in;
    store_write_add_action(write, &action);
}

/* Actions first to end - 1: every third of "red" else "blue", every other "queued" else "waiting".
 */
static void add_many(struct fixture *fixture, int first, int end)
{
    struct store_write *write = store_write_new();

    for (int i = first; i < end; i++) {
        add_numbered(write, i, i % 3 == 0 ? "red" : "blue", i % 2 == 0 ? "queued" : "waiting");
    }
    assert_int_equal(do_write(fixture, write), OK);
}

static bool is_wanted(const struct store_action_query *query, int number)
{
    const char *team = number % 3 == 0 ? "red" : "blue";
    const char *in = number % 2 == 0 ? "queued" : "waiting";

    return (query->team == NULL || strcmp(query->team, team) == 0) &&
           (query->state == NULL || strcmp(query->state, in) == 0);
}

/* Goes through all pages, from those of end - 1 down to 0. */
static void assert_pages(struct fixture *fixture, struct store_action_query query, int end)
{
    struct listing listing;
    int number = end;

    do {
        list(fixture, &query, &listing);
        assert_true(listing.count == query.limit || listing.next == 0);
        for (int i = 0; i < listing.count; i++) {
            do {
                number--;
            } while (number >= 0 && !is_wanted(&query, number));
            assert_int_equal(listing.numbers[i], number);
        }
        query.before = listing.next;
    } while (listing.next != 0);
    do {
        number--;
    } while (number >= 0 && !is_wanted(&query, number));
    assert_true(number < 0);
}

static void test_lists(void **state)
{
    static const char *const teams[] = {NULL, "red", "blue"};
    static const char *const states[] = {NULL, "queued", "waiting"};
    static const int limits[] = {1, 7, 10, 60, STORE_LIST_MAX};
    struct fixture *fixture = *state;
    struct store_action_query nobody = {.team = "green", .limit = 10};
    struct listing listing;

    list(fixture, &nobody, &listing);
    assert_int_equal(listing.count, 0);
    assert_int_equal(listing.next, 0);
    add_many(fixture, 0, 60);
    for (size_t t = 0; t < ARRAY_LEN(teams); t++) {
        for (size_t s = 0; s < ARRAY_LEN(states); s++) {
            for (size_t l = 0; l < ARRAY_LEN(limits); l++) {
                struct store_action_query query = {teams[t], states[s], limits[l], 0};
                assert_pages(fixture, query, 60);
            }
        }
    }
    list(fixture, &nobody, &listing);
    assert_int_equal(listing.count, 0);
    assert_int_equal(listing.next, 0);
}

/* Every action that was there at the first page comes once, though others come in and move. */
static void test_list_while_written(void **state)
{
    struct fixture *fixture = *state;
    struct store_action_query query = {.team = "red", .limit = 10};
    struct store_action_query all = {.limit = STORE_LIST_MAX};
    struct outcome outcomes[32];
    struct listing listing;
    int number = 300;
    int pages = 0;

    add_many(fixture, 0, 300);
    do {
        /* Not waited for: it may be committed before, during or after the page's read. */
        struct store_write *write = store_write_new();
        char id[32];
        add_numbered(write, 300 + pages, "red", "queued");
        (void)snprintf(id, sizeof(id), "act_%d", pages * 29);
        store_write_set_state(write, id, "moved", NULL);
        submit(fixture, write, &outcomes[pages]);
        list(fixture, &query, &listing);
        for (int i = 0; i < listing.count; i++) {
            if (listing.numbers[i] < 300) {
                number -= 3;
                assert_int_equal(listing.numbers[i], number);
            } else {
                assert_int_equal(pages, 0);
            }
        }
        query.before = listing.next;
        pages++;
    } while (listing.next != 0);
    assert_int_equal(number, 0);
    assert_in_range(pages, 10, 11);
    for (int i = 0; i < pages; i++) {
        wait_for(fixture, &outcomes[i]);
        assert_int_equal(outcomes[i].result, OK);
    }
    list(fixture, &all, &listing);
    assert_int_equal(listing.count, 300 + pages);
    for (int i = 0; i < listing.count; i++) {
        assert_int_equal(listing.numbers[i], listing.count - 1 - i);
    }
}

/* An action that moves is listed in its new state, and only there. */
static void test_list_follows_states(void **state)
{
    struct fixture *fixture = *state;
    struct store_action_query queued = {.team = "red", .state = "queued", .limit = 10};
    struct store_action_query moved = {.state = "moved", .limit = 10};
    struct listing listing;

    add_many(fixture, 0, 12);
    assert_int_equal(do_write(fixture, change_write("act_6", "moved", 0)), OK);
    list(fixture, &queued, &listing);
    assert_int_equal(listing.count, 1);
    assert_int_equal(listing.numbers[0], 0);
    list(fixture, &moved, &listing);
    assert_int_equal(listing.count, 1);
    assert_int_equal(listing.numbers[0], 6);
}

/* A page is bounded in bytes too; but it always gets on. */
static void test_list_of_large_actions(void **state)
{
    enum { LARGE = 8, LARGE_BYTES = 3 << 19 };
    struct fixture *fixture = *state;
    struct store_action_query query = {.limit = STORE_LIST_MAX};
    char *request = xcalloc(1, LARGE_BYTES + 1);
    struct listing listing;

    memset(request, 'x', LARGE_BYTES);
    for (int i = 0; i < LARGE; i++) {
        struct store_write *write = store_write_new();
        char id[32];
        struct store_action action = sample_action(id);
        (void)snprintf(id, sizeof(id), "act_%d", i);
        action.request = request;
        store_write_add_action(write, &action);
        assert_int_equal(do_write(fixture, write), OK);
    }
    free(request);
    for (int i = LARGE - 1; i >= 0; i--) {
        list(fixture, &query, &listing);
        assert_int_equal(listing.count, 1);
        assert_int_equal(listing.numbers[0], i);
        assert_int_equal(listing.next != 0, i > 0);
        query.before = listing.next;
    }
}

static void test_errors_of_lists(void **state)
{
    static const struct store_action_query queries[] = {
        {.limit = 0},
        {.limit = -1},
        {.limit = STORE_LIST_MAX + 1},
        {.limit = 1, .before = -1},
    };
    struct fixture *fixture = *state;
    struct store_action_query last = {.limit = 1, .before = 1};
    struct listing listing = {0};

    add_many(fixture, 0, 2);
    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        assert_int_equal(
            store_list_actions(fixture->store, &queries[i], fixture->replies, on_list, &listing),
            ERR_INVALID);
    }
    /* A cursor that nobody was given is a place like any other. */
    list(fixture, &last, &listing);
    assert_int_equal(listing.calls, 1);
    assert_int_equal(listing.count, 0);
    last.before = INT64_MAX;
    list(fixture, &last, &listing);
    assert_int_equal(listing.numbers[0], 1);
}

static void test_close_answers_lists(void **state)
{
    struct fixture *fixture = *state;
    struct store_action_query query = {.limit = STORE_LIST_MAX};
    struct listing *listings = xcalloc(100, sizeof(*listings));

    add_many(fixture, 0, 100);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(
            store_list_actions(fixture->store, &query, fixture->replies, on_list, &listings[i]),
            OK);
    }
    close_store(fixture);
    mailbox_free(fixture->replies);
    fixture->replies = NULL;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(listings[i].calls, 1);
        assert_int_equal(listings[i].count, 100);
    }
    free(listings);
}

int main(void)
{
    static const struct CMUnitTest suite[] = {
        TEST(test_lists),
        TEST(test_list_while_written),
        TEST(test_list_follows_states),
        TEST(test_list_of_large_actions),
        TEST(test_errors_of_lists),
        TEST(test_close_answers_lists),
    };
    int failed = 0;

    for (size_t i = 0; i < backend_count; i++) {
        backend = &backends[i];
        failed += cmocka_run_group_tests_name(backend->name, suite, NULL, NULL);
    }
    return failed;
}
