/* Verify, inside: what its files share. See verify.h. */
#ifndef GATEWAY_VERIFY_PRIV_H
#define GATEWAY_VERIFY_PRIV_H

#include "common/merkle.h"
#include "common/record.h"
#include "gateway/idmap.h"
#include "gateway/verify.h"

/* A place in a log. */
struct place {
    size_t node;
    int64_t seq;
};

/* ---- verify_tree.c: the interior nodes that are stored of a node's tree ---- */

struct stored_hash {
    uint8_t level;
    bool seen;
    uint64_t number;
    uint8_t hash[MERKLE_HASH_BYTES];
};

struct stored_tree {
    struct stored_hash *hashes; /* by level and number, once they are sorted */
    size_t count;
    size_t capacity;
    bool sorted;
    bool beyond;      /* one is of records that are not there */
    uint64_t strange; /* rows that are no node of a tree */
};

/* The complete node of the tree, from what is stored (a merkle_get_cb; arg is the struct
 * stored_tree). ERR_NOT_FOUND: it does not follow. */
enum err stored_get(unsigned level, uint64_t number, uint8_t ret_hash[MERKLE_HASH_BYTES],
                    void *arg);

/* Where the leaves of a node begin, and end; end is UINT64_MAX if that is too far. */
uint64_t stored_start(unsigned level, uint64_t number);
uint64_t stored_end(unsigned level, uint64_t number);

struct stored_hash *stored_find(struct stored_tree *tree, unsigned level, uint64_t number);

/* ---- verify_roots.c: the checkpoints ---- */

enum root_kind { ROOT_STORED, ROOT_PRUNED, ROOT_SAVED };

/* What a checkpoint with a good signature says. */
struct root {
    uint64_t size;
    uint8_t hash[MERKLE_HASH_BYTES];
    enum root_kind kind;
    const char *file; /* of a saved one */
};

/* A saved note, of whatever node. */
struct saved_note {
    const char *file;
    const char *text;
    size_t len;
    char origin[NOTE_NAME_SIZE];
    bool used;
};

/* ---- verify_rows.c: the records of one node, and their tree ---- */

/* A record that does not hash to its leaf, or claims another place: it is not known yet which of
 * two things it is. */
struct doubt {
    int64_t seq;
    int64_t claims; /* the seq that a misplaced record says */
};

#define DOUBTS_MAX 100 /* those beyond are told of at once, as the worse of the two */

struct log {
    size_t node; /* its index in struct verify */
    const char *name;
    int64_t size_before;
    int64_t pruned;
    const char *pruned_note;
    int64_t next; /* the seq that comes next */
    bool chained; /* nothing was missing or misplaced: the tree must hold */
    bool began;
    struct stored_tree stored;
    struct merkle_frontier tree;     /* by the leaves as they are stored */
    struct merkle_frontier by_bytes; /* by the records, while there are altered ones: */
    struct doubt altered[DOUBTS_MAX];
    size_t altered_count;
    struct doubt misplaced[DOUBTS_MAX];
    size_t misplaced_count;
    uint8_t last_leaf[MERKLE_HASH_BYTES]; /* of the record before */
    struct root *roots;                   /* by size, once sorted */
    size_t root_count;
    size_t root_next;
    uint64_t proven[2];    /* the size of the last root that held: of all, and of saved ones */
    bool roots_off[2];     /* one did not hold, and so no later one can: stored, saved */
    uint64_t doubted_from; /* where the first altered interior node after the last root begins */
};

/* ---- verify_calls.c, verify_budget.c ---- */

/* A call that may hold a slot of a budget. Times on the boot clock of equal boots can be compared,
 * else the wall clocks. boot 0: not known. */
struct call_time {
    uint64_t boot;
    int64_t ms;
    int64_t wall_ms;
};

struct open_call {
    uint64_t hash; /* of its call_id */
    int64_t seq;   /* of its intent */
    size_t account;
    struct call_time taken;
};

/* A call that was counted at that time at the latest. */
struct counted_call {
    struct call_time at;
    int64_t after_ms;  /* the time since it was taken, if it is known; else 0 */
    int64_t window_ms; /* of the budget then: a longer one later does not hold it again */
};

/* One call on the wall clock, for comparing the logs of several nodes. */
struct interval {
    int64_t taken_ms;
    int64_t free_ms;
    struct place intent;
    int64_t requests;
};

struct budget_known {
    int64_t requests; /* 0: not known */
    int64_t window_ms;
};

struct account_book {
    char *name; /* as it stands in records, escapes as they are */
    size_t name_len;
    struct budget_known given;  /* by the configuration */
    struct budget_known logged; /* by this node's log */
    struct budget_known last;
    uint64_t calls;
    uint64_t unchecked;
    size_t open;
    struct counted_call *counted; /* those that may still hold a slot, and others */
    size_t counted_count;
    size_t counted_capacity;
    struct interval *intervals;
    size_t interval_count;
    size_t interval_capacity;
};

struct budgets {
    struct idmap accounts; /* name: index in books */
    struct account_book *books;
    size_t count;
    struct idmap open; /* call_id: index in calls; of this node */
    struct open_call *calls;
    size_t call_count;
    size_t call_capacity;
    bool restarted; /* node.started came since the last intent */
};

struct calls {
    struct idmap actions;
    struct idmap calls;
};

/* ---- All of it ---- */

struct verify {
    struct findings findings;
    bool several; /* nodes */
    bool partial; /* records are missing or cannot be believed: what they said is not known */
    struct note_verifier *keys;
    size_t key_count;
    struct saved_note *saved;
    size_t saved_count;
    uint64_t cut;
    struct verify_node_summary *nodes;
    size_t node_count;
    struct log log; /* of the present node */
    struct calls calls;
    struct budgets budgets;
};

/* What is wrong in the log of the present node. */
#define VERIFY_FIND(verify, seq, reason, ...)                                                      \
    VERIFY_FIND_REASON(verify, seq, FINDING_##reason, __VA_ARGS__)
#define VERIFY_FIND_REASON(verify, seq, reason, ...)                                               \
    findings_add(&(verify)->findings, (verify)->log.node, seq, reason, __VA_ARGS__)

/* verify_tree.c */
void stored_done(struct stored_tree *tree);
void stored_check_pruned(struct verify *verify);
void stored_check_end(struct verify *verify);

/* verify_roots.c */
void roots_read(struct verify *verify, enum root_kind kind, const char *file, int64_t size,
                const char *note, size_t len);
void roots_begin(struct verify *verify);
/* Compares those of the size that the tree has now. */
void roots_check(struct verify *verify);
void roots_end(struct verify *verify);

/* verify_rows.c */
void rows_begin(struct verify *verify);
void rows_add(struct verify *verify, const struct store_record *stored);
void rows_end(struct verify *verify);
/* Whether a hash that is stored or signed is that of the tree, by_leaf, or by the records
 * themselves, by_bytes; decides about altered records. */
bool rows_hold(struct verify *verify, const uint8_t *expected, const uint8_t *by_leaf,
               const uint8_t *by_bytes);

/* verify_calls.c: reads what a record says, which stands in its place. */
void calls_init(struct calls *calls);
void calls_done(struct calls *calls);
void calls_add(struct verify *verify, const struct record *record);
void calls_finish(struct verify *verify);

/* verify_budget.c. hash: of the call_id, in struct calls. */
void budgets_init(struct budgets *budgets);
void budgets_done(struct budgets *budgets);
struct account_book *budgets_book(struct budgets *budgets, const char *name, size_t len);
void budgets_begin_node(struct budgets *budgets);
void budgets_end_node(struct verify *verify);
void budgets_config(struct verify *verify, const struct record *record);
void budgets_started(struct verify *verify);
void budgets_intent(struct verify *verify, const struct record *record, uint64_t hash);
void budgets_outcome(struct verify *verify, const struct record *record, uint64_t hash);
void budgets_finish(struct verify *verify);

#endif
