"""Whether the log of one node is whole: every record hashes to its leaf and stands where it says,
none is missing, the inner nodes that are stored are those of the tree over the leaves, and each
checkpoint is signed and has the root of the tree at its size.

The seq of a problem is that of the first record it concerns:
  of a record       its own; of a gap the first that is missing
  of an inner node  the first record below it; of what is none, the end of the log
  of a note         where it stands, behind the last record it covers
  of a root         the first record that no root before it proved, of those stored or those saved,
                    or the first below an inner node behind that which is not as it was
Behind a record that is missing or in a wrong place no root can hold: that is told alone."""
import json
from typing import NamedTuple

import kept
import merkle
import note as notes
from problem import Problem, name_text

ORIGIN = "tollgate/"


class Root(NamedTuple):
    """What a checkpoint says of the log."""
    size: int
    root: bytes
    reason: str  # what it is if the log says otherwise
    name: str


class Log:
    """Checks one node. on_record(seq, record) gets the records up to the first that is not good:
    what stands behind that is no evidence of anything."""

    def __init__(self, store, node, keys, on_record):
        self.store, self.node, self.keys, self.on_record = store, node, keys, on_record
        self.name = name_text(node)
        self.problems = []
        self.remarks = []
        self.kept = kept.KeptNodes(store.tree(node))
        self.first, self.pruned_note = store.pruned(node)
        self.next = self.first  # the seq that comes next
        self.roots = []
        self.proven = {"root-mismatch": 0, "forked": 0}  # the sizes of the last roots that held
        self.doubted = None  # where the first inner node since then begins that is not as it was
        self.good = True  # no record was bad so far
        self.chained = True  # none was missing or misplaced so far: the tree must hold
        self.by_record = None  # a second tree, while it is not known what was altered at:
        self.doubts = []  # the seqs where a record does not hash to its leaf
        self.seen = set()  # the places of the inner nodes that were checked

    def problem(self, seq, reason, detail):
        self.problems.append(Problem(self.name, seq, reason, detail))

    def check(self, saved):
        """saved: [(name, bytes)], the notes that somebody kept of this node's log."""
        self.read_checkpoints()
        for name, data in saved:
            self.read_note(data, "forked", name, None)
        self.roots.sort(key=lambda root: root.size)
        self.check_pruned()
        self.check_roots()
        for row in self.store.records(self.node):
            self.check_row(row)
        self.settle("record-altered")
        self.check_end()

    # ---- Checkpoints ----

    def read_checkpoints(self):
        for row in self.store.checkpoints(self.node):
            name = f"the checkpoint of size {row.size}"
            checkpoint = self.read_note(row.note, "root-mismatch", name, row.size)
            if checkpoint is not None and checkpoint.size != row.size:
                self.problem(checkpoint.size, "checkpoint-malformed",
                             f"{name} is signed as one of size {checkpoint.size}")
        if self.pruned_note is not None:
            checkpoint = self.read_note(self.pruned_note, "root-mismatch",
                                        "the checkpoint of what was pruned", self.first)
            if checkpoint is not None and not 0 < self.first <= checkpoint.size:
                self.problem(checkpoint.size, "checkpoint-malformed",
                             f"{self.first} records were pruned under one of {checkpoint.size}")

    def read_note(self, data, reason, name, size):
        """size: what is known of it beside the note; None: nothing."""
        kinds = {notes.Malformed: "checkpoint-malformed", notes.KeyUnknown: "key-unknown",
                 notes.SignatureInvalid: "signature-invalid"}
        try:
            checkpoint = notes.open_checkpoint(data, ORIGIN + self.name, self.keys)
        except tuple(kinds) as error:
            size = said_size(data) if size is None else size
            self.problem(max(size, 0), kinds[type(error)], f"{name}: {error}")
            return None
        self.roots.append(Root(checkpoint.size, checkpoint.root, reason, name))
        return checkpoint

    # ---- What was pruned ----

    def check_pruned(self):
        """Of that, the inner nodes are left, which must agree with each other."""
        for place in self.kept.below(self.first):
            self.seen.add(place)
            if self.kept.disagrees(*place):
                self.problem(kept.start_of(*place), "tree-altered", f"inner node {place}")
        self.tree = self.kept.tree_at(self.first)
        if self.tree is None:
            self.problem(0, "tree-altered", "what is left does not prove what was pruned")
            self.chained = False
        while self.roots and self.roots[0].size < self.first:
            root = self.roots.pop(0)
            tree = self.kept.tree_at(root.size)
            if tree is None:
                self.remarks.append(f"{self.name}: {root.name}, of size {root.size}, cannot be"
                                    " proven any more: the records were pruned")
            else:
                self.judge_root(root, tree.root())

    # ---- Records ----

    def check_row(self, row):
        leaf = merkle.leaf_hash(row.record)
        record = parse_record(row.record) if row.leaf == leaf else None
        elsewhere = record is not None and not self.is_here(record, row.seq)
        if row.seq < self.next or (row.seq > self.next and elsewhere):
            self.check_stray(row, record)
            return
        if row.seq > self.next:
            self.broken(self.next, "seq-gap", f"the next record is {row.seq}")
        self.next = row.seq + 1
        if row.leaf != leaf:
            self.check_altered(row, leaf)
        elif record is None:
            self.good = False
            self.problem(row.seq, "record-altered", "the record cannot be read")
        elif elsewhere:
            self.broken(row.seq, "record-misplaced",
                        f"it says it is {record.get('node')} {record.get('seq')}")
        elif self.good:
            self.on_record(row.seq, record)
        if self.chained:
            self.grow(row.leaf if len(row.leaf) == len(leaf) else leaf, leaf)
            self.check_roots()

    def is_here(self, record, seq):
        return record.get("node") == self.name and record.get("seq") == seq and \
            type(record["seq"]) is int

    def check_stray(self, row, record):
        """A row that does not go on from the one before, and is not behind a gap either."""
        self.good = False
        if self.first <= row.seq == self.next - 1:
            self.problem(row.seq, "seq-duplicate", "there are two rows of that number")
            return
        said = record.get("seq") if record else None
        seq = said if row.seq < 0 and type(said) is int and said >= 0 else row.seq
        self.problem(seq, "record-misplaced", f"there can be no row {row.seq}")

    def check_altered(self, row, leaf):
        self.good = False
        if len(row.leaf) == len(leaf) and self.chained:
            self.doubts.append(row.seq)
            self.by_record = self.by_record or self.tree.copy()
        else:
            altered = "record" if len(row.leaf) == len(leaf) else "leaf"
            self.problem(row.seq, altered + "-altered", "the record does not hash to its leaf")

    def broken(self, seq, reason, detail):
        self.settle("record-altered")
        self.problem(seq, reason, detail)
        self.good = self.chained = False

    # ---- The tree ----

    def grow(self, leaf, leaf_of_record):
        nodes = list(self.tree.add(leaf))
        others = nodes
        if self.by_record is not None:
            others = list(self.by_record.add(leaf_of_record))
        for (level, number, hash), (_, _, other) in zip(nodes, others):
            if kept.is_stored_level(level):
                self.seen.add((level, number))
                stored = self.kept.nodes.get((level, number))
                if not self.holds(stored, hash, other):
                    start = kept.start_of(level, number)
                    self.problem(start, "tree-altered", f"inner node {level, number}")
                    self.doubted = start if self.doubted is None else self.doubted

    def check_roots(self):
        while self.chained and self.roots and self.roots[0].size == self.next:
            self.judge_root(self.roots.pop(0), self.tree.root(),
                            self.by_record and self.by_record.root())

    def judge_root(self, root, *hashes):
        if self.holds(root.root, *hashes):
            self.proven[root.reason] = root.size
            self.doubted = None
        else:
            seq = max(self.proven[root.reason], self.doubted or 0)
            self.problem(min(seq, max(root.size - 1, 0)), root.reason,
                         f"{root.name}, of size {root.size}, has another root")

    def holds(self, expected, by_leaf, by_record=None):
        """Whether that is the hash: if it is, it also tells whether records or leaves were
        altered. When both were, that is what is wrong, and not the hash."""
        if expected in (by_leaf, by_record):
            self.settle("record-altered" if expected == by_leaf else "leaf-altered")
            return True
        if self.doubts:
            self.settle("record-altered")
            self.chained = False
            return True
        return False

    def settle(self, reason):
        for seq in self.doubts:
            self.problem(seq, reason, "the record does not hash to its leaf")
        if self.doubts and reason == "leaf-altered":
            self.tree = self.by_record
        self.doubts, self.by_record = [], None

    # ---- The end ----

    def check_end(self):
        """Nothing speaks of more records than there are."""
        for root in self.roots:
            if root.size > self.next:
                self.problem(self.next, "truncated", f"{root.name} is of size {root.size}")
        for level, number in sorted(self.kept.nodes.keys() - self.seen):
            if not kept.is_node(level, number) or not kept.is_stored_level(level):
                self.problem(self.next, "tree-altered",
                             f"{level, number} is no inner node that is stored")
            elif kept.end_of(level, number) > self.next:
                self.problem(self.next, "truncated", f"there is an inner node {level, number}")


def said_size(data):
    """What a note says its size is, though it cannot be believed; else 0."""
    try:
        return notes.parse_checkpoint(notes.parse_note(data)).size
    except notes.Malformed:
        return 0


# ---- JSON ----

def parse_record(data):
    """The record, or None when it is no JSON object of version 1."""
    try:
        record = json.loads(data.decode(), object_pairs_hook=object_of, parse_constant=no_constant)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and record.get("v") == 1 else None


def object_of(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in an object")
    return found


def no_constant(text):
    raise ValueError(f"{text} is no JSON")
