"""What is stored of the audit log in an SQLite database: read as it is, in one snapshot, without
ever writing. Texts come as bytes, since what was tampered with need not be UTF-8."""
import sqlite3
import urllib.parse
from typing import NamedTuple

COLUMNS = {
    "audit": ("node", "seq", "record", "leaf"),
    "audit_tree": ("node", "level", "number", "hash"),
    "audit_checkpoints": ("node", "size", "note"),
    "audit_pruned": ("node", "size", "note"),
}


class Unreadable(Exception):
    """There is no such database, or it holds no audit log of this form."""


class Row(NamedTuple):
    seq: int
    record: bytes
    leaf: bytes


class CheckpointRow(NamedTuple):
    size: int
    note: bytes


class Store:
    def __init__(self, url):
        path = urllib.parse.quote(url.removeprefix("sqlite:"))
        try:
            self._sqlite = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
            self._sqlite.text_factory = bytes
            self._sqlite.execute("BEGIN")  # what follows sees one state of the database
            for table, columns in COLUMNS.items():
                self._sqlite.execute(f"SELECT {', '.join(columns)} FROM {table} LIMIT 0")
        except sqlite3.Error as error:
            raise Unreadable(f"{url}: {error}") from error

    def close(self):
        self._sqlite.close()

    def _select(self, sql, *values):
        try:
            yield from self._sqlite.execute(sql, values)
        except sqlite3.Error as error:
            raise Unreadable(str(error)) from error

    def nodes(self):
        """The names of all nodes that anything is stored of, in the order of their bytes."""
        return sorted({node for table in COLUMNS
                       for node, in self._select(f"SELECT DISTINCT node FROM {table}")})

    def records(self, node):
        return map(Row._make, self._select(
            "SELECT seq, record, leaf FROM audit WHERE node = CAST(? AS TEXT) ORDER BY seq", node))

    def tree(self, node):
        """{(level, number): hash}"""
        return {(level, number): hash for level, number, hash in self._select(
            "SELECT level, number, hash FROM audit_tree WHERE node = CAST(? AS TEXT)", node)}

    def checkpoints(self, node):
        """By the size of their rows."""
        return list(map(CheckpointRow._make, self._select(
            "SELECT size, note FROM audit_checkpoints WHERE node = CAST(? AS TEXT)"
            " ORDER BY size", node)))

    def pruned(self, node):
        """(size, note): records below size were dropped, under that checkpoint."""
        for found in self._select(
                "SELECT size, note FROM audit_pruned WHERE node = CAST(? AS TEXT)", node):
            return found
        return 0, None
