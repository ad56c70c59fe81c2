/* Tests of streams to files: whole lines only, whatever the disk does. */
#include "gateway/stream.h"

#include "common/file.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

struct fixture {
    char folder[64];
    char path[96];
    char moved[96];
    struct stream_config config;
    struct stream *stream;
};

static void on_wake(void *arg)
{
    (void)arg;
}

static int set_up(void **state)
{
    struct fixture *fixture = xcalloc(1, sizeof(*fixture));
    struct stream_setup setup = {.config = &fixture->config, .wake = on_wake};

    (void)snprintf(fixture->folder, sizeof(fixture->folder), "/tmp/tollgate-stream-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    (void)snprintf(fixture->path, sizeof(fixture->path), "%s/lines", fixture->folder);
    (void)snprintf(fixture->moved, sizeof(fixture->moved), "%s/moved", fixture->folder);
    fixture->config.path = fixture->path;
    fixture->stream = stream_kind_file.new(&setup);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    stream_kind_file.free(fixture->stream);
    (void)unlink(fixture->path);
    (void)unlink(fixture->moved);
    (void)rmdir(fixture->folder);
    free(fixture);
    return 0;
}

static void send_numbers(struct fixture *fixture, int64_t from, int64_t to)
{
    for (int64_t seq = from; seq < to; seq++) {
        char bytes[64];
        struct store_record record = {.node = "gw", .seq = seq, .bytes = bytes};
        record.len =
            (size_t)snprintf(bytes, sizeof(bytes), "{\"v\":1,\"seq\":%lld}", (long long)seq);
        assert_int_equal(stream_kind_file.send(fixture->stream, &record), OK);
    }
    stream_kind_file.flush(fixture->stream);
}

/* That the file has exactly those lines. */
static void check_numbers(const char *path, int64_t from, int64_t to)
{
    CLEANUP(cleanup_free) char *text = NULL;
    size_t len = 0;
    char *at;

    assert_int_equal(file_read(path, 1 << 20, &text, &len, NULL), OK);
    at = text;
    for (int64_t seq = from; seq < to; seq++) {
        char line[64];
        (void)snprintf(line, sizeof(line), "{\"v\":1,\"seq\":%lld}\n", (long long)seq);
        assert_int_equal(strncmp(at, line, strlen(line)), 0);
        at += strlen(line);
    }
    assert_int_equal(*at, '\0');
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void test_lines_are_appended_and_settled(void **state)
{
    struct fixture *fixture = *state;
    struct stream *stream = fixture->stream;

    stream->kind->open(stream, 0);
    assert_int_equal(stream->state, STREAM_OPEN);
    assert_null(stream->last);
    send_numbers(fixture, 0, 10);
    assert_int_equal(stream->kind->settle(stream), 10);
    stream->kind->close(stream);
    assert_int_equal(stream->from, 10);
    stream->kind->open(stream, 10);
    assert_int_equal(stream->last_len, strlen("{\"v\":1,\"seq\":9}"));
    assert_memory_equal(stream->last, "{\"v\":1,\"seq\":9}", stream->last_len);
    send_numbers(fixture, 10, 20);
    stream->kind->finish(stream);
    assert_int_equal(stream->state, STREAM_ENDED);
    assert_int_equal(stream->from, 20);
    stream->kind->close(stream);
    check_numbers(fixture->path, 0, 20);
}

static void test_a_moved_file_is_left(void **state)
{
    struct fixture *fixture = *state;
    struct stream *stream = fixture->stream;

    stream->kind->open(stream, 0);
    send_numbers(fixture, 0, 5);
    assert_int_equal(rename(fixture->path, fixture->moved), 0);
    send_numbers(fixture, 5, 8); /* nobody noticed yet */
    stream->kind->check(stream);
    send_numbers(fixture, 8, 10);
    stream->kind->check(stream);
    stream->kind->reopen(stream);
    send_numbers(fixture, 10, 12);
    assert_int_equal(stream->kind->settle(stream), 12);
    check_numbers(fixture->moved, 0, 8);
    check_numbers(fixture->path, 8, 12);
}

/* A limit on the size of files is as good as a full disk: the last write is short. */
static void test_a_full_disk_leaves_whole_lines(void **state)
{
    struct fixture *fixture = *state;
    struct stream *stream = fixture->stream;
    struct rlimit before;
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 100;
    (void)signal(SIGXFSZ, SIG_IGN);
    stream->kind->open(stream, 0);
    send_numbers(fixture, 0, 5);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    send_numbers(fixture, 5, 10);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(stream->state, STREAM_FAILED);
    assert_int_equal(stream->from, 5);
    check_numbers(fixture->path, 0, 5);
    stream->kind->close(stream);
    stream->kind->open(stream, stream->from);
    send_numbers(fixture, 5, 10);
    assert_int_equal(stream->kind->settle(stream), 10);
    check_numbers(fixture->path, 0, 10);
}

static void test_a_piece_of_a_record_is_cut_off(void **state)
{
    struct fixture *fixture = *state;
    struct stream *stream = fixture->stream;

    write_text(fixture->path, "{\"v\":1,\"seq\":0}\n{\"v\":1,\"se");
    stream->kind->open(stream, 1);
    send_numbers(fixture, 1, 3);
    check_numbers(fixture->path, 0, 3);
    stream->kind->close(stream);
    write_text(fixture->path, "{\"v\":1,\"se");
    stream->kind->open(stream, 0);
    send_numbers(fixture, 0, 2);
    check_numbers(fixture->path, 0, 2);
}

static void test_what_others_wrote_stays(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(cleanup_free) char *text = NULL;
    size_t len = 0;

    write_text(fixture->path, "not ours");
    fixture->stream->kind->open(fixture->stream, 0);
    send_numbers(fixture, 0, 1);
    assert_int_equal(file_read(fixture->path, 1000, &text, &len, NULL), OK);
    assert_string_equal(text, "not ours\n{\"v\":1,\"seq\":0}\n");
}

static void test_only_regular_files(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(mkfifo(fixture->path, 0600), 0);
    fixture->stream->kind->open(fixture->stream, 4);
    assert_int_equal(fixture->stream->state, STREAM_FAILED);
    assert_int_equal(fixture->stream->from, 4);
    fixture->stream->kind->close(fixture->stream);
    assert_int_equal(fixture->stream->state, STREAM_CLOSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(test_lines_are_appended_and_settled), TEST(test_a_moved_file_is_left),
        TEST(test_a_full_disk_leaves_whole_lines), TEST(test_a_piece_of_a_record_is_cut_off),
        TEST(test_what_others_wrote_stays),        TEST(test_only_regular_files),
#undef TEST
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
