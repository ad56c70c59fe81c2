/* Records: the one place where an audit record gets its seq, its time, its bytes and its place in
 * the Merkle tree. Runs on the writer's thread, inside a transaction. Knows no database. */
#include "store/store_priv.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

void record_log_init(struct record_log *log, const char *node)
{
    json_t *name = json_string(node);
    char *quoted = json_dumps(name, JSON_ENCODE_ANY | JSON_COMPACT);

    assert(quoted != NULL);
    *log = (struct record_log){.time_ms = -1};
    log->start = xasprintf("{\"v\":1,\"node\":%s,\"seq\":", quoted);
    buffer_init(&log->bytes, 2 * (size_t)STORE_WRITE_BYTES_MAX);
    free(quoted);
    json_decref(name);
}

void record_log_done(struct record_log *log)
{
    free(log->start);
    buffer_done(&log->bytes);
}

/* Keeps the interior nodes that are stored. */
static void on_node(unsigned level, uint64_t index, const uint8_t *hash, void *arg)
{
    struct record_log *log = arg;

    if (level % STORE_TREE_STEP == 0) {
        assert(log->hash_count < LOG_HASHES_MAX);
        log->hashes[log->hash_count].level = level;
        log->hashes[log->hash_count].number = index;
        memcpy(log->hashes[log->hash_count++].hash, hash, STORE_HASH_BYTES);
    }
}

int64_t record_append(struct record_log *log, const char *tail, size_t len)
{
    int64_t seq = log->state.next_seq;
    /* The true wall clock, also when it goes back: the order is the seq's. */
    int64_t now_ms = clock_wall_ms();
    enum err err;

    if (now_ms != log->time_ms) {
        log->time_ms = now_ms;
        (void)clock_format(now_ms, log->time_text);
    }
    log->bytes.len = 0;
    err = buffer_printf(&log->bytes, "%s%lld,\"time\":\"%s\",", log->start, (long long)seq,
                        log->time_text);
    assert(err == OK);
    err = buffer_add(&log->bytes, tail, len);
    assert(err == OK); /* store_submit() bounds a write */
    log->hash_count = 0;
    merkle_leaf_hash(log->bytes.data, log->bytes.len, log->leaf);
    merkle_frontier_add(&log->state.tree, log->leaf, on_node, log);
    log->state.next_seq++;
    return seq;
}
