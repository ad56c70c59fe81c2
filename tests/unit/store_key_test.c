/* Store: idempotency keys, on every backend. */
#include "common/mailbox.h"
#include "common/memory.h"
#include "store/store_priv.h"
#include "store_fixture.h"

#include <pthread.h>
#include <stdio.h>

/* The year 2100: the wall clock has not come to it, so that none of these keys is forgotten. */
#define NOW_MS 4102444800000
#define DAY_MS 86400000

static struct store_idempotency sample_key(const char *action_id)
{
    return (struct store_idempotency){
        .team = "helpdesk",
        .key = "8e03978e-40d5-43dd'",
        .body_sha256 = "e3b0c442",
        .action_id = action_id,
        .expires_ms = NOW_MS + DAY_MS,
        .now_ms = NOW_MS,
    };
}

/* What the gateway writes for a request: a record, an action and its key. */
static struct store_write *key_write(const struct store_idempotency *key, int number)
{
    struct store_write *write = record_write(number);
    struct store_action action = sample_action(key->action_id);

    store_write_add_action(write, &action);
    store_write_add_idempotency(write, key);
    return write;
}

struct found_key {
    int calls;
    enum err result;
    const struct store_idempotency *wanted; /* NULL: not compared */
    const struct store_action *action;
};

static void on_key(enum err result, const struct store_idempotency *key,
                   const struct store_action *action, void *arg)
{
    struct found_key *found = arg;

    found->calls++;
    found->result = result;
    assert_int_equal(key != NULL, result == OK);
    assert_int_equal(action != NULL, result == OK);
    if (key != NULL && found->wanted != NULL) {
        same_text(key->team, found->wanted->team);
        same_text(key->key, found->wanted->key);
        same_text(key->body_sha256, found->wanted->body_sha256);
        same_text(key->action_id, found->wanted->action_id);
        assert_int_equal(key->expires_ms, found->wanted->expires_ms);
        assert_int_equal(key->now_ms, found->wanted->now_ms);
        same_action(action, found->action);
    }
}

static enum err find_key(struct fixture *fixture, const char *team, const char *key, int64_t now_ms,
                         struct found_key found)
{
    assert_int_equal(
        store_read_idempotency(fixture->store, team, key, now_ms, fixture->replies, on_key, &found),
        OK);
    assert_int_equal(found.calls, 0);
    wait_for_call(fixture, &found.calls);
    return found.result;
}

/* Asserts that the key is there at its now_ms, with this action. */
static void assert_key(struct fixture *fixture, const struct store_idempotency *key,
                       const struct store_action *action)
{
    struct found_key found = {.wanted = key, .action = action};

    assert_int_equal(find_key(fixture, key->team, key->key, key->now_ms, found), OK);
}

static void test_key_round_trip(void **state)
{
    struct fixture *fixture = *state;
    struct store_idempotency key = sample_key("act_1");
    struct store_action action = sample_action("act_1");
    struct found_key any = {0};

    assert_int_equal(find_key(fixture, key.team, key.key, NOW_MS, any), ERR_NOT_FOUND);
    assert_int_equal(do_write(fixture, key_write(&key, 0)), OK);
    assert_key(fixture, &key, &action);
    assert_int_equal(find_key(fixture, "other", key.key, NOW_MS, any), ERR_NOT_FOUND);
    assert_int_equal(find_key(fixture, key.team, "other", NOW_MS, any), ERR_NOT_FOUND);

    /* The action is given as it is now. */
    assert_int_equal(do_write(fixture, change_write("act_1", "completed", 7000)), OK);
    action.state = "completed";
    action.finished_ms = 7000;
    action.results = "[{\"id\":\"a\"}]";
    assert_key(fixture, &key, &action);
    reopen_store(fixture);
    assert_key(fixture, &key, &action);
}

static void test_key_is_taken(void **state)
{
    static const int wanted[] = {0, 3, 4};
    struct fixture *fixture = *state;
    struct store_idempotency first = sample_key("act_1");
    struct store_idempotency second = sample_key("act_2");
    struct store_action action = sample_action("act_1");
    struct store_write *write = store_write_new();

    assert_int_equal(do_write(fixture, key_write(&first, 0)), OK);
    second.body_sha256 = "other";
    assert_int_equal(do_write(fixture, key_write(&second, 1)), ERR_EXISTS);
    assert_int_equal(read_action(fixture, "act_2", NULL), ERR_NOT_FOUND);
    second.action_id = "act_1";
    store_write_add_idempotency(write, &second);
    assert_int_equal(do_write(fixture, write), ERR_EXISTS);
    assert_key(fixture, &first, &action);
    assert_true(store_healthy(fixture->store));

    second = sample_key("act_3");
    second.team = "other";
    assert_int_equal(do_write(fixture, key_write(&second, 3)), OK);
    second = sample_key("act_4");
    second.key = "other";
    assert_int_equal(do_write(fixture, key_write(&second, 4)), OK);
    assert_key(fixture, &first, &action);
    assert_numbers(fixture, wanted, 3);
}

static void test_key_expires(void **state)
{
    static const int wanted[] = {0, 2};
    struct fixture *fixture = *state;
    struct store_idempotency first = sample_key("act_1");
    struct store_idempotency second = sample_key("act_2");
    struct store_action action = sample_action("act_1");
    struct found_key any = {0};

    second.body_sha256 = "other";
    second.expires_ms += DAY_MS;
    assert_int_equal(do_write(fixture, key_write(&first, 0)), OK);
    first.now_ms = second.now_ms = first.expires_ms - 1;
    assert_int_equal(do_write(fixture, key_write(&second, 1)), ERR_EXISTS);
    assert_key(fixture, &first, &action);

    second.now_ms = first.expires_ms;
    assert_int_equal(find_key(fixture, first.team, first.key, second.now_ms, any), ERR_NOT_FOUND);
    assert_int_equal(do_write(fixture, key_write(&second, 2)), OK);
    action = sample_action("act_2");
    assert_key(fixture, &second, &action);
    assert_int_equal(read_action(fixture, "act_1", NULL), OK);
    assert_numbers(fixture, wanted, 2);
}

static void test_errors_of_keys(void **state)
{
    struct fixture *fixture = *state;
    struct store_idempotency key = sample_key("act_9");
    struct store_write *write = store_write_new();
    struct found_key any = {0};

    store_write_add_idempotency(write, &key);
    assert_int_equal(do_write(fixture, write), ERR_INVALID);
    key.body_sha256 = NULL;
    assert_int_equal(do_write(fixture, key_write(&key, 0)), ERR_INVALID);
    key = sample_key("act_9");
    write = key_write(&key, 0);
    store_write_add_idempotency(write, &key);
    assert_int_equal(do_write(fixture, write), ERR_EXISTS);
    assert_int_equal(find_key(fixture, key.team, key.key, NOW_MS, any), ERR_NOT_FOUND);
    assert_int_equal(read_action(fixture, "act_9", NULL), ERR_NOT_FOUND);
    assert_true(store_healthy(fixture->store));
}

/* ---- One key, many threads ---- */

enum { RACERS = 5, RACER_WRITES = 10, RACE_WRITES = RACERS * RACER_WRITES };

struct racer {
    struct fixture *fixture;
    pthread_barrier_t *start;
    int first;
    pthread_t thread;
    struct outcome outcomes[RACER_WRITES]; /* their calls are the main thread's, after the join */
    enum err submitted[RACER_WRITES];
};

static void *run_racer(void *arg)
{
    struct racer *racer = arg;

    (void)pthread_barrier_wait(racer->start);
    for (int i = 0; i < RACER_WRITES; i++) {
        char id[32];
        struct store_idempotency key = sample_key(id);
        (void)snprintf(id, sizeof(id), "act_%d", racer->first + i);
        racer->submitted[i] =
            store_submit(racer->fixture->store, key_write(&key, racer->first + i),
                         racer->fixture->replies, on_written, &racer->outcomes[i]);
    }
    return NULL;
}

static void test_key_has_one_winner(void **state)
{
    struct fixture *fixture = *state;
    struct racer racers[RACERS] = {0};
    pthread_barrier_t start;
    char winner[32] = "";
    int number = -1;

    assert_int_equal(pthread_barrier_init(&start, NULL, RACERS), 0);
    for (int i = 0; i < RACERS; i++) {
        racers[i] = (struct racer){.fixture = fixture, .start = &start, .first = i * RACER_WRITES};
        assert_int_equal(pthread_create(&racers[i].thread, NULL, run_racer, &racers[i]), 0);
    }
    for (int i = 0; i < RACERS; i++) {
        assert_int_equal(pthread_join(racers[i].thread, NULL), 0);
    }
    for (int i = 0; i < RACE_WRITES; i++) {
        struct racer *racer = &racers[i / RACER_WRITES];
        const struct outcome *outcome = &racer->outcomes[i % RACER_WRITES];
        assert_int_equal(racer->submitted[i % RACER_WRITES], OK);
        wait_for(fixture, outcome);
        if (outcome->result == OK) {
            assert_int_equal(number, -1);
            number = i;
        } else {
            assert_int_equal(outcome->result, ERR_EXISTS);
        }
    }
    (void)snprintf(winner, sizeof(winner), "act_%d", number);
    {
        struct store_idempotency key = sample_key(winner);
        struct store_action action = sample_action(winner);
        assert_key(fixture, &key, &action);
    }
    assert_numbers(fixture, &number, 1);
    for (int i = 0; i < RACE_WRITES; i++) {
        char id[32];
        (void)snprintf(id, sizeof(id), "act_%d", i);
        assert_int_equal(read_action(fixture, id, NULL), i == number ? OK : ERR_NOT_FOUND);
    }
    (void)pthread_barrier_destroy(&start);
}

/* ---- Keys are forgotten ---- */

enum { FORGET = 2 * STORE_PRUNE_MAX + STORE_PRUNE_MAX / 2 };

/* How many of the keys "0" to "FORGET - 1" are there, asked as if they had not expired. */
static int count_keys(struct fixture *fixture)
{
    struct found_key any = {0};
    int count = 0;

    for (int i = 0; i < FORGET; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "%d", i);
        count += find_key(fixture, "helpdesk", name, 0, any) == OK;
    }
    return count;
}

/* By the wall clock these have expired long ago. Each group forgets so many, from the first. */
static void test_keys_are_forgotten(void **state)
{
    struct fixture *fixture = *state;
    struct store_idempotency live = sample_key("act_1");
    struct store_action action = sample_action("act_1");
    struct store_write *write = key_write(&live, 0);
    int left = FORGET;

    for (int i = 0; i < FORGET; i++) {
        struct store_idempotency key = sample_key("act_1");
        char name[16];
        (void)snprintf(name, sizeof(name), "%d", i);
        key.key = name;
        key.expires_ms = 1000 + i;
        key.now_ms = 0;
        store_write_add_idempotency(write, &key);
    }
    assert_int_equal(do_write(fixture, write), OK);
    for (int number = 1; left > 0; number++) {
        left = left > STORE_PRUNE_MAX ? left - STORE_PRUNE_MAX : 0;
        assert_int_equal(count_keys(fixture), left);
        assert_int_equal(do_write(fixture, record_write(number)), OK);
    }
    assert_key(fixture, &live, &action);

    /* There were none: the next look is in a minute, or after a restart. */
    live.key = "0";
    live.expires_ms = 1000;
    live.now_ms = 0;
    write = store_write_new();
    store_write_add_idempotency(write, &live);
    assert_int_equal(do_write(fixture, write), OK);
    assert_int_equal(count_keys(fixture), 1);
    reopen_store(fixture);
    assert_int_equal(count_keys(fixture), 1);
    assert_int_equal(do_write(fixture, record_write(9)), OK);
    assert_int_equal(count_keys(fixture), 0);
}

static void test_close_answers_keys(void **state)
{
    struct fixture *fixture = *state;
    struct found_key found[100] = {0};

    for (int i = 0; i < 100; i++) {
        assert_int_equal(store_read_idempotency(fixture->store, "helpdesk", "none", NOW_MS,
                                                fixture->replies, on_key, &found[i]),
                         OK);
    }
    close_store(fixture);
    mailbox_free(fixture->replies);
    fixture->replies = NULL;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(found[i].calls, 1);
        assert_int_equal(found[i].result, ERR_NOT_FOUND);
    }
}

int main(void)
{
    static const struct CMUnitTest suite[] = {
        TEST(test_key_round_trip),     TEST(test_key_is_taken),       TEST(test_key_expires),
        TEST(test_errors_of_keys),     TEST(test_key_has_one_winner), TEST(test_keys_are_forgotten),
        TEST(test_close_answers_keys),
    };
    int failed = 0;

    for (size_t i = 0; i < backend_count; i++) {
        backend = &backends[i];
        failed += cmocka_run_group_tests_name(backend->name, suite, NULL, NULL);
    }
    return failed;
}
