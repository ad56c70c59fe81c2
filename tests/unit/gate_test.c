/* Gate: played against a store that commits whatever waits in one go, on a virtual clock. */
#include "policy/gate.h"

#include "common/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h> /* needs the ones above */

#define SECOND   INT64_C(1000000)
#define TICK_US  500
#define MAX_MANY 3000

/* A client asks, and again when it has its answer; refused, it waits. */
struct client {
    size_t party;
    int64_t next_us; /* when it asks; -1: it has asked */
    int64_t asked_us;
    struct gate_pass pass;
    bool waits; /* for the commit that goes on */
};

/* What was seen of one party since it was last asked for. */
struct seen {
    int64_t accepted;
    int64_t refused;
    int64_t sum_us;
};

struct play {
    struct gate *gate;
    int64_t now_us;
    int64_t commit_us; /* what a commit takes, and for each in it */
    int64_t each_us;
    int64_t commit_ends_us; /* 0: none goes on */
    int64_t pause_us;       /* of a client that was refused */
    int64_t think_us;       /* of one that was accepted */
    size_t clients;
    size_t most; /* under way, ever */
    size_t under_way;
    struct seen seen[2];
    struct client client[MAX_MANY];
};

static struct play *begin(int64_t commit_us, int64_t each_us)
{
    struct play *play = xcalloc(1, sizeof(*play));

    play->gate = gate_new();
    play->now_us = SECOND;
    play->commit_us = commit_us;
    play->each_us = each_us;
    play->pause_us = SECOND / 4;
    return play;
}

static void end(struct play *play)
{
    gate_free(play->gate);
    free(play);
}

static void add_clients(struct play *play, size_t count, size_t party)
{
    for (size_t i = 0; i < count; i++) {
        assert_true(play->clients < MAX_MANY);
        play->client[play->clients++] = (struct client){.party = party, .next_us = play->now_us};
    }
}

/* They are answered, and ask no more. */
static void remove_clients(struct play *play)
{
    for (size_t i = 0; i < play->clients; i++) {
        gate_leave(play->gate, &play->client[i].pass, play->now_us);
    }
    play->clients = 0;
    play->under_way = 0;
    play->commit_ends_us = 0;
}

static void end_commit(struct play *play)
{
    for (size_t i = 0; i < play->clients; i++) {
        struct client *client = &play->client[i];
        if (client->waits) {
            gate_leave(play->gate, &client->pass, play->now_us);
            play->seen[client->party].accepted++;
            play->seen[client->party].sum_us += play->now_us - client->asked_us;
            play->under_way--;
            client->waits = false;
            client->next_us = play->now_us + play->think_us;
        }
    }
    play->commit_ends_us = 0;
}

static void begin_commit(struct play *play)
{
    size_t count = 0;

    for (size_t i = 0; i < play->clients && count < 1000; i++) {
        struct client *client = &play->client[i];
        if (client->pass.since_us != 0) {
            client->waits = true;
            count++;
        }
    }
    if (count > 0) {
        play->commit_ends_us = play->now_us + play->commit_us + (int64_t)count * play->each_us;
    }
}

static void ask(struct play *play, struct client *client)
{
    if (gate_enter(play->gate, client->party, play->now_us, &client->pass)) {
        client->asked_us = play->now_us;
        client->next_us = -1;
        play->under_way++;
        play->most = play->under_way > play->most ? play->under_way : play->most;
    } else {
        play->seen[client->party].refused++;
        client->next_us = play->now_us + play->pause_us;
    }
}

static void run(struct play *play, int64_t for_us)
{
    play->seen[0] = play->seen[1] = (struct seen){0};
    for (int64_t until = play->now_us + for_us; play->now_us < until; play->now_us += TICK_US) {
        if (play->commit_ends_us != 0 && play->now_us >= play->commit_ends_us) {
            end_commit(play);
        }
        for (size_t i = 0; i < play->clients; i++) {
            struct client *client = &play->client[i];
            if (client->next_us >= 0 && client->next_us <= play->now_us) {
                ask(play, client);
            }
        }
        if (play->commit_ends_us == 0) {
            begin_commit(play);
        }
    }
}

static int64_t mean_us(const struct seen *seen)
{
    return seen->accepted > 0 ? seen->sum_us / seen->accepted : 0;
}

/* ---- Not refused ---- */

static void lets_all_in_that_can_be_served(void **state)
{
    struct play *play = begin(2000, 90);

    (void)state;
    add_clients(play, 256, 0);
    run(play, 20 * SECOND);
    assert_int_equal(play->seen[0].refused, 0);
    assert_true(play->seen[0].accepted > 20 * 9000);
    end(play);
}

/* However slow: it may be all that the disk can do. */
static void a_few_are_never_too_many(void **state)
{
    struct play *play = begin(2 * SECOND, 1000);

    (void)state;
    add_clients(play, GATE_CROWD, 0);
    run(play, 60 * SECOND);
    assert_int_equal(play->seen[0].refused, 0);
    end(play);
}

static void a_burst_is_let_in(void **state)
{
    struct play *play = begin(2000, 300);

    (void)state;
    play->think_us = 3600 * SECOND;
    for (int i = 0; i < 5; i++) {
        add_clients(play, 1000, 0);
        run(play, 10 * SECOND);
        assert_int_equal(play->seen[0].refused, 0);
        assert_int_equal(play->seen[0].accepted, 1000);
        remove_clients(play);
    }
    end(play);
}

/* One stall of the disk, with many under way. */
static void a_stall_is_not_overload(void **state)
{
    struct play *play = begin(2000, 90);

    (void)state;
    add_clients(play, 200, 0);
    run(play, 5 * SECOND);
    play->commit_us = 400000;
    run(play, SECOND / 20);
    play->commit_us = 2000;
    run(play, 5 * SECOND);
    assert_int_equal(play->seen[0].refused, 0);
    end(play);
}

/* ---- Refused ---- */

/* The load that a store carries, with one client; then ten times too many. */
static void check_overload(int64_t commit_us, int64_t each_us, size_t clients, int64_t settle_us,
                           bool known)
{
    struct play *play = begin(commit_us, each_us);
    int64_t unloaded_us = commit_us + each_us;
    int64_t fewest_us = commit_us + GATE_LEAST * each_us;
    int64_t aim_us = 2 * unloaded_us > 5000 ? 2 * unloaded_us : 5000;

    if (known) {
        add_clients(play, 1, 0);
        run(play, 20 * SECOND);
        assert_in_range(gate_least_us(play->gate), unloaded_us, unloaded_us + 2 * TICK_US);
        remove_clients(play);
    }
    add_clients(play, clients, 0);
    run(play, settle_us);
    run(play, 20 * SECOND);
    assert_true(play->seen[0].refused > 0);
    if (!known) {
        aim_us = 2 * fewest_us; /* they were never fewer */
    } else if (aim_us < fewest_us) {
        aim_us = fewest_us; /* there is no lower limit */
    }
    assert_true(mean_us(&play->seen[0]) <= aim_us * 5 / 4);
    assert_true(mean_us(&play->seen[0]) >= aim_us / 2);
    assert_true(play->most <= GATE_MOST);
    remove_clients(play);
    for (int i = 0; i < 30; i++) { /* a client now and then: it opens again */
        add_clients(play, 1, 0);
        run(play, SECOND / 5);
        remove_clients(play);
    }
    assert_int_equal(gate_limit(play->gate), GATE_MOST);
    end(play);
}

static void keeps_those_quick_that_are_in(void **state)
{
    (void)state;
    check_overload(2000, 90, 2000, 3 * SECOND, true);  /* a fast disk */
    check_overload(20000, 90, 2000, 3 * SECOND, true); /* a slow one */
    check_overload(1000, 60, 640, 3 * SECOND, true);
    check_overload(20000, 5000, 2000, 10 * SECOND, true); /* slow in all */
}

/* Flooded from the first moment on. */
static void finds_out_what_a_call_takes(void **state)
{
    (void)state;
    check_overload(20000, 5000, 2000, 60 * SECOND, false);
}

static void does_not_aim_higher_with_time(void **state)
{
    struct play *play = begin(2000, 300);

    (void)state;
    add_clients(play, 1, 0);
    run(play, 5 * SECOND);
    add_clients(play, 1999, 0);
    run(play, 3 * SECOND);
    for (int i = 0; i < 10; i++) {
        run(play, 30 * SECOND);
        assert_true(mean_us(&play->seen[0]) < 6500);
    }
    end(play);
}

/* ---- Parties ---- */

static void one_party_does_not_keep_another_out(void **state)
{
    struct play *play = begin(2000, 300);

    (void)state;
    add_clients(play, 2000, 0);
    run(play, 5 * SECOND);
    add_clients(play, 3, 1);
    run(play, 20 * SECOND);
    assert_true(play->seen[0].refused > 0);
    assert_int_equal(play->seen[1].refused, 0);
    assert_true(play->seen[1].accepted > 1000);
    add_clients(play, 900, 1); /* as greedy: about even shares */
    run(play, 5 * SECOND);
    run(play, 20 * SECOND);
    assert_true(play->seen[1].refused > 0);
    assert_in_range(play->seen[1].accepted, play->seen[0].accepted / 2, play->seen[0].accepted * 2);
    end(play);
}

static void there_is_a_bound(void **state)
{
    struct gate *gate = gate_new();
    struct gate_pass passes[GATE_MOST] = {0};
    struct gate_pass none = {0};

    (void)state;
    for (size_t i = 0; i < GATE_MOST; i++) {
        assert_true(gate_enter(gate, i, SECOND, &passes[i]));
    }
    assert_false(gate_enter(gate, 1, SECOND, &none));
    assert_int_equal(none.since_us, 0);
    gate_leave(gate, &none, SECOND);
    assert_false(gate_enter(gate, 1, SECOND, &none));
    gate_leave(gate, &passes[7], SECOND);
    gate_leave(gate, &passes[7], SECOND); /* is not in any more */
    assert_true(gate_enter(gate, 1, SECOND, &none));
    assert_false(gate_enter(gate, 1, SECOND, &passes[7]));
    gate_free(gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lets_all_in_that_can_be_served),
        cmocka_unit_test(a_few_are_never_too_many),
        cmocka_unit_test(a_burst_is_let_in),
        cmocka_unit_test(a_stall_is_not_overload),
        cmocka_unit_test(keeps_those_quick_that_are_in),
        cmocka_unit_test(finds_out_what_a_call_takes),
        cmocka_unit_test(does_not_aim_higher_with_time),
        cmocka_unit_test(one_party_does_not_keep_another_out),
        cmocka_unit_test(there_is_a_bound),
    };

    return cmocka_run_group_tests_name("gate", tests, NULL, NULL);
}
