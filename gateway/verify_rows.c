/* Verify, the records of a node as they are stored: whether each hashes to its leaf and stands
 * where it says, none is missing, and the tree over them is the one that is stored. See
 * verify_priv.h. */
#include "gateway/verify_priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define STORED_STEP (UINT64_C(1) << STORE_TREE_STEP) /* leaves of the lowest nodes stored */

void rows_begin(struct verify *verify)
{
    struct log *log = &verify->log;

    log->next = log->pruned;
    log->chained = true;
    stored_check_pruned(verify);
    roots_begin(verify);
    roots_check(verify); /* of what was pruned, or of nothing */
}

/* ---- Records that are one of two things ---- */

/* Decides what the altered ones are. */
static void settle_altered(struct verify *verify, enum finding_reason reason)
{
    struct log *log = &verify->log;

    for (size_t i = 0; i < log->altered_count; i++) {
        findings_add(&verify->findings, log->node, log->altered[i].seq, reason,
                     reason == FINDING_LEAF_ALTERED
                         ? "the stored leaf is not the hash of the record, which is as it was"
                         : "the record does not hash to its leaf");
    }
    if (log->altered_count > 0 && reason == FINDING_RECORD_ALTERED) {
        verify->partial = true;
    }
    log->altered_count = 0;
}

bool rows_hold(struct verify *verify, const uint8_t *expected, const uint8_t *by_leaf,
               const uint8_t *by_bytes)
{
    struct log *log = &verify->log;

    if (memcmp(expected, by_leaf, MERKLE_HASH_BYTES) == 0) {
        settle_altered(verify, FINDING_RECORD_ALTERED);
        return true;
    }
    if (log->altered_count == 0) {
        return false;
    }
    if (memcmp(expected, by_bytes, MERKLE_HASH_BYTES) == 0) {
        settle_altered(verify, FINDING_LEAF_ALTERED);
        log->tree = log->by_bytes;
        return true;
    }
    /* Both of them: that is what is wrong, and not what was expected. */
    settle_altered(verify, FINDING_RECORD_ALTERED);
    log->chained = false;
    return true;
}

/* A record is missing, or one stands where it should not: behind it no root can hold. */
static void break_chain(struct verify *verify)
{
    settle_altered(verify, FINDING_RECORD_ALTERED);
    verify->log.chained = false;
    verify->partial = true;
}

static void find_misplaced(struct verify *verify, int64_t seq, int64_t claims)
{
    VERIFY_FIND(verify, seq, RECORD_MISPLACED, "the record says that it is number %" PRId64,
                claims);
}

static void find_copy(struct verify *verify, int64_t seq, int64_t of)
{
    VERIFY_FIND(verify, seq, SEQ_DUPLICATE, "the record is a copy of number %" PRId64, of);
}

/* A record claims another place. When another stands there, it is a copy: that one may come later.
 */
static void add_misplaced(struct verify *verify, int64_t seq, int64_t claims)
{
    struct log *log = &verify->log;

    if (log->misplaced_count == DOUBTS_MAX) {
        find_misplaced(verify, seq, claims);
    } else {
        log->misplaced[log->misplaced_count++] = (struct doubt){seq, claims};
    }
}

/* A record stands in its place: what claimed that too is a copy. */
static void settle_copies(struct verify *verify, int64_t seq)
{
    struct log *log = &verify->log;
    size_t kept = 0;

    for (size_t i = 0; i < log->misplaced_count; i++) {
        if (log->misplaced[i].claims == seq) {
            find_copy(verify, log->misplaced[i].seq, seq);
        } else {
            log->misplaced[kept++] = log->misplaced[i];
        }
    }
    log->misplaced_count = kept;
}

/* ---- The tree ---- */

/* The nodes that a leaf completed, of the levels that are stored. */
struct completed {
    size_t count;
    unsigned level[MERKLE_LEVELS];
    uint64_t number[MERKLE_LEVELS];
    uint8_t hash[MERKLE_LEVELS][MERKLE_HASH_BYTES];
};

static void on_node(unsigned level, uint64_t number, const uint8_t hash[MERKLE_HASH_BYTES],
                    void *arg)
{
    struct completed *completed = arg;

    if (level % STORE_TREE_STEP == 0) {
        completed->level[completed->count] = level;
        completed->number[completed->count] = number;
        memcpy(completed->hash[completed->count], hash, MERKLE_HASH_BYTES);
        completed->count++;
    }
}

static void check_node(struct verify *verify, unsigned level, uint64_t number,
                       const uint8_t *by_leaf, const uint8_t *by_bytes)
{
    struct log *log = &verify->log;
    struct stored_hash *stored = stored_find(&log->stored, level, number);
    uint64_t start = stored_start(level, number);

    if (stored == NULL) {
        /* A gateway that writes meanwhile stored it after they were read. */
        if (stored_end(level, number) <= (uint64_t)log->size_before) {
            VERIFY_FIND(verify, (int64_t)start, TREE_ALTERED,
                        "the node (%u, %" PRIu64 ") of the tree is not stored", level, number);
        }
        return;
    }
    stored->seen = true;
    if (!rows_hold(verify, stored->hash, by_leaf, by_bytes)) {
        VERIFY_FIND(verify, (int64_t)start, TREE_ALTERED,
                    "the stored node (%u, %" PRIu64
                    ") of the tree does not follow from the records",
                    level, number);
        if (log->doubted_from == UINT64_MAX && start >= log->proven[0]) {
            log->doubted_from = start;
        }
    }
}

/* Adds a leaf as it is stored, and the hash of the record's bytes. */
static void grow(struct verify *verify, const uint8_t *leaf, const uint8_t *hash)
{
    struct log *log = &verify->log;
    bool completes = (log->tree.size + 1) % STORED_STEP == 0;
    struct completed by_leaf;
    struct completed by_bytes;

    by_leaf.count = by_bytes.count = 0;
    merkle_frontier_add(&log->tree, leaf, completes ? on_node : NULL, &by_leaf);
    if (log->altered_count > 0) {
        merkle_frontier_add(&log->by_bytes, hash, completes ? on_node : NULL, &by_bytes);
    }
    for (size_t i = 0; i < by_leaf.count && log->chained; i++) {
        check_node(verify, by_leaf.level[i], by_leaf.number[i], by_leaf.hash[i],
                   log->altered_count > 0 ? by_bytes.hash[i] : by_leaf.hash[i]);
    }
}

/* ---- A row ---- */

/* What is known of the row. */
struct row {
    int64_t seq;
    uint8_t hash[MERKLE_HASH_BYTES];
    const uint8_t *leaf; /* the stored one, or the hash if it is no hash at all */
    bool readable;
    bool is_here; /* the record says that it is this one */
    bool altered; /* it does not hash to its leaf */
    struct record record;
};

static void read_row(const struct verify *verify, const struct store_record *stored,
                     struct row *row)
{
    const char *bytes = stored->bytes != NULL ? stored->bytes : "";
    size_t len = stored->bytes != NULL ? stored->len : 0;

    row->seq = stored->seq;
    merkle_leaf_hash(bytes, len, row->hash);
    row->leaf = stored->leaf;
    if (stored->leaf == NULL || stored->leaf_len != MERKLE_HASH_BYTES) {
        row->leaf = row->hash;
    }
    row->altered = memcmp(row->leaf, row->hash, sizeof(row->hash)) != 0;
    row->readable = record_read(bytes, len, &row->record) == OK && row->record.v == 1;
    row->is_here = row->readable && row->record.seq == row->seq &&
                   record_equals(row->record.node, verify->log.name);
}

/* A row outside of the sequence: before the first, a second time, or behind a gap from elsewhere.
 */
static void add_stray(struct verify *verify, const struct row *row)
{
    const struct log *log = &verify->log;
    int64_t seq = row->seq >= 0 || !row->readable ? row->seq : row->record.seq;

    if (row->seq >= 0 && row->seq == log->next - 1 && row->seq >= log->pruned) {
        VERIFY_FIND(verify, seq, SEQ_DUPLICATE, "there are two rows of that number");
    } else if (row->seq >= log->next && row->is_here == false && row->readable &&
               row->record.seq < log->next && row->record.seq >= log->pruned && log->chained) {
        find_copy(verify, seq, row->record.seq);
    } else {
        VERIFY_FIND(verify, seq, RECORD_MISPLACED,
                    "a row of number %" PRId64 " does not belong there", row->seq);
    }
    verify->partial = true;
}

/* A row that hashes to its leaf stands next, and says that it is another. */
static void add_elsewhere(struct verify *verify, const struct row *row)
{
    const struct log *log = &verify->log;
    int64_t claims = row->record.seq;
    bool whole = log->chained; /* then all before stand in their places */
    char name[64];

    break_chain(verify);
    if (!record_equals(row->record.node, log->name)) {
        VERIFY_FIND(
            verify, row->seq, RECORD_MISPLACED, "the record says that it is of node %s",
            findings_printable(row->record.node.at, row->record.node.len, name, sizeof(name)));
    } else if (claims == row->seq - 1 && claims >= log->pruned) {
        /* The one before may have been put in under that number. */
        if (memcmp(row->hash, log->last_leaf, sizeof(row->hash)) == 0) {
            find_copy(verify, row->seq, claims);
        } else {
            find_misplaced(verify, row->seq, claims);
        }
    } else if (claims > row->seq) {
        add_misplaced(verify, row->seq, claims);
    } else if (whole && claims >= log->pruned) {
        find_copy(verify, row->seq, claims);
    } else {
        find_misplaced(verify, row->seq, claims);
    }
}

static void check_content(struct verify *verify, const struct store_record *stored,
                          const struct row *row)
{
    struct log *log = &verify->log;

    if (row->altered) {
        if (!log->chained || log->altered_count == DOUBTS_MAX) {
            VERIFY_FIND(verify, row->seq, RECORD_ALTERED, "the record does not hash to its leaf");
            verify->partial = true;
            return;
        }
        if (log->altered_count == 0) {
            log->by_bytes = log->tree;
        }
        log->altered[log->altered_count++] = (struct doubt){row->seq, row->seq};
    } else if (!row->readable) {
        break_chain(verify); /* no gateway wrote that: the tree is of something else */
        VERIFY_FIND(verify, row->seq, RECORD_ALTERED, "the record cannot be read");
    } else if (!row->is_here) {
        add_elsewhere(verify, row);
    } else if (stored->leaf == NULL || stored->leaf_len != MERKLE_HASH_BYTES) {
        VERIFY_FIND(verify, row->seq, LEAF_ALTERED, "what is stored as its leaf is no hash");
    }
}

static void keep_time(struct verify_node_summary *summary, const struct record *record)
{
    char *to = summary->to_time;
    size_t len = record->time.len < sizeof(summary->to_time) - 1 ? record->time.len
                                                                 : sizeof(summary->to_time) - 1;

    memcpy(to, record->time.at, len);
    to[len] = '\0';
    if (summary->from_time[0] == '\0') {
        memcpy(summary->from_time, to, sizeof(summary->from_time));
    }
}

void rows_add(struct verify *verify, const struct store_record *stored)
{
    struct log *log = &verify->log;
    struct row row;

    read_row(verify, stored, &row);
    verify->nodes[log->node].records++;
    if (row.seq < log->next || row.seq == INT64_MAX) {
        add_stray(verify, &row);
        return;
    }
    if (row.seq > log->next) {
        if (row.readable && !row.altered && !row.is_here) {
            add_stray(verify, &row);
            return;
        }
        VERIFY_FIND(verify, log->next, SEQ_GAP, "the next record that is there is %" PRId64,
                    row.seq);
        break_chain(verify);
    }
    log->next = row.seq + 1;
    check_content(verify, stored, &row);
    if (log->chained) {
        grow(verify, row.leaf, row.hash);
        roots_check(verify);
    }
    memcpy(log->last_leaf, row.hash, sizeof(row.hash));
    if (row.is_here) {
        if (log->misplaced_count > 0) {
            settle_copies(verify, row.seq);
        }
        keep_time(&verify->nodes[log->node], &row.record);
        calls_add(verify, &row.record);
    }
}

void rows_end(struct verify *verify)
{
    struct log *log = &verify->log;

    settle_altered(verify, FINDING_RECORD_ALTERED);
    for (size_t i = 0; i < log->misplaced_count; i++) {
        find_misplaced(verify, log->misplaced[i].seq, log->misplaced[i].claims);
    }
    stored_check_end(verify);
    roots_end(verify);
    verify->nodes[log->node].size = log->next;
}
