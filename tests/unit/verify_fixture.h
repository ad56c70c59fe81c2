/* An audit log in memory for the tests of its verification: made well, then damaged. */
#ifndef VERIFY_FIXTURE_H
#define VERIFY_FIXTURE_H

#include "gateway/verify.h"

#define LOG_ROWS_MAX   2048
#define LOG_HASHES_MAX 600
#define LOG_NOTES_MAX  200

struct log_row {
    char node[32];
    int64_t seq;
    char *bytes;
    size_t len;
    uint8_t leaf[STORE_HASH_BYTES];
    size_t leaf_len;
};

struct log_hash {
    char node[32];
    int64_t level;
    int64_t number;
    uint8_t hash[STORE_HASH_BYTES];
    size_t len;
};

struct log_note {
    char node[32];
    int64_t size;
    char *text;
    size_t len;
};

struct fake_log {
    struct log_row rows[LOG_ROWS_MAX];
    size_t row_count;
    struct log_hash hashes[LOG_HASHES_MAX];
    size_t hash_count;
    struct log_note notes[LOG_NOTES_MAX];
    size_t note_count;
    int64_t pruned; /* of the first node */
    char *pruned_note;
};

/* One key for all tests, made on first use; its name is "". */
const struct note_verifier *log_key(void);

/* Frees what the log has. Zero it to start. */
void log_done(struct fake_log *log);
void log_copy(struct fake_log *to, const struct fake_log *from);

/* Appends a record to a node's log, in its place: the rest of its JSON object after the time, with
 * the braces and its clock at ms. No tree: log_seal() makes that. */
struct log_row *log_add(struct fake_log *log, const char *node, int64_t ms, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The usual records. ms: the clock. */
void log_start(struct fake_log *log, const char *node, int64_t ms, int requests);
void log_accept(struct fake_log *log, const char *node, int64_t ms, int action);
void log_intent(struct fake_log *log, const char *node, int64_t ms, int call, int action);
void log_outcome(struct fake_log *log, const char *node, int64_t ms, int call, bool sent);
void log_finish(struct fake_log *log, const char *node, int64_t ms, int action);

/* Makes leaves, tree and signed checkpoints, after every `every` records and at the end, anew. */
void log_seal(struct fake_log *log, const char *node, size_t every);

/* A good log of `actions` actions in calls of their own, sealed; about 4 records for each. */
void log_make(struct fake_log *log, const char *node, int actions);

/* The notes of a log, as a file has them. The caller frees. */
char *log_saved(const struct fake_log *log);

/* Verifies it, with log_key() unless told otherwise; saved may be NULL. The caller frees. */
struct verify *log_verify(const struct fake_log *log, const char *saved);
struct verify *log_verify_with(const struct fake_log *log, const char *saved,
                               const struct note_verifier *with);

/* Fails the test unless nothing was found, or this first. Frees verify. */
void assert_good(struct verify *verify);
void assert_first(struct verify *verify, int64_t seq, const char *reason);

#endif
