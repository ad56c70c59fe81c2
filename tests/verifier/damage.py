"""Damages the audit log in a copy of a database, each time in one way, and says what of it a
verifier has to find: which seq first, and which reasons are right.

Every damage takes an open connection, whose database has one node, and a random.Random."""
import base64
import json
import re
import sqlite3
from typing import NamedTuple

import kept
import merkle
from problem import name_text

# Every field of the log. The index is for searching only: it says nothing that the records do not.
FIELDS = {
    "audit": ("node", "seq", "record", "leaf"),
    "audit_tree": ("node", "level", "number", "hash"),
    "audit_checkpoints": ("node", "size", "note"),
}
NOTE_REASONS = {"checkpoint-malformed", "signature-invalid", "key-unknown"}


class Expected(NamedTuple):
    """What has to be found: the first bad seq is one of those, the reason told of it too."""
    what: str
    places: set  # of (node, seq)
    reasons: set

    def fits(self, node, seq, reason):
        return (node, seq) in self.places and reason in self.reasons


def open_copy(path):
    sqlite = sqlite3.connect(path, isolation_level=None)
    sqlite.execute("PRAGMA synchronous = OFF")
    sqlite.execute("PRAGMA journal_mode = MEMORY")
    return sqlite


def node_of(sqlite):
    (node,), = sqlite.execute("SELECT DISTINCT node FROM audit")
    return node


def size_of(sqlite):
    return sqlite.execute("SELECT count(*) FROM audit").fetchone()[0]


# ---- One byte ----

def change_byte(sqlite, random):
    """One byte of one field of one row, all of them drawn; numbers have eight bytes."""
    table, column = random.choice([(table, column) for table, columns in FIELDS.items()
                                   for column in columns])
    row = random.choice(rows_of(sqlite, table))
    before = as_bytes(row[column])
    at = random.randrange(len(before))
    byte = random.choice([value for value in range(256) if value != before[at]])
    try:
        return put_byte(sqlite, table, column, row, at, byte)
    except sqlite3.IntegrityError:  # another row is there
        return change_byte(sqlite, random)


def put_nul(sqlite, random, table):
    """A byte that is nothing, in the name of the node of a row."""
    row = random.choice(rows_of(sqlite, table))
    return put_byte(sqlite, table, "node", row, random.randrange(len(row["node"])), 0)


def put_byte(sqlite, table, column, row, at, byte):
    before = as_bytes(row[column])
    after = before[:at] + bytes([byte]) + before[at + 1:]
    value, slot = {bytes: (after, "?"), str: (after, "CAST(? AS TEXT)"),
                   int: (int.from_bytes(after, "big", signed=True), "?")}[type(row[column])]
    sqlite.execute(f"UPDATE {table} SET {column} = {slot} WHERE {key_of(table)}",
                   (value, *key_values(table, row)))
    where = ", ".join(map(str, key_values(table, row)))
    return expect_changed(sqlite, table, column, row, value,
                          f"byte {at} of {table}.{column} of ({where}) became {byte}")


def rows_of(sqlite, table):
    cursor = sqlite.execute(f"SELECT * FROM {table}")
    names = [name for name, *_ in cursor.description]
    return [dict(zip(names, row)) for row in cursor]


KEYS = {"audit": ("node", "seq"), "audit_tree": ("node", "level", "number"),
        "audit_checkpoints": ("node", "size")}


def key_of(table):
    return " AND ".join(f"{name} = ?" for name in KEYS[table])


def key_values(table, row):
    return [row[name] for name in KEYS[table]]


def as_bytes(value):
    if isinstance(value, int):
        return value.to_bytes(8, "big", signed=True)
    return value.encode() if isinstance(value, str) else value


def expect_changed(sqlite, table, column, row, value, what):
    """What a changed field must lead to."""
    node = row["node"]
    if table == "audit":
        seq = row["seq"]
        expected = {
            "record": Expected(what, {(node, seq)}, {"record-altered"}),
            "leaf": Expected(what, {(node, seq)}, {"leaf-altered", "record-altered"}),
            "seq": expect_missing(sqlite, node, seq, what),
            "node": expect_missing(sqlite, node, seq, what)}[column]
        alone = {(seq, "record-misplaced")}
    elif table == "audit_tree":
        start = kept.start_of(row["level"], row["number"])
        expected = Expected(what, {(node, start)}, {"tree-altered"})
        alone = {(0, "truncated")}
    else:
        expected = Expected(what, {(node, row["size"])}, NOTE_REASONS)
        alone = {(row["size"], reason) for reason in NOTE_REASONS}
    if column == "node":  # the row is missed there, and stands alone here
        expected.places.update((name_text(value), seq) for seq, _ in alone)
        expected.reasons.update(reason for _, reason in alone)
    return expected


def expect_missing(sqlite, node, seq, what):
    """A row is not where it was: a gap, or at the end a log that is too short."""
    behind = sqlite.execute("SELECT count(*) FROM audit WHERE node = ? AND seq = ?",
                            (node, seq + 1)).fetchone()[0]
    return Expected(what, {(node, seq)}, {"seq-gap" if behind else "truncated"})


# ---- Rows ----

def delete_row(sqlite, random):
    node, seq = node_of(sqlite), random.randrange(size_of(sqlite))
    sqlite.execute("DELETE FROM audit WHERE seq = ?", (seq,))
    return expect_missing(sqlite, node, seq, f"row {seq} deleted")


def cut_tail(sqlite, random):
    """The last records, as far back as a checkpoint that somebody keeps still covers them; what
    else is stored of them goes too."""
    node, size = node_of(sqlite), size_of(sqlite)
    seq = random.randrange(1, size)
    sqlite.execute("DELETE FROM audit WHERE seq >= ?", (seq,))
    sqlite.execute("DELETE FROM audit_checkpoints WHERE size > ?", (seq,))
    sqlite.execute("DELETE FROM audit_tree WHERE ((number + 1) << level) > ?", (seq,))
    return Expected(f"cut at {seq} of {size}", {(node, seq)}, {"truncated"})


def insert_row(sqlite, random):
    """A forged record with its true leaf, at a place from which all others move on by one."""
    node, seq = node_of(sqlite), random.randrange(size_of(sqlite))
    record = random_record(sqlite, random, seq, event="request.refused")
    move_on(sqlite, seq)
    put_row(sqlite, node, seq, record)
    expected = Expected(f"a row inserted at {seq}", {(node, seq + 1)}, {"record-misplaced"})
    (roots,), = sqlite.execute("SELECT count(*) FROM audit_checkpoints WHERE size = ?", (seq + 1,))
    if roots or (seq + 1) % (1 << kept.LEVEL_STEP) == 0:  # the tree knows before the next record
        expected.places.update(unproven(sqlite, node, seq))
        expected.reasons.update({"root-mismatch", "forked", "tree-altered"})
    return expected


def duplicate_row(sqlite, random):
    """The same row once more, behind itself."""
    node, seq = node_of(sqlite), random.randrange(size_of(sqlite))
    (record,), = sqlite.execute("SELECT record FROM audit WHERE seq = ?", (seq,))
    move_on(sqlite, seq)
    put_row(sqlite, node, seq, record)
    return Expected(f"row {seq} doubled", {(node, seq + 1)}, {"record-misplaced", "seq-duplicate"})


def duplicate_key(sqlite, random):
    """The same row once more, in its own place, in a table that lets that happen."""
    node, seq = node_of(sqlite), random.randrange(size_of(sqlite))
    sqlite.executescript("""
        CREATE TABLE other (node TEXT NOT NULL, seq INTEGER NOT NULL, record BLOB NOT NULL,
                            leaf BLOB NOT NULL) STRICT;
        INSERT INTO other SELECT node, seq, record, leaf FROM audit;
        DROP TABLE audit;
        ALTER TABLE other RENAME TO audit;
        CREATE INDEX audit_of_node ON audit (node, seq)""")
    sqlite.execute("INSERT INTO audit SELECT * FROM audit WHERE seq = ?", (seq,))
    return Expected(f"row {seq} is there twice", {(node, seq)}, {"seq-duplicate"})


def swap_rows(sqlite, random):
    """Two rows change places, each with its leaf."""
    node = node_of(sqlite)
    one, two = sorted(random.sample(range(size_of(sqlite)), 2))
    sqlite.execute("UPDATE audit SET seq = -1 WHERE seq = ?", (one,))
    sqlite.execute("UPDATE audit SET seq = ? WHERE seq = ?", (one, two))
    sqlite.execute("UPDATE audit SET seq = ? WHERE seq = -1", (two,))
    return Expected(f"rows {one} and {two} swapped", {(node, one)}, {"record-misplaced"})


def forge_row(sqlite, random):
    """A record is rewritten with a true leaf: only the tree over it knows."""
    node, seq = node_of(sqlite), random.randrange(covered(sqlite))
    record = random_record(sqlite, random, seq)
    sqlite.execute("DELETE FROM audit WHERE seq = ?", (seq,))
    put_row(sqlite, node, seq, record)
    return Expected(f"record {seq} forged with its leaf", unproven(sqlite, node, seq),
                    {"tree-altered", "root-mismatch"})


def delete_node(sqlite, random):
    row = random.choice(rows_of(sqlite, "audit_tree"))
    sqlite.execute(f"DELETE FROM audit_tree WHERE {key_of('audit_tree')}",
                   key_values("audit_tree", row))
    start = kept.start_of(row["level"], row["number"])
    return Expected(f"inner node {row['level'], row['number']} deleted", {(row["node"], start)},
                    {"tree-altered"})


def swap_notes(sqlite, random):
    """Two checkpoints, whole rows, in each other's place."""
    one, two = sorted(random.sample(rows_of(sqlite, "audit_checkpoints"), 2),
                      key=lambda row: row["size"])
    for to, row in ((one, two), (two, one)):
        sqlite.execute("UPDATE audit_checkpoints SET note = ? WHERE node = ? AND size = ?",
                       (row["note"], to["node"], to["size"]))
    return Expected(f"notes of {one['size']} and {two['size']} swapped",
                    {(row["node"], row["size"]) for row in (one, two)},
                    {"checkpoint-malformed"})


def put_row(sqlite, node, seq, record):
    sqlite.execute("INSERT INTO audit (node, seq, record, leaf) VALUES (?, ?, ?, ?)",
                   (node, seq, record, merkle.leaf_hash(record)))


def move_on(sqlite, seq):
    """Makes room for one at seq. In two steps, since no two rows may ever have one seq."""
    sqlite.execute("UPDATE audit SET seq = -seq - 2 WHERE seq >= ?", (seq,))
    sqlite.execute("UPDATE audit SET seq = -seq - 1 WHERE seq < 0")


def random_record(sqlite, random, seq, **fields):
    """The record of that place, with another reason and those fields."""
    (text,), = sqlite.execute("SELECT record FROM audit WHERE seq = ?", (seq,))
    record = {**json.loads(text), "reason": f"forged {random.random()}", **fields}
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()


def covered(sqlite):
    return sqlite.execute("SELECT max(size) FROM audit_checkpoints").fetchone()[0]


def unproven(sqlite, node, seq):
    """The places that may be told when all that is known is that a root behind seq is wrong: the
    first that no root before proves, or the first of its inner node."""
    (proven,), = sqlite.execute(
        "SELECT ifnull(max(size), 0) FROM audit_checkpoints WHERE size <= ?", (seq,))
    return {(node, proven), (node, seq >> kept.LEVEL_STEP << kept.LEVEL_STEP)}


# ---- History rewritten ----

def rewrite(sqlite, random, sign=None, reason=None):
    """From some record on everything is made anew, as if it had been so: the record, the leaf,
    the tree, and the checkpoints, which sign(origin, text) makes into notes. Without it there are
    none any more: then only a saved checkpoint knows. reason: what is wrong with those notes."""
    node, seq = node_of(sqlite), random.randrange(covered(sqlite))
    places, reasons = unproven(sqlite, node, seq), {"forked"}
    if reason is not None:
        (first,), = sqlite.execute("SELECT min(size) FROM audit_checkpoints")
        places.add((node, first))
        reasons.add(reason)
    record = random_record(sqlite, random, seq)
    sqlite.execute("UPDATE audit SET record = ?, leaf = ? WHERE seq = ?",
                   (record, merkle.leaf_hash(record), seq))
    make_tree_anew(sqlite, node, sign)
    return Expected(f"history rewritten from {seq}", places, reasons)


def make_tree_anew(sqlite, node, sign):
    checkpoints = rows_of(sqlite, "audit_checkpoints") if sign else []
    sqlite.execute("DELETE FROM audit_tree")
    sqlite.execute("DELETE FROM audit_checkpoints")
    tree = merkle.Tree()
    for leaf, in sqlite.execute("SELECT leaf FROM audit ORDER BY seq").fetchall():
        for level, number, hash in tree.add(leaf):
            if kept.is_stored_level(level):
                sqlite.execute("INSERT INTO audit_tree VALUES (?, ?, ?, ?)",
                               (node, level, number, hash))
        for row in checkpoints:
            if row["size"] == tree.size:
                row["note"] = sign("tollgate/" + node, text_at(row["note"], tree))
                sqlite.execute("INSERT INTO audit_checkpoints (node, size, note)"
                               " VALUES (:node, :size, :note)", row)


def text_at(note, tree):
    """The text of a note, with the root of another tree."""
    origin, size = re.match(r"(.*)\n(\d+)\n", note).groups()
    assert int(size) == tree.size
    return f"{origin}\n{size}\n{base64.b64encode(tree.root()).decode()}\n"


ROW_DAMAGES = (delete_row, cut_tail, insert_row, duplicate_row, duplicate_key, swap_rows,
               forge_row, delete_node, swap_notes)
