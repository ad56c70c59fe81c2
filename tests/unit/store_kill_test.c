/* Store: kill -9 under load, on every backend. The child is this program again: see main(). */
#include "common/mailbox.h"
#include "common/memory.h"
#include "store_fixture.h"

#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOAD_OUTSTANDING 64

struct load {
    struct fixture fixture;
    int out;
    int next;
};

struct load_write {
    struct load *load;
    int number;
};

static void submit_load(struct load *load);

static void on_load_written(enum err result, void *arg)
{
    struct load_write *done = arg;

    if (result != OK || write(done->load->out, &done->number, sizeof(int)) != sizeof(int)) {
        _exit(1);
    }
    submit_load(done->load);
    free(done);
}

static void submit_load(struct load *load)
{
    struct load_write *mine = xcalloc(1, sizeof(*mine));
    struct store_write *write = record_write(load->next);
    char id[32];
    struct store_action action;

    *mine = (struct load_write){load, load->next++};
    (void)snprintf(id, sizeof(id), "act_%d", mine->number);
    action = sample_action(id);
    store_write_add_action(write, &action);
    if (store_submit(load->fixture.store, write, load->fixture.replies, on_load_written, mine) !=
        OK) {
        _exit(1);
    }
}

/* Writes without end, and the number of each write that was answered to out. */
static int run_load(const char *url, int first, int out)
{
    struct load load = {.out = out, .next = first};

    if (store_open(url, "gw-1", &load.fixture.store, NULL) != OK) {
        return 1;
    }
    load.fixture.base = event_base_new();
    load.fixture.replies = mailbox_new(load.fixture.base, 1, NULL, NULL);
    for (int i = 0; i < LOAD_OUTSTANDING; i++) {
        submit_load(&load);
    }
    (void)event_base_dispatch(load.fixture.base);
    return 1;
}

static void test_kill_under_load(void **state)
{
    struct fixture *fixture = *state;
    char *seen = xcalloc(NUMBERS_MAX, 1);
    char *stored = xcalloc(NUMBERS_MAX, 1);
    int in;
    int number;

    close_store(fixture);
    for (int round = 0; round < 4; round++) {
        pid_t pid = start_child("load", fixture->url, round * NUMBERS_MAX / 4, &in);
        int status;
        for (int i = 0; i < 50 + round * 333; i++) {
            assert_int_equal(read(in, &number, sizeof(number)), sizeof(number));
            seen[number] = 1;
        }
        assert_int_equal(kill(pid, SIGKILL), 0);
        while (read(in, &number, sizeof(number)) == sizeof(number)) {
            seen[number] = 1;
        }
        (void)close(in);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
    }
    open_store(fixture);
    {
        struct numbers numbers = read_numbers(fixture);
        for (int i = 0; i < numbers.count; i++) {
            assert_false(stored[numbers.n[i]]);
            stored[numbers.n[i]] = 1;
        }
        free(numbers.n);
    }
    for (number = 0; number < NUMBERS_MAX; number++) {
        char id[32];
        assert_true(stored[number] >= seen[number]);
        (void)snprintf(id, sizeof(id), "act_%d", number);
        if (number % (NUMBERS_MAX / 4) < 2000) {
            assert_int_equal(read_action(fixture, id, NULL), stored[number] ? OK : ERR_NOT_FOUND);
        }
    }
    free(seen);
    free(stored);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest suite[] = {
        TEST(test_kill_under_load),
    };
    int failed = 0;

    if (argc == 5 && strcmp(argv[1], "load") == 0) {
        return run_load(argv[2], (int)strtol(argv[3], NULL, 10), (int)strtol(argv[4], NULL, 10));
    }
    for (size_t i = 0; i < backend_count; i++) {
        backend = &backends[i];
        failed += cmocka_run_group_tests_name(backend->name, suite, NULL, NULL);
    }
    return failed;
}
