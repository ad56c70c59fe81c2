/* SQLite: the tables and every statement. All of it is static text. */
#include "store/sqlite_priv.h"

/* Applied in order, each in a transaction; each ends by saying its number. Never change one that
 * was released: add the next. */
const char *const sqlite_migrations[] = {
    /* number is the order of submission (times can be equal). finished_ms 0: unfinished. */
    "CREATE TABLE actions ("
    "  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, account TEXT NOT NULL,"
    "  team TEXT NOT NULL, client TEXT NOT NULL, key_id TEXT, request_id TEXT,"
    "  state TEXT NOT NULL, submitted_ms INTEGER NOT NULL, finished_ms INTEGER NOT NULL,"
    "  priority INTEGER NOT NULL, reason TEXT, rule TEXT, request TEXT NOT NULL, results TEXT,"
    "  problem TEXT, call_id TEXT) STRICT;"
    "CREATE INDEX actions_open ON actions (account, number) WHERE finished_ms = 0;"
    "CREATE TABLE grants ("
    "  number INTEGER PRIMARY KEY, call_id TEXT NOT NULL UNIQUE, account TEXT NOT NULL,"
    "  boot_id TEXT NOT NULL, taken_boot_ms INTEGER NOT NULL, taken_wall_ms INTEGER NOT NULL,"
    "  answered_boot_ms INTEGER NOT NULL, answered_wall_ms INTEGER NOT NULL) STRICT;"
    "CREATE INDEX grants_account ON grants (account, number);"
    "CREATE TABLE audit ("
    "  node TEXT NOT NULL, seq INTEGER NOT NULL, record BLOB NOT NULL,"
    "  PRIMARY KEY (node, seq)) STRICT;"
    /* The number of the last group that a node committed; see sqlite_write.c. */
    "CREATE TABLE marks (node TEXT PRIMARY KEY, mark INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "PRAGMA user_version = 1",

    /* An index ends with the rowid (here: number) by itself, so these three give the pages of each
     * kind of listing in order. */
    "ALTER TABLE actions ADD COLUMN deadline_ms INTEGER NOT NULL DEFAULT 0;"
    "CREATE INDEX actions_team ON actions (team);"
    "CREATE INDEX actions_state ON actions (state);"
    "CREATE INDEX actions_team_state ON actions (team, state);"
    "CREATE TABLE idempotency ("
    "  team TEXT NOT NULL, key TEXT NOT NULL, body_sha256 TEXT NOT NULL,"
    "  action_id TEXT NOT NULL REFERENCES actions (id), expires_ms INTEGER NOT NULL,"
    "  PRIMARY KEY (team, key)) STRICT, WITHOUT ROWID;"
    "ALTER TABLE grants ADD COLUMN detail TEXT;"
    "CREATE INDEX idempotency_expires ON idempotency (expires_ms);"
    "PRAGMA user_version = 2",

    /* What an older gateway knew of an action under way was in its memory only: {} says that
     * nothing is known of it, not even which of its devices went. */
    "ALTER TABLE actions ADD COLUMN progress TEXT;"
    "UPDATE actions SET progress = '{}' WHERE finished_ms = 0 AND state = 'dispatched';"
    "PRAGMA user_version = 3",

    /* leaf_hash() is ours: sqlite.c. Interior nodes that are missing are made at the next commit.
     */
    "CREATE TABLE audit_log ("
    "  node TEXT NOT NULL, seq INTEGER NOT NULL, record BLOB NOT NULL, leaf BLOB NOT NULL,"
    "  PRIMARY KEY (node, seq)) STRICT;"
    "INSERT INTO audit_log SELECT node, seq, record, leaf_hash(record) FROM audit ORDER BY rowid;"
    "DROP TABLE audit;"
    "ALTER TABLE audit_log RENAME TO audit;"
    "CREATE TABLE audit_tree ("
    "  node TEXT NOT NULL, level INTEGER NOT NULL, number INTEGER NOT NULL, hash BLOB NOT NULL,"
    "  PRIMARY KEY (node, level, number)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE audit_checkpoints ("
    "  node TEXT NOT NULL, size INTEGER NOT NULL, note TEXT NOT NULL,"
    "  PRIMARY KEY (node, size)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE audit_segments ("
    "  node TEXT NOT NULL, segment INTEGER NOT NULL, first_ms INTEGER NOT NULL,"
    "  last_ms INTEGER NOT NULL, PRIMARY KEY (node, segment)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE audit_keys ("
    "  node TEXT NOT NULL, segment INTEGER NOT NULL, bucket INTEGER NOT NULL, keys BLOB NOT NULL,"
    "  PRIMARY KEY (node, segment, bucket)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE audit_pruned ("
    "  node TEXT PRIMARY KEY, size INTEGER NOT NULL, note TEXT NOT NULL) STRICT;"
    "CREATE TABLE audit_streams ("
    "  name TEXT NOT NULL, node TEXT NOT NULL, seq INTEGER NOT NULL,"
    "  PRIMARY KEY (name, node)) STRICT, WITHOUT ROWID;"
    "PRAGMA user_version = 4",
};

const int sqlite_migration_count = (int)ARRAY_LEN(sqlite_migrations);

#define ACTION_COLUMNS                                                                             \
    "id, account, team, client, key_id, request_id, state, submitted_ms, finished_ms, priority, "  \
    "deadline_ms, reason, rule, request, results, problem, call_id, progress"

#define LIST_ACTIONS "SELECT " ACTION_COLUMNS ", number FROM actions WHERE number < ?1"
#define LIST_ORDER   " ORDER BY number DESC LIMIT ?2"

const char *const sqlite_sql[SQL_COUNT] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_SAVEPOINT] = "SAVEPOINT one",
    [SQL_SAVEPOINT_RELEASE] = "RELEASE one",
    [SQL_SAVEPOINT_UNDO] = "ROLLBACK TO one",
    [SQL_SET_MARK] = "INSERT INTO marks (node, mark) VALUES (?1, ?2)"
                     " ON CONFLICT (node) DO UPDATE SET mark = ?2",
    [SQL_ADD_ACTION] =
        "INSERT INTO actions (" ACTION_COLUMNS ") VALUES"
        " (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
    [SQL_SET_STATE] = "UPDATE actions SET state = ?2, call_id = ifnull(?3, call_id)"
                      " WHERE id = ?1 AND finished_ms = 0",
    [SQL_SET_PROGRESS] = "UPDATE actions SET state = ?2, progress = ?3"
                         " WHERE id = ?1 AND finished_ms = 0",
    [SQL_FINISH_ACTION] = "UPDATE actions SET state = ?2, finished_ms = ?3, results = ?4,"
                          " problem = ?5, progress = NULL WHERE id = ?1 AND finished_ms = 0",
    /* A key that is there and has not expired stays: then nothing changes. */
    [SQL_ADD_IDEMPOTENCY] = "INSERT INTO idempotency (team, key, body_sha256, action_id,"
                            " expires_ms) VALUES (?1, ?2, ?3, ?4, ?5)"
                            " ON CONFLICT (team, key) DO UPDATE SET body_sha256 = ?3,"
                            " action_id = ?4, expires_ms = ?5 WHERE expires_ms <= ?6",
    [SQL_DROP_EXPIRED] = "DELETE FROM idempotency WHERE (team, key) IN (SELECT team, key"
                         " FROM idempotency WHERE expires_ms <= ?1 ORDER BY expires_ms LIMIT ?2)",
    [SQL_ADD_GRANT] = "INSERT INTO grants (call_id, account, boot_id, taken_boot_ms,"
                      " taken_wall_ms, answered_boot_ms, answered_wall_ms, detail)"
                      " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [SQL_ANSWER_GRANT] = "UPDATE grants SET answered_boot_ms = ?2, answered_wall_ms = ?3"
                         " WHERE call_id = ?1",
    [SQL_DROP_GRANT] = "DELETE FROM grants WHERE call_id = ?1",
    [SQL_ADD_RECORD] = "INSERT INTO audit (node, seq, record, leaf) VALUES (?1, ?2, ?3, ?4)",
    [SQL_ADD_HASH] = "INSERT OR IGNORE INTO audit_tree (node, level, number, hash)"
                     " VALUES (?1, ?2, ?3, ?4)",
    [SQL_ADD_CHECKPOINT] =
        "INSERT OR REPLACE INTO audit_checkpoints (node, size, note) VALUES (?1, ?2, ?3)",
    /* Over what is there: of an index, half may be lost. */
    [SQL_ADD_SEGMENT] = "INSERT OR REPLACE INTO audit_segments (node, segment, first_ms, last_ms)"
                        " VALUES (?1, ?2, ?3, ?4)",
    [SQL_ADD_KEYS] = "INSERT OR REPLACE INTO audit_keys (node, segment, bucket, keys)"
                     " VALUES (?1, ?2, ?3, ?4)",
    [SQL_SET_STREAM] = "INSERT INTO audit_streams (name, node, seq) VALUES (?1, ?2, ?3)"
                       " ON CONFLICT (name, node) DO UPDATE SET seq = ?3",
    [SQL_SET_PRUNED] = "INSERT INTO audit_pruned (node, size, note) VALUES (?1, ?2, ?3)"
                       " ON CONFLICT (node) DO UPDATE SET size = ?2, note = ?3",
    [SQL_PRUNE_RECORDS] = "DELETE FROM audit WHERE node = ?1 AND seq < ?2",
    [SQL_PRUNE_KEYS] = "DELETE FROM audit_keys WHERE node = ?1 AND segment < ?2",
    [SQL_PRUNE_SEGMENTS] = "DELETE FROM audit_segments WHERE node = ?1 AND segment < ?2",
    [SQL_READ_SIZES] = "SELECT DISTINCT size FROM audit_checkpoints"
                       " WHERE node = ?1 AND size > ?2 AND size < ?3 ORDER BY size",
    [SQL_GET_MARK] = "SELECT ifnull(max(mark), 0) FROM marks WHERE node = ?1",
    [SQL_LAST_SEQ] = "SELECT ifnull(max(seq), -1) FROM audit WHERE node = ?1",

    [SQL_READ_ACTION] = "SELECT " ACTION_COLUMNS " FROM actions WHERE id = ?1",
    [SQL_READ_IDEMPOTENCY] = "SELECT " ACTION_COLUMNS ", body_sha256, expires_ms"
                             " FROM (SELECT action_id, body_sha256, expires_ms FROM idempotency"
                             " WHERE team = ?1 AND key = ?2 AND expires_ms > ?3)"
                             " JOIN actions ON id = action_id",
    [SQL_LIST_ACTIONS] = LIST_ACTIONS LIST_ORDER,
    [SQL_LIST_ACTIONS_OF_TEAM] = LIST_ACTIONS " AND team = ?3" LIST_ORDER,
    [SQL_LIST_ACTIONS_IN_STATE] = LIST_ACTIONS " AND state = ?4" LIST_ORDER,
    [SQL_LIST_ACTIONS_OF_TEAM_IN_STATE] = LIST_ACTIONS " AND team = ?3 AND state = ?4" LIST_ORDER,
    [SQL_LOAD_ACCOUNTS] = "SELECT account FROM actions WHERE finished_ms = 0"
                          " UNION SELECT account FROM grants ORDER BY account",
    [SQL_LOAD_OPEN_ACTIONS] = "SELECT " ACTION_COLUMNS " FROM actions"
                              " WHERE account = ?1 AND finished_ms = 0 ORDER BY number",
    [SQL_LOAD_GRANTS] = "SELECT call_id, account, boot_id, taken_boot_ms, taken_wall_ms,"
                        " answered_boot_ms, answered_wall_ms, detail FROM grants"
                        " WHERE account = ?1 ORDER BY number",
    [SQL_FIRST_NODE] = "SELECT min(node) FROM (SELECT min(node) AS node FROM audit"
                       " UNION ALL SELECT min(node) FROM audit_tree"
                       " UNION ALL SELECT min(node) FROM audit_checkpoints"
                       " UNION ALL SELECT min(node) FROM audit_pruned)",
    [SQL_NEXT_NODE] = "SELECT min(node) FROM (SELECT min(node) AS node FROM audit WHERE node > ?1"
                      " UNION ALL SELECT min(node) FROM audit_tree WHERE node > ?1"
                      " UNION ALL SELECT min(node) FROM audit_checkpoints WHERE node > ?1"
                      " UNION ALL SELECT min(node) FROM audit_pruned WHERE node > ?1)",
    [SQL_READ_RECORDS] = "SELECT seq, record, leaf FROM audit"
                         " WHERE node = ?1 AND seq >= ?2 AND seq <= ?3 ORDER BY seq LIMIT ?4",
    [SQL_READ_RECORDS_BACK] =
        "SELECT seq, record, leaf FROM audit"
        " WHERE node = ?1 AND seq >= ?2 AND seq <= ?3 ORDER BY seq DESC LIMIT ?4",
    [SQL_READ_LEAVES] = "SELECT leaf FROM audit WHERE node = ?1 AND seq >= ?2 AND seq < ?3"
                        " ORDER BY seq",
    [SQL_READ_END] = "SELECT ifnull(max(seq), -1) + 1 FROM audit WHERE node = ?1",
    [SQL_READ_HASHES] = "SELECT level, number, hash FROM audit_tree"
                        " WHERE node = ?1 AND (level, number) >= (?2, ?3)"
                        " ORDER BY level, number LIMIT ?4",
    [SQL_READ_CHECKPOINTS] = "SELECT size, note FROM audit_checkpoints"
                             " WHERE node = ?1 AND size > ?2 ORDER BY size LIMIT ?3",
    [SQL_LAST_CHECKPOINT] = "SELECT size, note FROM audit_checkpoints"
                            " WHERE node = ?1 ORDER BY size DESC LIMIT 1",
    [SQL_READ_PRUNED] = "SELECT size, note FROM audit_pruned WHERE node = ?1",
    [SQL_READ_STREAM] = "SELECT seq FROM audit_streams WHERE name = ?1 AND node = ?2",
    [SQL_READ_SEGMENT] = "SELECT first_ms, last_ms FROM audit_segments"
                         " WHERE node = ?1 AND segment = ?2",
    [SQL_READ_KEYS] = "SELECT keys FROM audit_keys"
                      " WHERE node = ?1 AND segment = ?2 AND bucket = ?3",
    [SQL_LAST_SEGMENT] = "SELECT ifnull(max(segment), -1) FROM audit_segments WHERE node = ?1",
};
