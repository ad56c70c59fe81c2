"""Writes audit logs that tollgate did not write, for tests: the tables as they are stored, records
as the gateway makes them, and checkpoints signed by openssl."""
import base64
import datetime
import json
import pathlib
import sqlite3
import subprocess
import tempfile

import kept
import merkle
import note as notes

TABLES = """
CREATE TABLE audit (
  node TEXT NOT NULL, seq INTEGER NOT NULL, record BLOB NOT NULL, leaf BLOB NOT NULL,
  PRIMARY KEY (node, seq)) STRICT;
CREATE TABLE audit_tree (
  node TEXT NOT NULL, level INTEGER NOT NULL, number INTEGER NOT NULL, hash BLOB NOT NULL,
  PRIMARY KEY (node, level, number)) STRICT, WITHOUT ROWID;
CREATE TABLE audit_checkpoints (
  node TEXT NOT NULL, size INTEGER NOT NULL, note TEXT NOT NULL,
  PRIMARY KEY (node, size)) STRICT, WITHOUT ROWID;
CREATE TABLE audit_segments (
  number INTEGER PRIMARY KEY, node TEXT NOT NULL, segment INTEGER NOT NULL,
  first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, keys BLOB NOT NULL,
  UNIQUE (node, segment)) STRICT;
CREATE TABLE audit_pruned (node TEXT PRIMARY KEY, size INTEGER NOT NULL, note TEXT NOT NULL) STRICT;
"""
START_MS = 1795557600000  # 2026-11-24T22:00:00Z
WINDOW_S = 60


def write_database(path):
    sqlite = sqlite3.connect(path, isolation_level=None)
    sqlite.executescript("PRAGMA synchronous = OFF;" + TABLES)
    return sqlite


class SigningKey:
    def __init__(self, folder):
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.private, self.pem = folder / "private.pem", folder / "public.pem"
        openssl("genpkey", "-algorithm", "ed25519", "-out", self.private)
        openssl("pkey", "-in", self.private, "-pubout", "-out", self.pem)
        self.public = notes.parse_key(self.pem.read_text(encoding="ascii")).public

    def verifier(self):
        return notes.Key(None, self.public)

    def sign(self, name, text, id=None):
        """The note: the text, and a signature line under that name."""
        with tempfile.NamedTemporaryFile() as message:
            message.write(text.encode())
            message.flush()
            signature = openssl("pkeyutl", "-sign", "-inkey", self.private, "-rawin",
                                "-in", message.name)
        id = notes.key_id(name, self.public) if id is None else id
        return f"{text}\n\u2014 {name} {base64.b64encode(id + signature).decode()}\n"


def openssl(*arguments):
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True).stdout


def checkpoint_text(origin, tree):
    return f"{origin}\n{tree.size}\n{base64.b64encode(tree.root()).decode()}\n"


def wall_text(wall_ms):
    time = datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=wall_ms)
    return time.isoformat(timespec="milliseconds") + "Z"


class Forge:
    """The log of one node, appended to; now_ms is its clock since boot, wall_ms what the wall clock
    is ahead of that."""

    def __init__(self, sqlite, key, node="gw-1", boot="boot-1"):
        self.sqlite, self.key, self.node, self.boot = sqlite, key, node, boot
        self.tree = merkle.Tree()
        self.now_ms = self.wall_ms = 0
        self.numbers = 0
        self.notes = []
        self.nodes = {}  # (level, number): hash, of all complete nodes
        self.sizes = []  # of the checkpoints

    # ---- As it is stored ----

    def add(self, event, **fields):
        """Adds a record and returns its seq."""
        seq = self.tree.size
        record = {"v": 1, "node": self.node, "seq": seq, "time": wall_text(self.wall()),
                  "event": event, **fields}
        self.add_bytes(json.dumps(record, separators=(",", ":")).encode())
        return seq

    def add_bytes(self, record):
        leaf = merkle.leaf_hash(record)
        self.sqlite.execute("INSERT INTO audit VALUES (?, ?, ?, ?)",
                            (self.node, self.tree.size, record, leaf))
        self.nodes[0, self.tree.size] = leaf
        for level, number, hash in self.tree.add(leaf):
            self.nodes[level, number] = hash
            if kept.is_stored_level(level):
                self.sqlite.execute("INSERT INTO audit_tree VALUES (?, ?, ?, ?)",
                                    (self.node, level, number, hash))

    def checkpoint(self, sign=None):
        """Adds one over all records, and returns its note."""
        origin = "tollgate/" + self.node
        note = (sign or self.key.sign)(origin, checkpoint_text(origin, self.tree))
        self.sqlite.execute(
            "INSERT OR REPLACE INTO audit_checkpoints (node, size, note) VALUES (?, ?, ?)",
            (self.node, self.tree.size, note))
        self.notes.append(note)
        self.sizes.append(self.tree.size)
        return note

    def prune(self, size):
        """Drops the records below size under the last checkpoint, and leaves what those before
        need to be proven."""
        for old in self.sizes:
            start = 0
            for level in reversed(range(kept.LEVELS)):
                if old < size and old >> level & 1:
                    place = (level, start >> level)
                    self.sqlite.execute("INSERT OR IGNORE INTO audit_tree VALUES (?, ?, ?, ?)",
                                        (self.node, *place, self.nodes[place]))
                    start += 1 << level
        self.sqlite.execute("DELETE FROM audit WHERE node = ? AND seq < ?", (self.node, size))
        self.sqlite.execute("INSERT INTO audit_pruned VALUES (?, ?, ?)",
                            (self.node, size, self.notes[-1]))

    def saved(self):
        """The file of all checkpoints."""
        return "".join(note + "\n" for note in self.notes).encode()

    # ---- What a gateway does ----

    def start(self, requests=10, window_s=WINDOW_S):
        self.add("node.started")
        self.add("config.loaded", detail={"sha256": "0" * 64, "accounts": {
            "main": {"requests": requests, "window_s": window_s}}})

    def id(self, kind):
        self.numbers += 1
        return f"{kind}_{self.node}_{self.numbers}"

    def wall(self):
        return START_MS + self.wall_ms + self.now_ms

    def clock(self, ahead_ms=0):
        return {"boot_id": self.boot, "ms": self.now_ms + ahead_ms}

    def accept(self):
        action = self.id("act")
        self.add("action.accepted", action_id=action, account="main", action="exempt",
                 devices=["d-1", "d-2"], params={"exempt_time": 24}, decision="allow",
                 rule="ops/0", client="script", key_id="k1", team="ops", remote="127.0.0.1")
        return action

    def intend(self, *actions, call=None):
        call = call or self.id("call")
        self.add("call.intent", call_id=call, account="main", action="exempt",
                 devices=["d-1", "d-2"], params={"exempt_time": 24},
                 detail={"actions": list(actions), "clock": self.clock()})
        return call

    def outcome(self, call, *actions, outcome="ok", nothing_sent=False, ahead_ms=0):
        detail = {"actions": list(actions), "nothing_sent": nothing_sent}
        if not nothing_sent:
            detail["clock"] = self.clock(ahead_ms)
        self.add("call.outcome", call_id=call, account="main", outcome=outcome,
                 upstream_status=200, detail=detail)

    def run(self, latency_ms=200):
        """One action from its acceptance to its end, in four records."""
        action = self.accept()
        call = self.intend(action)
        self.now_ms += latency_ms
        self.outcome(call, action)
        self.add("action.finished", action_id=action, call_id=call, account="main",
                 results=[{"id": "d-1", "status": 1, "command_id": ""}],
                 detail={"state": "completed"})

    def work(self, actions, checkpoint_every=0):
        """So many actions, each when a slot is certainly free."""
        for number in range(1, actions + 1):
            self.run()
            self.now_ms += WINDOW_S * 1000
            if checkpoint_every and number % checkpoint_every == 0:
                self.checkpoint()
